package mapper_test

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

var seedFlag = flag.Uint64("seed", 0, "of the random tests; 0: a new one for each")

// chaos is a world in which everything goes wrong that may: resolutions fail,
// hang and move workers about, executors are slow to spawn and to stop, workers
// come, go and do not read, and whoever knows of a worker or an executor
// notifies the mapper of it. The world checks the safety rules all the while.
type chaos struct {
	*world
	seed    uint64
	virtual bool // in a bubble: time costs nothing

	rngs    sync.Mutex
	streams uint64

	calm    bool // under world.mu: nothing goes wrong any more
	brokers []*sarama.Broker
	ws      []*worker
}

func (c *chaos) rng() *rand.Rand {
	c.rngs.Lock()
	defer c.rngs.Unlock()
	c.streams++
	return rand.New(rand.NewPCG(c.seed, c.streams))
}

// dawdle takes up to most of virtual time, mostly far less, or lets others run.
func (c *chaos) dawdle(r *rand.Rand, most time.Duration) {
	if c.virtual {
		time.Sleep(time.Duration(math.Pow(float64(most), r.Float64())))
		return
	}
	for range r.IntN(20) {
		runtime.Gosched()
	}
}

func (c *chaos) isCalm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calm
}

func (c *chaos) resolve(w *worker) (*sarama.Broker, error) {
	if c.isCalm() {
		return w.leader.Load(), nil
	}
	r := c.rng()
	c.dawdle(r, time.Minute)
	c.meddle(r)
	switch r.IntN(10) {
	case 0:
		return nil, errNoLeader
	case 1:
		return nil, nil
	case 2:
		return w.leader.Load(), errNoLeader
	case 3:
		return c.anyBroker(r), nil
	}
	return w.leader.Load(), nil
}

func (c *chaos) spawn(conn *sarama.Broker) mapper.Executor {
	if c.isCalm() {
		return c.executor(conn, conn)
	}
	r := c.rng()
	c.dawdle(r, time.Minute)
	c.meddle(r)
	switch r.IntN(12) {
	case 0:
		return nil
	case 1:
		return c.executor(conn, c.anyBroker(r)) // most likely of another connection
	case 2:
		if e := c.anyExecutor(r); e != nil {
			e.again.Add(1) // it may have stopped in time to be returned again
			c.lock(func() {
				switch {
				case e.of != conn:
					// It may from now on exist for another connection, and no more for
					// its own: the mapper may see this one before the one that made it.
					e.stray = true
					if c.exist[e.of] == e {
						delete(c.exist, e.of)
					}
				case !e.stray:
					c.exist[conn] = e
				}
			})
			return e
		}
	}
	e := c.executor(conn, conn)
	if r.IntN(4) == 0 {
		c.m.BrokerFailed(e, errors.New("broken from the start"))
	}
	return e
}

func (c *chaos) stop(*executor) {
	if !c.isCalm() {
		r := c.rng()
		c.meddle(r)
		c.dawdle(r, time.Minute)
	}
}

// meddle is what anybody may do at any time.
func (c *chaos) meddle(r *rand.Rand) {
	w := c.ws[r.IntN(len(c.ws))]
	switch r.IntN(6) {
	case 0:
		c.m.TriggerReassign(w)
	case 1:
		if e := c.anyExecutor(r); e != nil {
			c.m.BrokerFailed(e, errors.New("broken"))
		}
	case 2:
		c.borrow(r, w)
	case 3:
		c.m.Snapshot()
		c.m.Stats()
	}
}

// borrow uses a worker's executor for a while.
func (c *chaos) borrow(r *rand.Rand, w *worker) {
	l, ok := c.m.Acquire(w)
	if !ok {
		return
	}
	e := l.Executor().(*executor)
	e.pins.Add(1)
	if e.stops.Load() > e.again.Load() {
		c.t.Errorf("S1: a lease on %v, which is stopped", e)
	}
	c.dawdle(r, time.Minute)
	e.pins.Add(-1)
	l.Release()
}

func (c *chaos) anyBroker(r *rand.Rand) *sarama.Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := r.IntN(len(c.brokers))
	if r.IntN(8) == 0 { // a fresh start
		c.brokers[i] = broker(fmt.Sprint("b", i))
	}
	return c.brokers[i]
}

func (c *chaos) anyExecutor(r *rand.Rand) *executor {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == 0 {
		return nil
	}
	return c.all[r.IntN(len(c.all))]
}

