package mapper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// world is what surrounds a mapper in a test: the resolver, the executors that
// it spawns and the workers. Whatever a test is about, the world checks S1 to
// S4, S9 and that nil is never sent.
type world struct {
	t     testing.TB
	m     *mapper.T
	start time.Time

	// Hooks, nil for the defaults. A test sets them under lock, or before the
	// mapper can call them.
	mu        sync.Mutex
	onResolve func(*worker) (*sarama.Broker, error)
	onBatch   func(context.Context, []mapper.Worker) []mapper.Resolution
	onSpawn   func(*sarama.Broker) mapper.Executor
	onStop    func(*executor)

	// What has happened.
	asks    []ask
	spawns  []spawnCall
	exist   map[*sarama.Broker]*executor // from SpawnExecutor's begin (nil) to Stop's end
	all     []*executor
	living  map[*worker]bool
	leases  map[*lease]bool
	answers map[*worker]map[*sarama.Broker]bool // of the life that is on
}

// ask is one call of the resolver.
type ask struct {
	at      time.Duration
	workers []*worker
}

type spawnCall struct {
	at   time.Duration
	conn *sarama.Broker
}

var errNoLeader = errors.New("no leader")

// newWorld returns the world of a new mapper, which backs off for 100 ms if cfg
// does not say otherwise. A test runs it in a bubble. At the end of the test
// everybody stops, and so must the mapper.
func newWorld(t testing.TB, cfg mapper.Config, kind ...func(*world) mapper.Resolver) *world {
	t.Helper()
	if cfg.Backoff == nil {
		cfg.Backoff = constant(100 * time.Millisecond)
	}
	return newDefaultWorld(t, cfg, kind...)
}

// newDefaultWorld is newWorld with the package's own Backoff.
func newDefaultWorld(t testing.TB, cfg mapper.Config, kind ...func(*world) mapper.Resolver) *world {
	t.Helper()
	x := &world{
		t: t, start: time.Now(),
		exist: map[*sarama.Broker]*executor{}, living: map[*worker]bool{}, leases: map[*lease]bool{},
		answers: map[*worker]map[*sarama.Broker]bool{},
	}
	var r mapper.Resolver = plain{x}
	for _, k := range kind {
		r = k(x)
	}
	var err error
	if x.m, err = mapper.Spawn(cfg, r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(t.Name(), strings.ReplaceAll(lookedUp, " ", "_")) {
		x.m.LookWorkersUp()
	}
	t.Cleanup(x.close)
	return x
}

// batched makes the resolver a BatchResolver.
func batched(x *world) mapper.Resolver { return batch{plain{x}} }

func constant(d time.Duration) func(int) time.Duration {
	return func(int) time.Duration { return d }
}

// run runs f in bubbles: with workers that are found by their Slots, and with
// workers that are looked up.
func run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Run("slots", func(t *testing.T) { synctest.Test(t, f) })
	t.Run(lookedUp, func(t *testing.T) { synctest.Test(t, f) })
}

const lookedUp = "looked up"

// eachKind runs f in a bubble for a plain Resolver and for a BatchResolver.
func eachKind(t *testing.T, f func(t *testing.T, kind func(*world) mapper.Resolver)) {
	t.Helper()
	t.Run("Resolver", func(t *testing.T) {
		run(t, func(t *testing.T) { f(t, func(x *world) mapper.Resolver { return plain{x} }) })
	})
	t.Run("BatchResolver", func(t *testing.T) { run(t, func(t *testing.T) { f(t, batched) }) })
}

// settle waits until nothing happens any more unless time passes.
func settle() { synctest.Wait() }

// pass lets time pass, and then whatever that leads to.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (x *world) now() time.Duration { return time.Since(x.start) }

// gate returns what a call that is to hang waits for, and what lets it go, at
// the latest at the end of the test.
func (x *world) gate() (wait, open func()) {
	c := make(chan struct{})
	open = sync.OnceFunc(func() { close(c) })
	x.t.Cleanup(open)
	return func() { <-c }, open
}

// lock runs f, which may change the hooks.
func (x *world) lock(f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f()
}

