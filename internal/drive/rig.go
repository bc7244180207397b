package drive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

var errNoLeader = errors.New("no leader")

// rig is a mapper and its surroundings, which do nothing by themselves.
type rig struct {
	*reference
	m     *mapper.T
	start time.Time
	log   strings.Builder

	brokers   []*sarama.Broker
	elsewhere *sarama.Broker
	fetchers  []*fetcher
	executors []*executor // all there ever were
	leases    []lease

	// Calls that hang, in the order in which they began.
	calls     []*call
	spawnings []*spawning
	stoppings []*executor

	standing  *hold         // the mapper's goroutine stands still
	off       chan struct{} // closed: no call hangs any more
	unknown   int           // reports of executors that do not exist
	stopCalls sync.WaitGroup

	mu     sync.Mutex // guards what follows: calls enter on goroutines of the mapper
	came   arrivals
	ending context.Context // that of ResolveBrokers
	ended  bool            // Stop has returned
}

// arrivals are the calls that have begun since they were last looked at.
type arrivals struct {
	calls     []*call
	spawnings []*spawning
	stoppings []*executor
}

// call is a call of the resolver.
type call struct {
	workers []int
	at      time.Duration
	answer  chan []mapper.Resolution
}

// spawning is a call of SpawnExecutor.
type spawning struct {
	conn   int
	result chan *executor // nil: none

	next     *executor // what it is about to return, if that was reported already
	reported []*executor
}

// fetcher is a mapper.Worker, or most of one.
type fetcher struct {
	mapper.Worker // itself, as the mapper knows it
	ch            chan mapper.Executor
	// clean: the old channel may be used again.
	clean bool
}

// A worker has a mapper.Slot, or not.
type (
	lookedUp struct{ f *fetcher }
	slotted  struct {
		mapper.Slot
		f *fetcher
	}
)

func (w *lookedUp) Assignment() chan<- mapper.Executor { return w.f.ch }
func (w *slotted) Assignment() chan<- mapper.Executor  { return w.f.ch }

// indexOf returns the number of a worker.
func (r *rig) indexOf(w mapper.Worker) int {
	return slices.IndexFunc(r.fetchers, func(f *fetcher) bool { return f.Worker == w })
}

// executor is a mapper.Executor. Its number counts from 1.
type executor struct {
	r      *rig
	n      int
	conn   int // the connection that it was spawned for
	broker *sarama.Broker
	known  bool // it exists for the mapper
	resume chan struct{}
}

func (e *executor) BrokerConn() *sarama.Broker { return e.broker }

func (e *executor) Stop() {
	e.r.mu.Lock()
	e.r.came.stoppings = append(e.r.came.stoppings, e)
	e.r.mu.Unlock()
	select {
	case <-e.resume:
	case <-e.r.off:
	}
}

type lease struct {
	mapper.Lease
	conn, executor int
}

// resolver is a mapper.Resolver whose calls hang.
type resolver struct{ r *rig }

func (v resolver) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	a := v.r.resolve([]mapper.Worker{w})
	return a[0].BrokerConn, a[0].Err
}

func (v resolver) SpawnExecutor(b *sarama.Broker) mapper.Executor {
	r := v.r
	s := &spawning{conn: slices.Index(r.brokers, b), result: make(chan *executor)}
	r.mu.Lock()
	r.came.spawnings = append(r.came.spawnings, s)
	r.mu.Unlock()
	select {
	case e := <-s.result:
		if e != nil {
			return e
		}
	case <-r.off:
	}
	return nil
}

type batchResolver struct{ resolver }

func (v batchResolver) ResolveBrokers(ctx context.Context, ws []mapper.Worker) []mapper.Resolution {
	v.r.mu.Lock()
	v.r.ending = ctx
	v.r.mu.Unlock()
	return v.r.resolve(ws)
}

func (r *rig) resolve(ws []mapper.Worker) []mapper.Resolution {
	c := &call{at: time.Since(r.start), answer: make(chan []mapper.Resolution)}
	for _, w := range ws {
		c.workers = append(c.workers, r.indexOf(w))
	}
	r.mu.Lock()
	r.came.calls = append(r.came.calls, c)
	r.mu.Unlock()
	select {
	case a := <-c.answer:
		return a
	case <-r.off:
		return make([]mapper.Resolution, len(ws)) // no connection for anybody
	}
}

