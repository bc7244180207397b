package consumer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// fetcher is an executor: it fetches all the partitions that its subscriptions
// are for from one broker.
//
// It has two lanes, each with a connection of its own. The first fetches
// everything that there is to fetch, and may be parked by the broker until
// something comes. The second is for what turns up meanwhile: a partition that was
// just assigned, resumed, or whose reader has made room. It is never parked for
// long, and rests as soon as the first lane can take its partitions over.
type fetcher struct {
	core   *core
	serial int64 // for people
	broker int32 // its id, -1 where that is not known
	conn   *sarama.Broker
	lanes  [2]*lane
	count  *atomic.Int64 // of records

	again *time.Timer // nudges when a subscription's until is over

	stopping chan struct{} // closed by Stop
	running  sync.WaitGroup

	mu            sync.Mutex
	subscriptions map[*partition]*subscription // those that are fetched for
	throttled     time.Time                    // until then the broker's quota wants no fetch, on either lane
}

var fetchers atomic.Int64 // for serial

// subscription is one partition's with one fetcher, whose mu guards it. It is over
// when the fetcher does not list it any more.
type subscription struct {
	at    position
	epoch int32
	lane  *lane // that is fetching for it, nil where none is
	// until is when to ask again, the zero time for now: the broker is behind.
	until time.Time
}

func newFetcher(c *core, conn *sarama.Broker, broker int32) *fetcher {
	f := &fetcher{
		core:          c,
		serial:        fetchers.Add(1),
		broker:        broker,
		conn:          conn,
		count:         c.counter(broker),
		stopping:      make(chan struct{}),
		subscriptions: make(map[*partition]*subscription),
	}
	links, ready := c.standbys.take(f.node())
	if !ready {
		links = [2]*link{newLink(c, conn), newLink(c, sarama.NewBroker(conn.Addr()))}
	}
	for i, k := range links {
		f.lanes[i] = newLane(f, k)
	}
	f.again = time.AfterFunc(time.Hour, f.nudge)
	f.again.Stop()
	return f
}

func (f *fetcher) start() {
	for _, l := range f.lanes {
		f.running.Go(l.run)
	}
}

// String names the executor in the mapper's log.
func (f *fetcher) String() string {
	return fmt.Sprintf("fetcher %d of broker %d", f.serial, f.broker)
}

// BrokerConn implements mapper.Executor.
func (f *fetcher) BrokerConn() *sarama.Broker { return f.conn }

// Stop implements mapper.Executor: the goroutines have ended and the connections
// are closed when it returns. A parked fetch does not delay it.
func (f *fetcher) Stop() {
	close(f.stopping)
	for _, l := range f.lanes {
		l.conn.Interrupt()
	}
	f.running.Wait()
	f.again.Stop()
	f.core.standbys.begin(f.node())
}

func (f *fetcher) node() node { return node{f.broker, f.conn.Addr()} }

// subscribe has a partition fetched from a position, in a leader epoch. What comes
// goes into the partition's chunks until release.
func (f *fetcher) subscribe(p *partition, at position, epoch int32) *subscription {
	s := &subscription{at: at, epoch: epoch}
	f.mu.Lock()
	f.subscriptions[p] = s
	f.mu.Unlock()
	f.nudge()
	return s
}

// renew goes on with s in a leader epoch, and returns false where s is over.
func (f *fetcher) renew(p *partition, s *subscription, epoch int32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscriptions[p] != s {
		return false
	}
	s.epoch = epoch
	return true
}

// release ends s and hands the position over. From its return on the fetcher
// delivers nothing to the partition: what a fetch that is under way brings for it
// is dropped.
func (f *fetcher) release(p *partition, s *subscription) position {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscriptions[p] == s {
		delete(f.subscriptions, p)
	}
	return s.at
}

// nudge says that there may be something to fetch.
func (f *fetcher) nudge() {
	for _, l := range f.lanes {
		l.nudge()
	}
}

// asked is what one fetch asks for one partition.
type asked struct {
	partition    *partition
	subscription *subscription
	epoch        int32
}

// shortWait is how long the second lane may be parked: for that long the first
// one may wait to take its partitions over.
const shortWait = 10 * time.Millisecond

