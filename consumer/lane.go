package consumer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/IBM/sarama"
)

// lane is one of a fetcher's goroutines with its connection.
type lane struct {
	*link
	fetcher *fetcher
	wake    chan struct{} // there may be something to fetch
	busy    bool          // a fetch is on its way; the fetcher's mu guards it
	dialing bool          // it waits for the connection first; likewise

	// Of the lane's goroutine, which stores connected with the fetcher's mu held.
	connected bool
	pass      bool        // sarama decodes the answers
	late      *time.Timer // calls fetcher.overdue
	out       []outOfRange
}

// trustAfter is how long a connection must have been good for, for its end to be
// taken for an accident: it is made again at once, and not at the mapper's pace.
const trustAfter = 100 * time.Millisecond

// lateAgain is how often a broker that is late has its partitions looked up.
const lateAgain = fastBackoff

func newLane(f *fetcher, k *link) *lane {
	l := &lane{link: k, fetcher: f, wake: make(chan struct{}, 1), connected: k.tap != nil}
	l.late = time.AfterFunc(time.Hour, func() {
		select {
		case <-f.stopping:
		default:
			if f.overdue(l) {
				l.late.Reset(lateAgain)
			}
		}
	})
	l.late.Stop()
	return l
}

func (l *lane) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run is the lane's goroutine. It ends with the fetcher's Stop.
func (l *lane) run() {
	f := l.fetcher
	defer l.conn.Close()
	var list []asked
	for {
		select {
		case <-f.stopping:
			return
		default:
		}
		var wait time.Duration
		var dial bool
		if list, wait, dial = f.gather(l, list); dial {
			l.dial()
			continue
		}
		if len(list) == 0 {
			if wait > 0 {
				l.rest(wait)
				continue
			}
			if l == f.lanes[1] {
				f.lanes[0].nudge() // it may wait for what this one had
			}
			select {
			case <-f.stopping:
				return
			case <-l.wake:
				// Who wants something is seldom alone, and the scheduler would have this
				// goroutine run before the others: let them, so that one fetch is for all.
				runtime.Gosched()
			}
			continue
		}
		l.late.Reset(wait + f.core.cfg.Patience)
		a, err := l.fetch(list, wait)
		l.late.Stop()
		if err != nil {
			again := broke(err) && !l.since.IsZero() && time.Since(l.since) > trustAfter
			l.disconnect()
			select {
			case <-f.stopping: // that was Stop's interrupt
				return
			default:
				f.fail(list, err, again)
			}
		} else {
			if l.since.IsZero() {
				l.since = time.Now()
			}
			if !f.deliver(l, list, a) {
				l.pass = true
			}
			clear(a.blocks) // the records are others'
		}
		if len(l.out) > 0 {
			l.confirm()
		}
	}
}

// rest waits for as long as a broker's quota wants. sarama would wait too, but not
// be interrupted.
func (l *lane) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.fetcher.stopping:
	}
}

// dial connects. A broker that has just started takes its time for that, and once
// more for its first fetch: that is for all that is there by then.
func (l *lane) dial() {
	l.late.Reset(l.fetcher.core.cfg.Patience)
	err := l.conn.Connect()
	l.late.Stop()
	if err == nil {
		l.fetcher.dialed(l)
		return
	}
	l.disconnect()
	select {
	case <-l.fetcher.stopping: // that was Stop's interrupt
	default:
		l.fetcher.unreachable(l, err)
	}
}

func (l *lane) disconnect() {
	l.conn.Disconnect()
	l.since = time.Time{}
	l.fetcher.mu.Lock()
	l.connected = false
	l.fetcher.mu.Unlock()
}

// fetch makes one request.
func (l *lane) fetch(list []asked, wait time.Duration) (*answer, error) {
	r := fetchRequest(l.core.conf, wait)
	for _, a := range list {
		r.AddBlock(a.partition.topic, a.partition.id, a.subscription.at.offset, a.subscription.at.size, a.epoch)
	}
	l.tap.pass = l.pass
	return l.link.fetch(r)
}