// live lives a number of lives of w, the last of which does not end.
func (c *chaos) live(w *worker, lives, deeds int) {
	r := c.rng()
	var leases sync.WaitGroup
	for life := range lives {
		w.leader.Store(c.anyBroker(r))
		if life > 0 {
			w.ch = make(chan mapper.Executor, 1+r.IntN(3))
		}
		c.begin(w)
		for range r.IntN(deeds) {
			switch r.IntN(10) {
			case 0:
				w.leader.Store(c.anyBroker(r))
				c.m.TriggerReassign(w)
			case 1:
				c.m.TriggerReassign(w)
				c.m.TriggerReassign(w)
			case 2:
				if w.last != nil {
					c.m.BrokerFailed(w.last, errors.New("broken"))
				}
			case 3:
				leases.Go(func() { c.borrow(c.rng(), w) })
			case 4:
				c.m.OnWorkerSpawned(w) // repeated
			case 5, 6, 7:
				if len(w.ch) > 0 {
					w.take()
				}
			default:
				c.dawdle(r, 3*time.Minute)
			}
		}
		if life < lives-1 {
			c.end(w)
			if r.IntN(2) == 0 {
				c.dawdle(r, time.Minute)
			}
		}
	}
	leases.Wait()
}

// drain takes what w was sent.
func (w *worker) drain() {
	for len(w.ch) > 0 {
		w.take()
	}
}

// settled reports whether L3 and L4 hold: everyone holds the executor of the
// connection that it resolves to, and there is no other.
func (c *chaos) settled() error {
	used := map[*executor]bool{}
	for _, w := range c.ws {
		w.drain()
		if w.last == nil {
			return fmt.Errorf("L1: %v holds nothing", w)
		}
		if w.last.conn != w.leader.Load() {
			return fmt.Errorf("L3: %v holds %v, but resolves to %s (%p)", w, w.last, w.leader.Load().Addr(), w.leader.Load())
		}
		used[w.last] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.exist {
		if !used[e] {
			return fmt.Errorf("L4: %v exists, and nobody holds it", e)
		}
	}
	for _, row := range c.m.Snapshot() {
		if w := row.Worker.(*worker); row.Executor != mapper.Executor(w.last) || row.BrokerConn != w.last.conn || row.Pending {
			return fmt.Errorf("Snapshot says %+v, but %v holds %v", row, w, w.last)
		}
	}
	return nil
}

func runChaos(t *testing.T, virtual bool, ringSize int, kind func(*world) mapper.Resolver, workers, lives, deeds int) {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	defer func() {
		if t.Failed() {
			t.Logf("-seed=%d", seed)
		}
	}()
	cfg := mapper.Config{RingSize: ringSize, MaxConcurrentResolves: 3}
	if !virtual {
		cfg.Backoff = func(attempt int) time.Duration { return time.Microsecond << min(attempt, 12) }
	}
	c := &chaos{world: newDefaultWorld(t, cfg, kind), seed: seed, virtual: virtual}
	if seed%2 == 0 {
		c.m.LookWorkersUp()
	}
	for i := range 5 {
		c.brokers = append(c.brokers, broker(fmt.Sprint("b", i)))
	}
	c.ws = c.workers(workers, nil)
	c.lock(func() { c.onResolve, c.onSpawn, c.onStop = c.resolve, c.spawn, c.stop })

	var all sync.WaitGroup
	for _, w := range c.ws {
		all.Go(func() { c.live(w, lives, deeds) })
	}
	all.Wait()

	// Triggers cease and the resolver is stable, once calls that began before
	// have returned and everyone has been triggered once more.
	c.lock(func() { c.calm = true })
	if virtual {
		pass(5 * time.Minute) // no call takes more than two
	}
	for _, w := range c.ws {
		c.m.TriggerReassign(w)
	}
	if virtual {
		for range 12 {
			pass(10 * time.Second)
			for _, w := range c.ws {
				w.drain()
			}
		}
		if err := c.settled(); err != nil {
			t.Error(err)
		}
		c.forget()
		pass(24 * time.Hour)
		if n := len(c.asks) + len(c.spawns); n != 0 {
			t.Errorf("L6: %d calls after all is said and done", n)
		}
		c.m.TraceRest()
		return
	}
	for c.settled() != nil && !t.Failed() {
		runtime.Gosched() // the test's own timeout says when it is too long
	}
}

func TestRandom(t *testing.T) {
	kinds := map[string]func(*world) mapper.Resolver{
		"Resolver":      func(x *world) mapper.Resolver { return plain{x} },
		"BatchResolver": batched,
	}
	for name, kind := range kinds {
		for _, ring := range []int{1, 0} {
			t.Run(fmt.Sprintf("%s/ring=%d", name, ring), func(t *testing.T) {
				runChaos(t, false, ring, kind, 16, 20, 40)
			})
			t.Run(fmt.Sprintf("%s/ring=%d/virtual", name, ring), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { runChaos(t, true, ring, kind, 8, 5, 40) })
			})
		}
	}
}