// close ends the lives that are on, stops the mapper and checks S3.
func (x *world) close() {
	for w := range x.living {
		x.end(w)
	}
	for l := range x.leases {
		l.release()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := x.m.Shutdown(ctx); err != nil {
		panic(fmt.Sprintf("L5: %v; %+v", err, x.m.Stats())) // or the bubble would go on for ever
	}
	for _, e := range x.all {
		if n := e.stops.Load(); n < 1 || n > 1+e.again.Load() {
			x.t.Errorf("S3: %v was stopped %d times", e, n)
		}
	}
	s := x.m.Stats()
	if s.ExecutorsSpawned != s.ExecutorsStopped || s.WorkersSpawned != s.WorkersStopped || s.Workers+s.Executors+s.Calls != 0 {
		x.t.Errorf("stats do not add up after Stop: %+v", s)
	}
}

// broker is a connection that is never opened.
func broker(name string) *sarama.Broker { return sarama.NewBroker(name + ":9092") }

// worker is a mapper.Worker whose resolutions lead to leader.
type worker struct {
	mapper.Slot
	x      *world
	name   string
	ch     chan mapper.Executor
	reads  atomic.Int32 // of Assignment
	flying atomic.Int32 // resolutions of it in flight
	life   atomic.Int64
	leader atomic.Pointer[sarama.Broker] // nil: an error
	last   *executor                     // taken last
}

// worker returns one that is led by b and whose channel has room for n.
func (x *world) worker(name string, b *sarama.Broker, n int) *worker {
	w := &worker{x: x, name: name, ch: make(chan mapper.Executor, n)}
	w.leader.Store(b)
	return w
}

// workers returns n of them, with room for one.
func (x *world) workers(n int, b *sarama.Broker) []*worker {
	ws := make([]*worker, n)
	for i := range ws {
		ws[i] = x.worker(fmt.Sprint("w", i), b, 1)
	}
	return ws
}

func (w *worker) Assignment() chan<- mapper.Executor {
	w.reads.Add(1)
	return w.ch
}

func (w *worker) String() string { return w.name }

// begin begins a life, with the channel that w has.
func (x *world) begin(ws ...*worker) {
	for _, w := range ws {
		x.lock(func() {
			x.living[w] = true
			x.answers[w] = map[*sarama.Broker]bool{}
		})
		w.life.Add(1)
		x.m.OnWorkerSpawned(w)
	}
}

// end ends a life. What its channel still holds was held until now.
func (x *world) end(ws ...*worker) {
	for _, w := range ws {
		for len(w.ch) > 0 {
			w.take()
		}
		w.drop()
		x.lock(func() { delete(x.living, w) })
		w.life.Add(1)
		x.m.OnWorkerStopped(w)
	}
}

// rebegin begins another life of w at once, with a new channel.
func (x *world) rebegin(w *worker) {
	w.ch = make(chan mapper.Executor, cap(w.ch))
	x.begin(w)
}

func (w *worker) drop() {
	if w.last != nil {
		w.last.users.Add(-1)
		w.last = nil
	}
}

// take takes one executor from w's channel, which must have one. Only w's own
// goroutine takes, so what len sees is there. The previous executor is let go a
// moment early, lest its Stop be taken for a breach.
func (w *worker) take() *executor {
	w.x.t.Helper()
	if len(w.ch) == 0 {
		w.x.t.Fatalf("%v was sent nothing at %v", w, w.x.now())
	}
	w.drop()
	got := <-w.ch
	e, ok := got.(*executor)
	if !ok || e == nil {
		w.x.t.Fatalf("S6: %v was sent %#v", w, got)
	}
	e.users.Add(1)
	w.last = e
	if e.stops.Load() > e.again.Load() {
		w.x.t.Errorf("S1: %v took %v, which was stopped while it was unread", w, e)
	}
	w.x.lock(func() {
		if !w.x.answers[w][e.conn] {
			w.x.t.Errorf("S4: %v was sent %v, but in this life the resolver never returned %s", w, e, e.conn.Addr())
		}
	})
	return e
}

// takes takes one and requires that it is of b.
func (w *worker) takes(b *sarama.Broker) *executor {
	w.x.t.Helper()
	e := w.take()
	if e.conn != b {
		w.x.t.Fatalf("%v was sent %v, want one of %s", w, e, b.Addr())
	}
	return e
}

// empty requires that w's channel is.
func (w *worker) empty() {
	w.x.t.Helper()
	if n := len(w.ch); n != 0 {
		w.x.t.Fatalf("%v has %d unread assignments at %v, want none", w, n, w.x.now())
	}
}

// assigned begins the lives of workers that are led by b and takes their first
// executor.
func (x *world) assigned(b *sarama.Broker, ws ...*worker) *executor {
	x.t.Helper()
	for _, w := range ws {
		w.leader.Store(b)
	}
	x.begin(ws...)
	settle()
	var e *executor
	for _, w := range ws {
		e = w.takes(b)
	}
	return e
}

// executor is a mapper.Executor.
type executor struct {
	x     *world
	conn  *sarama.Broker // what BrokerConn returns
	of    *sarama.Broker // what it was spawned for
	n     int
	stray bool         // under x.mu: returned for another connection than of
	users atomic.Int32 // workers that took it last
	pins  atomic.Int32 // leases
	stops atomic.Int32
	again atomic.Int32  // how often it may have been returned again
	at    time.Duration // of Stop
}

func (e *executor) String() string { return fmt.Sprintf("executor#%d(%s)", e.n, e.conn.Addr()) }

func (e *executor) BrokerConn() *sarama.Broker { return e.conn }

func (e *executor) Stop() {
	e.at = e.x.now()
	if e.stops.Add(1) > 1+e.again.Load() {
		e.x.t.Errorf("S3: %v is stopped a second time", e)
	}
	if n := e.users.Load(); n != 0 {
		e.x.t.Errorf("S1: %v is stopped while %d workers hold it", e, n)
	}
	if n := e.pins.Load(); n != 0 {
		e.x.t.Errorf("S1: %v is stopped while %d leases are out", e, n)
	}
	var hook func(*executor)
	e.x.lock(func() { hook = e.x.onStop })
	if hook != nil {
		hook(e)
	}
	e.x.lock(func() {
		if e.x.exist[e.of] == e {
			delete(e.x.exist, e.of)
		}
	})
}

// stopped requires that e was stopped, or was not.
func (e *executor) stopped(want bool) {
	e.x.t.Helper()
	if got := e.stops.Load() != 0; got != want {
		e.x.t.Fatalf("%v stopped: %v at %v, want %v", e, got, e.x.now(), want)
	}
}

// executor makes one for conn that says it is of says.
func (x *world) executor(conn, says *sarama.Broker) *executor {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := &executor{x: x, conn: says, of: conn, n: len(x.all)}
	x.all = append(x.all, e)
	x.exist[conn] = e
	return e
}

// times returns when the resolver was asked for w.
func (x *world) times(w *worker) []time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	var at []time.Duration
	for _, a := range x.asks {
		if slices.Contains(a.workers, w) {
			at = append(at, a.at)
		}
	}
	return at
}

