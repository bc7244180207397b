package consumer

import (
	"errors"
	"math"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/brokers"
	"github.com/brokermap/brokermap/mapper"
)

// deliver hands out what a fetch brought. It returns false where the answer must
// be had again, decoded by sarama.
func (f *fetcher) deliver(l *lane, list []asked, a *answer) (understood bool) {
	understood = true
	blocks := make(map[topicPartition]*block, len(a.blocks))
	for i := range a.blocks {
		b := &a.blocks[i]
		blocks[topicPartition{b.topic, b.partition}] = b
	}
	var moved []mapper.Worker
	f.mu.Lock()
	if a.throttle > 0 {
		f.throttled = time.Now().Add(a.throttle)
	}
	for _, x := range list {
		p, s := x.partition, x.subscription
		if s.lane == l {
			s.lane = nil
		}
		if f.subscriptions[p] != s {
			continue // released meanwhile
		}
		b := blocks[topicPartition{p.topic, p.id}]
		if b == nil {
			continue // the answer had no room for it
		}
		if b.err == sarama.ErrNoError {
			if ok := f.take(p, s, b); !ok {
				understood = false
			}
			if f.elsewhere(p, b) {
				moved = append(moved, p)
			}
			continue
		}
		if stale(b.err) && s.epoch != x.epoch {
			continue // renewed since it was asked
		}
		delete(f.subscriptions, p)
		if f.reject(l, x, b) {
			moved = append(moved, p)
		}
	}
	f.mu.Unlock()
	for _, w := range moved {
		f.core.mapper.TriggerReassign(w)
	}
	return understood
}

// stale says that the broker and whoever asked it know of different leader epochs.
func stale(e sarama.KError) bool {
	return e == sarama.ErrFencedLeaderEpoch || e == sarama.ErrUnknownLeaderEpoch
}

// take hands a block to its partition. It returns false where it has records that
// only sarama decodes. It must be called with mu held.
func (f *fetcher) take(p *partition, s *subscription, b *block) bool {
	s.at.strikes = 0
	if s.until = (time.Time{}); f.behind(s, b) {
		s.until = time.Now().Add(behindPause)
		f.again.Reset(behindPause)
	}
	if p.failing.Load() {
		p.faults.post(fault{kind: healthy})
	}
	if p.paused.Load() {
		return true // nothing that comes after Pause is delivered; it is fetched again
	}
	c := chunk{from: s.at.offset, aborted: b.aborted}
	partial := 0
	if b.sets != nil || b.partial {
		c.sets = b.sets
		var n int64
		c.next, n = after(b.sets, c.from)
		f.count.Add(n)
		if b.partial {
			partial = int(s.at.size) + 1
		}
	} else {
		l := survey(b.records, c.from)
		switch {
		case l.complete > 0:
			c.records, c.next = b.records[:l.complete], l.next
			f.count.Add(l.count)
		case l.legacy:
			return false
		case l.err != nil:
			delete(f.subscriptions, p)
			p.faults.post(fault{kind: refused, err: l.err})
			return true
		}
		partial = l.partial
	}
	if c.next > c.from {
		p.highWatermark.Store(b.highWatermark)
		s.at.offset, s.at.size = c.next, f.core.conf.Consumer.Fetch.Default
		if c.empty() {
			return true // all of it was before the offset
		}
		p.chunks <- c // there is room: only this fetcher fills it, and gather has looked
		if p.feed != nil {
			p.feed.reader.offer(p.feed)
		}
		return true
	}
	if partial > 0 {
		f.enlarge(p, s, partial)
	}
	return true
}

// behind says that the broker has, or shows, less of the partition than was read.
// An old broker says nothing of what it shows, which comes as a negative number.
func (f *fetcher) behind(s *subscription, b *block) bool {
	shown := b.highWatermark
	if f.core.conf.Consumer.IsolationLevel == sarama.ReadCommitted && b.stable >= 0 {
		shown = min(shown, b.stable)
	}
	return shown >= 0 && shown < s.at.offset
}

// enlarge asks for more the next time: there is a batch that did not fit.
func (f *fetcher) enlarge(p *partition, s *subscription, size int) {
	most := f.core.conf.Consumer.Fetch.Max
	if most > 0 && s.at.size >= most {
		p.faults.post(fault{kind: noted, err: sarama.ErrMessageTooLarge})
		s.at.offset++ // so that what comes after it can be had
		return
	}
	wish := int64(size)
	if wish <= int64(s.at.size) {
		wish = 2 * int64(s.at.size)
	}
	wish = min(wish, math.MaxInt32)
	if most > 0 {
		wish = min(wish, int64(most))
	}
	s.at.size = int32(wish)
}

// elsewhere says that the partition is to be asked for at another broker from now
// on: the leader names a replica that is nearer (KIP-392), or the replica's lease
// is over.
func (f *fetcher) elsewhere(p *partition, b *block) bool {
	if b.replica >= 0 && b.replica != f.broker {
		p.replicaUntil.Store(time.Now().Add(f.core.replicaLease()).UnixNano())
		p.replica.Store(b.replica)
		return true
	}
	if r := p.replica.Load(); r >= 0 && p.Replica() < 0 {
		p.replica.Store(-1)
		return true
	}
	return false
}

// defaultReplicaLease is sarama's, where Metadata.RefreshFrequency is 0.
const defaultReplicaLease = 10 * time.Minute

// replicaLease is how long a replica is asked before the leader is asked again.
func (c *core) replicaLease() time.Duration {
	if d := c.conf.Metadata.RefreshFrequency; d > 0 {
		return d
	}
	return defaultReplicaLease
}

// reject does what an error of a broker for one partition asks for, whose
// subscription is over. It returns whether the partition is to be assigned again
// now.
func (f *fetcher) reject(l *lane, x asked, b *block) bool {
	p, s := x.partition, x.subscription
	if p.replica.Load() >= 0 && p.leader.Load() != f.broker {
		p.replica.Store(-1) // whatever a follower says, the leader knows better
		return true
	}
	if b.leader >= 0 {
		f.core.leaders.Hint(p.topic, p.id, brokers.Leader{ID: b.leader, Epoch: b.leaderEpoch})
	}
	err := error(b.err)
	switch {
	case b.err == sarama.ErrOffsetOutOfRange:
		s.at.strikes++
		if s.at.strikes > 1 {
			l.out = append(l.out, outOfRange{x, err})
			return false
		}
		return true
	case stale(b.err),
		errors.Is(err, sarama.ErrNotLeaderForPartition),
		errors.Is(err, sarama.ErrUnknownTopicOrPartition),
		errors.Is(err, sarama.ErrLeaderNotAvailable),
		errors.Is(err, sarama.ErrReplicaNotAvailable):
		return true
	case forbidden(err):
		p.faults.post(fault{kind: fatal, err: err})
		return false
	}
	p.faults.post(fault{kind: refused, err: err})
	return true
}