func newRig(cfg Config) (*rig, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	r := &rig{reference: newReference(cfg), start: time.Now(), off: make(chan struct{})}
	for i := range cfg.Conns {
		r.brokers = append(r.brokers, sarama.NewBroker(fmt.Sprintf("c%d:9092", i+1)))
	}
	r.elsewhere = sarama.NewBroker("elsewhere:9092")
	for i := range cfg.Workers {
		f := &fetcher{}
		if i%2 == 0 {
			f.Worker = &lookedUp{f: f}
		} else {
			f.Worker = &slotted{f: f}
		}
		r.fetchers = append(r.fetchers, f)
	}
	var v mapper.Resolver = resolver{r}
	if cfg.Batch {
		v = batchResolver{resolver{r}}
	}
	var err error
	r.m, err = mapper.Spawn(mapper.Config{Backoff: r.backoff, MaxConcurrentResolves: cfg.Calls, RingSize: cfg.RingSize}, v)
	kind := "plain"
	if cfg.Batch {
		kind = "batch"
	}
	r.say("%s, %d calls, ring %d", kind, cfg.Calls, cfg.RingSize)
	return r, err
}

// backoff is the mapper's Config.Backoff. Only while the mapper's goroutine is in
// it does standing say that it is to stand still.
func (r *rig) backoff(attempt int) time.Duration {
	if h := r.standing; h != nil {
		select {
		case <-h.on:
		case <-r.off:
		}
	}
	return backoff(attempt)
}

func (r *rig) say(format string, args ...any) { fmt.Fprintf(&r.log, format+"\n", args...) }

// settle waits until the mapper sleeps or hangs, and holds what it has done since
// against the reference. began is when the step began.
func (r *rig) settle(began time.Duration) error {
	synctest.Wait()
	r.mu.Lock()
	came := r.came
	r.came = arrivals{}
	r.mu.Unlock()
	for i, c := range came.calls {
		r.say("  resolve %s at %v", names('w', c.workers), c.at)
		if err := r.entered(c, began); err != nil {
			return err
		}
		if r.cfg.Batch && i > 0 && came.calls[i-1].at == c.at {
			return fmt.Errorf("B4: two calls at %v, for workers that are due together", c.at)
		}
	}
	for _, s := range came.spawnings {
		r.say("  SpawnExecutor c%d", s.conn+1)
		if s.conn < 0 || r.conns[s.conn].state != placeSpawning || slices.ContainsFunc(r.spawnings, func(o *spawning) bool { return o.conn == s.conn }) {
			return fmt.Errorf("S2: SpawnExecutor of c%d, which nobody waits for or which exists", s.conn+1)
		}
		r.spawnings = append(r.spawnings, s)
	}
	for _, e := range came.stoppings {
		r.say("  Stop e%d", e.n)
		if err := r.stopping(e); err != nil {
			return err
		}
	}
	if n := len(came.spawnings); n != r.spawns {
		return fmt.Errorf("L1: %d calls of SpawnExecutor began, want %d", n, r.spawns)
	}
	if n := len(came.stoppings); n != r.stops {
		return fmt.Errorf("L4: %d calls of Stop began, want %d", n, r.stops)
	}
	r.spawns, r.stops = 0, 0
	return r.compare()
}

// entered takes note of a call of the resolver.
func (r *rig) entered(c *call, began time.Duration) error {
	if !r.cfg.Batch && len(c.workers) != 1 {
		return fmt.Errorf("B4: ResolveBroker for %d workers", len(c.workers))
	}
	for _, i := range c.workers {
		if w := r.workers[i]; c.at != max(w.due, began) && w.alive && w.owed {
			return fmt.Errorf("B1: w%d is resolved at %v, want %v", i+1, c.at, max(w.due, began))
		}
		if err := r.starts(i, c.at); err != nil {
			return err
		}
	}
	r.calls = append(r.calls, c)
	if len(r.calls) > r.cfg.Calls {
		return fmt.Errorf("S10: %d calls of the resolver at a time, want at most %d", len(r.calls), r.cfg.Calls)
	}
	return nil
}

