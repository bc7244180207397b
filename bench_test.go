// The public benchmarks. They run the mapper (impl=ours) and a lean mapper of the
// classic design (impl=classic, package internal/classic) side by side; only
// ratios within one run mean something. docs/benchmarks.md has the results, and
// internal/benchtool the program that makes them:
//
//	go test -run '^$' -bench . .                             # up to 100 000 workers
//	BROKERMAP_BENCH=large go test -run '^$' -bench . .       # up to a million
//
// The ring, the map and the count that the mapper is made of have benchmarks of
// their own in internal/ringbuf, internal/shardmap and internal/refcount.
package brokermap_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/classic"
	"github.com/brokermap/brokermap/mapper"
)

// subject is what is measured.
type subject interface {
	OnWorkerSpawned(mapper.Worker)
	OnWorkerStopped(mapper.Worker)
	TriggerReassign(mapper.Worker)
	Stop()
}

// backlog is how many notifications either mapper queues: the default of ours.
const backlog = 4096

type impl struct {
	name  string
	slots bool // its workers embed a mapper.Slot
	spawn func(b *testing.B, c *cluster, cfg mapper.Config) subject
}

var (
	ours   = impl{"ours", true, spawnMapper}
	plain  = impl{"plain", false, spawnMapper} // ours, with workers that embed nothing
	theirs = impl{"classic", false, func(_ *testing.B, c *cluster, _ mapper.Config) subject {
		return classic.Spawn(backlog, 10*time.Millisecond, c)
	}}
	impls = []impl{ours, plain, theirs}
)

func spawnMapper(b *testing.B, c *cluster, cfg mapper.Config) subject {
	m, err := mapper.Spawn(cfg, c)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// large asks for the sizes that take minutes and gigabytes.
var large = os.Getenv("BROKERMAP_BENCH") == "large"

// sizes returns numbers of workers, those above 100 000 only where asked for.
func sizes(all ...int) []int {
	var ns []int
	for _, n := range all {
		if n <= 100_000 || large {
			ns = append(ns, n)
		}
	}
	return ns
}

// worker is the least that a worker can be. Nobody reads its channel unless a
// benchmark says so: an unread assignment is held like any other.
type worker struct {
	ch   chan mapper.Executor
	home int // which of the cluster's connections serves it
}

func (w *worker) Assignment() chan<- mapper.Executor { return w.ch }
func (w *worker) self() *worker                      { return w }

// slotWorker is a worker that has room for what the mapper keeps of it.
type slotWorker struct {
	mapper.Slot
	worker
}

// member is either of them.
type member interface {
	mapper.Worker
	self() *worker
}

// drain reads what is there. Others may be reading too.
func (w *worker) drain() {
	for {
		select {
		case <-w.ch:
		default:
			return
		}
	}
}

// newWorkers returns n workers of an implementation, spread over homes
// connections.
func newWorkers(im impl, n, homes int) []mapper.Worker {
	ws := make([]mapper.Worker, n)
	for i := range ws {
		w := worker{make(chan mapper.Executor, 1), i % homes}
		if im.slots {
			ws[i] = &slotWorker{worker: w}
		} else {
			ws[i] = &w
		}
	}
	return ws
}

// shuffle makes sure that workers are not gone through in the order of their
// addresses, which processors like too well.
func shuffle(ws []mapper.Worker) []mapper.Worker {
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(ws), func(i, j int) { ws[i], ws[j] = ws[j], ws[i] })
	return ws
}

type executor struct{ conn *sarama.Broker }

func (e *executor) BrokerConn() *sarama.Broker { return e.conn }
func (e *executor) Stop()                      {}

// cluster resolves workers. It answers at once unless request says otherwise.
type cluster struct {
	conns []atomic.Pointer[sarama.Broker] // by home
	// request waits for as long as one request for answers takes; nil: no time.
	request atomic.Pointer[func()]
	// reads makes the resolver read the channels of the workers that it is asked
	// for, in their place, so that there is always room for the answer.
	reads bool
}