// behindPause is how often a broker is asked for what it does not count as
// committed yet. A new leader answers such a fetch at once, whatever the wait
// (Apache Kafka's DelayedFetch), for as long as it takes its followers to come
// along: some ten to some hundred milliseconds.
const behindPause = 5 * time.Millisecond

// gather says what l is to fetch, and for how long it may be parked. It returns
// nothing where the other lane does that, or will, and where the broker's quota is
// used up: then with how long l must rest. With dial l is to connect first, and to
// ask again then: until that is done the other lane fetches what it can.
func (f *fetcher) gather(l *lane, into []asked) (list []asked, wait time.Duration, dial bool) {
	first, second := f.lanes[0], f.lanes[1]
	into = into[:0]
	f.mu.Lock()
	defer f.mu.Unlock()
	l.busy, l.dialing = false, false
	if rest := time.Until(f.throttled); rest > 0 {
		return into, rest, false
	}
	wait = f.core.conf.Consumer.MaxWaitTime
	switch {
	case l == first && second.busy && !second.dialing:
		return into, 0, false
	case l == second && (!first.busy || first.dialing && !l.connected):
		return into, 0, false
	case l == second:
		wait = min(wait, shortWait)
	}
	if !l.connected {
		l.dialing = f.wanting()
		l.busy = l.dialing
		return into, 0, l.dialing
	}
	if into = f.claim(l, into); len(into) == 0 {
		return into, 0, false
	}
	l.busy = true
	return into, wait, false
}

// dialed says that l, which was dialing, is connected.
func (f *fetcher) dialed(l *lane) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.connected = true
}

// wanting says that there is something to fetch. It must be called with mu held.
func (f *fetcher) wanting() bool {
	for p, s := range f.subscriptions {
		if f.wants(p, s) {
			return true
		}
	}
	return false
}

// wants says that a subscription is to be fetched for, and nobody does. It must be
// called with mu held.
func (f *fetcher) wants(p *partition, s *subscription) bool {
	return s.lane == nil && !p.paused.Load() && len(p.chunks) < cap(p.chunks) && (s.until.IsZero() || !time.Now().Before(s.until))
}

// claim appends what nobody is fetching. It must be called with mu held.
func (f *fetcher) claim(l *lane, into []asked) []asked {
	for p, s := range f.subscriptions {
		if f.wants(p, s) {
			s.lane = l
			into = append(into, asked{p, s, s.epoch})
		}
	}
	return into
}

// unreachable ends what l was dialing for.
func (f *fetcher) unreachable(l *lane, err error) {
	f.mu.Lock()
	list := f.claim(l, nil)
	f.mu.Unlock()
	f.fail(list, err, false)
}

// fail ends the subscriptions of a fetch, and reports the connection
// broken. The partitions are assigned again, maybe to this fetcher, at the pace of
// the mapper's backoff. With again they are fetched meanwhile, over another
// connection, as if nothing had happened: nobody else may lead them.
func (f *fetcher) fail(list []asked, err error, again bool) {
	f.mu.Lock()
	n := 0
	for _, a := range list {
		if f.subscriptions[a.partition] != a.subscription {
			continue
		}
		if a.subscription.lane = nil; !again {
			delete(f.subscriptions, a.partition)
		}
		list[n] = a
		n++
	}
	f.mu.Unlock()
	kind := broken
	if !temporary(err) {
		kind = refused
	}
	for _, a := range list[:n] {
		if a.partition.leader.Load() != f.broker {
			a.partition.replica.Store(-1) // a follower's failure leads back to the leader
		}
		a.partition.faults.post(fault{kind: kind, err: err})
	}
	f.core.mapper.BrokerFailed(f, err)
}

// overdue has the partitions looked up that l is fetching for: the broker has not
// answered for longer than it should take. Who has another leader moves there.
//
// It returns false where l is not fetching any more.
func (f *fetcher) overdue(l *lane) bool {
	var late []mapper.Worker
	f.mu.Lock()
	for p, s := range f.subscriptions {
		if s.lane == l || s.lane == nil && l.dialing {
			late = append(late, p)
		}
	}
	f.mu.Unlock()
	for _, w := range late {
		f.core.mapper.TriggerReassign(w)
	}
	return len(late) > 0
}