// stopping takes note of a call of Stop.
func (r *rig) stopping(e *executor) error {
	for i, w := range r.workers {
		if w.holds(e.n) {
			return fmt.Errorf("S1: e%d is stopped, and w%d holds it", e.n, i+1)
		}
	}
	if slices.ContainsFunc(r.leases, func(l lease) bool { return l.executor == e.n }) {
		return fmt.Errorf("S1: e%d is stopped, and a lease on it is out", e.n)
	}
	if slices.Contains(r.stoppings, e) {
		return fmt.Errorf("S3: e%d is stopped twice", e.n)
	}
	if k := r.conns[e.conn]; k.state != placeStopping || k.executor != e.n {
		return fmt.Errorf("S1, S3: e%d is stopped, and was not to be", e.n)
	}
	r.stoppings = append(r.stoppings, e)
	return nil
}

// compare holds what can be seen of the mapper against the reference.
func (r *rig) compare() error {
	for i, w := range r.workers {
		if n := len(r.fetchers[i].ch); w.alive && n != len(w.unread) {
			return fmt.Errorf("L1, S4, B3: %d executors are in the channel of w%d, want %s", n, i+1, names('e', minus(w.unread)))
		}
	}
	if i := r.overdue(len(r.calls)); i >= 0 {
		return fmt.Errorf("L2, B1: w%d is due since %v, a call is free, and it is not resolved at %v", i+1, r.workers[i].due, r.now)
	}
	rows := 0
	for _, row := range r.m.Snapshot() {
		i := r.indexOf(row.Worker)
		w := r.workers[i]
		e, _ := row.Executor.(*executor)
		switch {
		case !w.alive:
			return fmt.Errorf("S5: Snapshot knows w%d, which is dead", i+1)
		case e == nil && w.last() != 0, e != nil && (e.n != w.last() || row.BrokerConn != r.brokers[e.conn]):
			return fmt.Errorf("S4: Snapshot says that w%d has %+v, want e%d", i+1, row, w.last())
		}
		rows++
	}
	living, over := 0, r.closed && r.left() == 0
	for _, w := range r.workers {
		if w.alive {
			living++
		}
	}
	r.mu.Lock()
	canceled, ended := r.ending != nil && r.ending.Err() != nil, r.ended
	r.mu.Unlock()
	switch {
	case rows != living:
		return fmt.Errorf("S4: Snapshot has %d rows, want %d", rows, living)
	case canceled && !over:
		return errors.New("L5: the ctx of ResolveBrokers has ended, and more than resolutions is left")
	case over && r.ending != nil && len(r.calls) > 0 && !canceled:
		return errors.New("L5: nothing but resolutions is left, and their ctx has not ended")
	case ended && (!over || len(r.calls) > 0):
		return errors.New("L5: Stop has returned, and something is left")
	case r.closed && over && len(r.calls) == 0 && !ended:
		return errors.New("L5: nothing is left, and Stop has not returned")
	}
	return nil
}

// abandon lets all go after a rule was broken, so that the bubble can end. It may
// be in any state, so nothing is asked of it but that it stops.
func (r *rig) abandon() {
	close(r.off)
	for _, l := range r.leases {
		l.Release()
	}
	for i, w := range r.workers {
		if w.alive {
			r.m.OnWorkerStopped(r.fetchers[i].Worker)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := r.m.Shutdown(ctx); err != nil {
		r.say("# nor does it stop: %v", err)
	}
}

// names writes numbers that count from 0 as w1, w2.
func names(letter rune, numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = fmt.Sprintf("%c%d", letter, n+1)
	}
	return strings.Join(words, " ")
}

// minus counts from 0 what counts from 1.
func minus(numbers []int) []int {
	out := make([]int, len(numbers))
	for i, n := range numbers {
		out[i] = n - 1
	}
	return out
}