func newCluster(homes int) *cluster {
	c := &cluster{conns: make([]atomic.Pointer[sarama.Broker], homes)}
	for i := range c.conns {
		c.move(i)
	}
	return c
}

// move gives the workers of a home a new connection.
func (c *cluster) move(home int) { c.conns[home].Store(sarama.NewBroker("127.0.0.1:9092")) }

func (c *cluster) ask() {
	if wait := c.request.Load(); wait != nil {
		(*wait)()
	}
}

func (c *cluster) answer(w mapper.Worker) *sarama.Broker {
	own := w.(member).self()
	if c.reads {
		own.drain()
	}
	return c.conns[own.home].Load()
}

func (c *cluster) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	c.ask()
	return c.answer(w), nil
}

func (c *cluster) ResolveBrokers(_ context.Context, ws []mapper.Worker) []mapper.Resolution {
	c.ask()
	answers := make([]mapper.Resolution, len(ws))
	for i, w := range ws {
		answers[i].BrokerConn = c.answer(w)
	}
	return answers
}

func (c *cluster) SpawnExecutor(conn *sarama.Broker) mapper.Executor { return &executor{conn} }

// fixture is a mapper with living, assigned workers.
type fixture struct {
	subject
	cluster *cluster
	workers []mapper.Worker
	unblock func() // called before the end; nil: nothing
}

const homes = 16

func newFixture(b *testing.B, im impl, c *cluster, n int, cfg mapper.Config) *fixture {
	f := &fixture{subject: im.spawn(b, c, cfg), cluster: c, workers: newWorkers(im, n, len(c.conns))}
	for _, w := range f.workers {
		f.OnWorkerSpawned(w)
	}
	waitAssigned(f.workers)
	drain(f.workers)
	shuffle(f.workers)
	runtime.GC()
	return f
}

func (f *fixture) close() {
	if f.unblock != nil {
		f.unblock()
	}
	for _, w := range f.workers {
		f.OnWorkerStopped(w)
	}
	f.Stop()
}

// fail breaks the connection of a home, with executor x, and returns the
// executor of the next one when ws, the workers of the home, have read it. x is
// nil where it is not known yet.
func (f *fixture) fail(home int, x mapper.Executor, ws []mapper.Worker) mapper.Executor {
	f.cluster.move(home)
	next := f.cluster.conns[home].Load()
	if m, ok := f.subject.(*mapper.T); ok && x != nil {
		m.BrokerFailed(x, errBroken)
	} else {
		for _, w := range ws {
			f.TriggerReassign(w)
		}
	}
	for _, w := range ws {
		for x = range w.(member).self().ch {
			if x.BrokerConn() == next {
				break
			}
		}
	}
	return x
}

var errBroken = errors.New("broken pipe")

// waitAssigned returns when each worker has something to read.
func waitAssigned(ws []mapper.Worker) {
	var began time.Time
	for i := 0; i < len(ws); {
		if len(ws[i].(member).self().ch) > 0 {
			i++
			continue
		}
		// A sleep costs tens of microseconds too many, which matters to small
		// populations only.
		if began.IsZero() {
			began = time.Now()
		}
		if time.Since(began) < time.Millisecond {
			runtime.Gosched()
		} else {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

func drain(ws []mapper.Worker) {
	for _, w := range ws {
		w.(member).self().drain()
	}
}

// noBackoff resolves each trigger at once.
func noBackoff(int) time.Duration { return 0 }

// shortBackoff is the default one with an end soon enough to wait for.
func shortBackoff(attempt int) time.Duration {
	return min(10*time.Millisecond<<min(attempt, 10), 80*time.Millisecond)
}

// settle returns when the program has come to rest, or does not seem to.
func settle() {
	quiet := 0
	for range 100 {
		before := cpuTime()
		time.Sleep(25 * time.Millisecond)
		quiet++
		if cpuTime()-before > time.Millisecond {
			quiet = 0
		}
		if quiet == 5 { // not just kept off the processors by others
			return
		}
	}
}

// reportCPU reports the processor time of an operation.
func reportCPU(b *testing.B, total time.Duration) {
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "cpu-ns/op")
}