// fetchRequest returns a request without partitions, parked for up to wait.
func fetchRequest(conf *sarama.Config, wait time.Duration) *sarama.FetchRequest {
	r := &sarama.FetchRequest{
		Version:     fetchVersion(conf.Version),
		MinBytes:    conf.Consumer.Fetch.Min,
		MaxWaitTime: int32(wait.Milliseconds()),
	}
	if r.Version >= 3 {
		r.MaxBytes = conf.Consumer.Fetch.MaxBytes
	}
	if r.Version >= 4 {
		r.Isolation = conf.Consumer.IsolationLevel
	}
	if r.Version >= 7 {
		r.SessionEpoch = -1 // no fetch session (KIP-227)
	}
	if r.Version >= 11 {
		r.RackID = conf.RackID
	}
	return r
}

// fetchVersion is what sarama's Consumer uses.
func fetchVersion(v sarama.KafkaVersion) int16 {
	for _, x := range []struct {
		since   sarama.KafkaVersion
		version int16
	}{
		{sarama.V2_7_0_0, 12}, // flexible, with the last fetched epoch
		{sarama.V2_3_0_0, 11}, // rack id (KIP-392)
		{sarama.V2_1_0_0, 10}, // current leader epoch (KIP-320), zstd (KIP-110)
		{sarama.V2_0_0_0, 8},  //
		{sarama.V1_1_0_0, 7},  // sessions (KIP-227)
		{sarama.V1_0_0_0, 6},  //
		{sarama.V0_11_0_0, 5}, // isolation level, record batches (KIP-98)
		{sarama.V0_10_1_0, 3}, // max bytes (KIP-74)
		{sarama.V0_10_0_0, 2}, // message format 1
		{sarama.V0_9_0_0, 1},  // throttle time
	} {
		if v.IsAtLeast(x.since) {
			return x.version
		}
	}
	return 0
}

// temporary says that an error is the network's, or a broker's that goes away.
func temporary(err error) bool {
	var k sarama.KError
	var conf sarama.ConfigurationError
	var decoding sarama.PacketDecodingError
	var certificate *tls.CertificateVerificationError
	return !errors.As(err, &certificate) && !errors.As(err, &k) && !errors.As(err, &conf) && !errors.As(err, &decoding) &&
		!errors.Is(err, sarama.ErrUnsupportedVersion) && !errors.Is(err, sarama.ErrInsufficientData)
}

// broke says that a connection is gone, and that it need not be the broker.
func broke(err error) bool {
	var network net.Error
	late := errors.As(err, &network) && network.Timeout()
	return temporary(err) && !late
}

// outOfRange is a subscription whose offset a leader has called out of range.
type outOfRange struct {
	asked
	err error
}

// confirm asks for the range of the partitions in l.out: a broker that is no
// longer, or not yet, the leader calls offsets out of range that are not.
func (l *lane) confirm() {
	f := l.fetcher
	list := l.out
	l.out = l.out[:0]
	oldest, err := l.offsets(list, sarama.OffsetOldest)
	var newest map[*partition]int64
	if err == nil {
		newest, err = l.offsets(list, sarama.OffsetNewest)
	}
	if err != nil {
		l.disconnect()
	}
	for _, o := range list {
		p := o.partition
		from, known := oldest[p]
		to, too := newest[p]
		offset := o.subscription.at.offset
		if err == nil && known && too && (offset < from || offset > to) {
			p.faults.post(fault{kind: fatal, err: o.err})
			continue
		}
		f.core.mapper.TriggerReassign(p)
	}
}

// offsets lists one offset for each partition of list that the broker leads.
func (l *lane) offsets(list []outOfRange, at int64) (map[*partition]int64, error) {
	r := sarama.NewOffsetRequest(l.conn.Version())
	for _, o := range list {
		r.AddBlock(o.partition.topic, o.partition.id, at, 1)
	}
	answer, err := l.conn.Broker().GetAvailableOffsets(r)
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	found := make(map[*partition]int64, len(list))
	for _, o := range list {
		if offset, ok := listed(answer, o.partition.topic, o.partition.id); ok {
			found[o.partition] = offset
		}
	}
	return found, nil
}