// sizes returns for how many workers each call of the resolver asked.
func (x *world) sizes() []int {
	x.mu.Lock()
	defer x.mu.Unlock()
	var sizes []int
	for _, a := range x.asks {
		sizes = append(sizes, len(a.workers))
	}
	return sizes
}

// forget forgets the calls so far, so that a test counts from here.
func (x *world) forget() { x.lock(func() { x.asks, x.spawns = nil, nil }) }

// spawnTimes returns when SpawnExecutor was called for b.
func (x *world) spawnTimes(b *sarama.Broker) []time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	var at []time.Duration
	for _, s := range x.spawns {
		if s.conn == b {
			at = append(at, s.at)
		}
	}
	return at
}

// lease is a mapper.Lease that the world knows of.
type lease struct {
	x *world
	l mapper.Lease
	e *executor
}

// acquire takes a lease, which must be had.
func (x *world) acquire(w *worker) *lease {
	x.t.Helper()
	l, ok := x.m.Acquire(w)
	if !ok {
		x.t.Fatalf("no lease is to be had on the executor of %v", w)
	}
	e := l.Executor().(*executor)
	e.pins.Add(1)
	e.stopped(false)
	out := &lease{x, l, e}
	x.lock(func() { x.leases[out] = true })
	return out
}

func (l *lease) release() {
	l.e.pins.Add(-1)
	l.l.Release()
	l.x.lock(func() { delete(l.x.leases, l) })
}

// equal compares what was recorded with what was to be.
func equal[E comparable](t testing.TB, what string, got []E, want ...E) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

// ms makes milliseconds.
func ms(ns ...int) []time.Duration {
	ds := make([]time.Duration, len(ns))
	for i, n := range ns {
		ds[i] = time.Duration(n) * time.Millisecond
	}
	return ds
}
