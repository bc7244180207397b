package consumer

import (
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/brokers"
)

// standbys keeps connections ready to each broker that partitions were fetched
// from and are not now, one for each lane. It may be a broker that restarts, and
// soon leads again: then it is slow to take a connection and slow to answer the
// first fetch, and all that time its partitions would stand still. The methods may
// be called concurrently.
type standbys struct {
	core    *core
	most    time.Duration // standbyMost
	running sync.WaitGroup

	mu     sync.Mutex
	nodes  map[node]*standby
	closed bool
}

// node is a broker at an address.
type node struct {
	id   int32
	addr string
}

const (
	// standbyMost is for how long after the last fetch from a broker connections are
	// kept ready, or tried for. Brokers close connections that are idle for ten
	// minutes.
	standbyMost = 5 * time.Minute

	// A broker that refuses connections is tried at this pace, from the one to the
	// other.
	standbyLeast = 100 * time.Millisecond
	standbyPace  = 400 * time.Millisecond
)

// standby is the connections to one broker. Its goroutine owns the links until
// somebody takes them.
type standby struct {
	all  *standbys
	node node
	over chan struct{} // closed by end
	late *time.Timer   // calls giveUp

	// Guarded by the standbys' mu; taken does not change once over is closed.
	links [2]*link // being made, or ready; nil: none
	ready bool
	ended bool
	taken bool
}

// begin keeps connections ready to n from now on.
func (s *standbys) begin(n node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || n.id < 0 || s.nodes[n] != nil || s.core.any() == nil {
		return
	}
	if s.nodes == nil {
		s.nodes = make(map[node]*standby)
	}
	b := &standby{all: s, node: n, over: make(chan struct{})}
	b.late = time.AfterFunc(s.most, b.giveUp)
	s.nodes[n] = b
	s.running.Go(b.run)
}

// take returns the connections to n where they are ready. They are the caller's,
// and none are kept any more.
func (s *standbys) take(n node) (links [2]*link, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.nodes[n]
	if b == nil {
		return links, false
	}
	links, ready = b.links, b.ready
	b.end(ready)
	return links, ready
}

// drop closes all connections. It is for when nothing is consumed any more.
func (s *standbys) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.nodes {
		b.end(false)
	}
}

// close is drop for good, and returns when nothing is left.
func (s *standbys) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.drop()
	s.running.Wait()
}

// end ends b, whose links are somebody else's from now on or are closed. It must be
// called with mu held.
func (b *standby) end(taken bool) {
	if b.ended {
		return
	}
	b.ended, b.taken = true, taken
	delete(b.all.nodes, b.node)
	if !taken && b.links[0] != nil {
		for _, k := range b.links {
			k.conn.Interrupt()
		}
	}
	close(b.over)
}

func (b *standby) giveUp() {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.end(false)
}

// set says what there is to take, and returns false where b has ended.
func (b *standby) set(links [2]*link, ready bool) bool {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	if b.ended {
		return false
	}
	b.links, b.ready = links, ready
	return true
}

// run is the goroutine of b.
func (b *standby) run() {
	defer b.late.Stop()
	for pause := standbyLeast; ; pause = min(2*pause, standbyPace) {
		var links [2]*link
		for i := range links {
			links[i] = newLink(b.all.core, sarama.NewBroker(b.node.addr))
		}
		if !b.set(links, false) {
			return
		}
		err := links[0].warm()
		if err == nil {
			err = links[1].warm()
		}
		if err == nil {
			if b.wait(links) {
				return
			}
			pause = standbyLeast
		}
		for _, k := range links {
			k.conn.Close()
		}
		if err != nil && !temporary(err) {
			b.giveUp() // who is refused must not try for ever: accounts get locked
			return
		}
		retry := time.NewTimer(time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64())))
		select {
		case <-retry.C:
		case <-b.over:
			retry.Stop()
			return
		}
	}
}

// wait keeps the links ready until one is lost or b has ended, and reports whether
// somebody has taken them.
func (b *standby) wait(links [2]*link) (taken bool) {
	gone, gone2 := links[0].tap.watch(), links[1].tap.watch()
	if b.set(links, true) {
		select {
		case <-gone:
		case <-gone2:
		case <-b.over:
		}
	}
	if b.set([2]*link{}, false) {
		return false
	}
	return b.taken
}

// link is a connection to a broker for fetches. It belongs to one goroutine, but
// for conn's Interrupt.
type link struct {
	core  *core
	conn  *brokers.Conn
	tap   *tap      // of the present connection
	since time.Time // when the present connection brought its first answer; zero: it has not
}

func newLink(c *core, broker *sarama.Broker) *link {
	k := &link{core: c}
	k.conn = brokers.NewConn(brokers.ConnConfig{Client: c.conf, Wrap: k.wrap}, broker)
	return k
}

// wrap is called with a new connection, by the goroutine that dials.
func (k *link) wrap(c net.Conn) net.Conn {
	k.tap = newTap(c, k.core.conf.Net.ReadTimeout, k.core.buffers)
	return k.tap
}

// warm connects and fetches one record, of any partition, which nobody needs: what
// a broker that has just started does for the first time takes it far longer than it
// will the next time.
func (k *link) warm() error {
	if err := k.conn.Connect(); err != nil {
		return err
	}
	p := k.core.any()
	if p == nil {
		return nil
	}
	r := fetchRequest(k.core.conf, 0)
	// The last record, or nothing: a follower has it too.
	r.AddBlock(p.topic, p.id, max(0, p.highWatermark.Load()-1), 1, p.epoch.Load())
	if _, err := k.fetch(r); err != nil {
		return err
	}
	k.since = time.Now()
	return nil
}

// fetch makes a request. The answer is k's, until the next request.
func (k *link) fetch(r *sarama.FetchRequest) (*answer, error) {
	response, err := k.conn.Broker().Fetch(r)
	if err != nil {
		return nil, err
	}
	a := &k.tap.answer
	if !k.tap.taken {
		a = translate(response)
	}
	if a.err != sarama.ErrNoError {
		return nil, a.err
	}
	return a, nil
}
