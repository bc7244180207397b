package mapper_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// freezer is a Backoff that stops the mapper's goroutine in its tracks, which a
// Backoff must not do: a caller that waited for the mapper would wait for ever.
type freezer struct {
	armed        atomic.Bool
	frozen, thaw chan struct{}
}

func newFreezer(t *testing.T) *freezer {
	if traced {
		t.Skip("a mapper that writes traces must not be stopped within a step")
	}
	return &freezer{frozen: make(chan struct{}), thaw: make(chan struct{})}
}

func (f *freezer) backoff(int) time.Duration {
	if f.armed.CompareAndSwap(true, false) {
		f.frozen <- struct{}{}
		<-f.thaw
	}
	return 100 * time.Millisecond
}

// freeze has the mapper ask how long to back off, by a trigger of w.
func (f *freezer) freeze(m *mapper.T, w mapper.Worker) {
	f.armed.Store(true)
	m.TriggerReassign(w)
	<-f.frozen
}

// melt lets the mapper go on.
func (f *freezer) melt() { f.thaw <- struct{}{} }

// While the mapper's goroutine does not move at all, and long after the ring is
// full, every notification returns; nothing of it is lost.
func TestS7_NotificationsDoNotWaitForTheMapper(t *testing.T) {
	for _, size := range []int{1, 64, 0} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			run(t, func(t *testing.T) {
				f := newFreezer(t)
				x := newWorld(t, mapper.Config{RingSize: size, Backoff: f.backoff})
				const n = 1000
				a, b := broker("a"), broker("b")
				old, fresh, failed := x.workers(n, a), x.workers(n, b), x.workers(n, broker("c"))
				ec := x.assigned(failed[0].leader.Load(), failed...)
				x.assigned(a, old...)
				cold := x.worker("cold", nil, 1)
				x.assigned(a, cold)
				pass(time.Second)
				x.forget()
				f.freeze(x.m, cold)

				x.begin(fresh...)
				for i, w := range old {
					switch i % 4 {
					case 0:
						x.m.TriggerReassign(w)
						x.m.TriggerReassign(w)
					case 1:
						x.end(w)
					case 2:
						x.end(w)
						x.rebegin(w)
					case 3:
						x.end(w)
						x.rebegin(w)
						x.m.TriggerReassign(w)
						x.m.OnWorkerSpawned(w)
					}
				}
				for range n {
					x.m.BrokerFailed(ec, errors.New("broken"))
					x.m.BrokerFailed(&executor{x: x}, errors.New("broken"))
				}
				for _, w := range old {
					if l, ok := x.m.Acquire(w); ok {
						l.Release()
					}
				}
				settle()
				if len(x.asks) != 0 {
					t.Fatal("the mapper is not frozen: the test proves nothing")
				}
				f.melt()
				settle()
				for i, w := range old {
					if i%4 == 1 {
						w.empty()
						equal(t, w.name+" resolved", x.times(w))
						continue
					}
					w.takes(a)
					equal(t, w.name+" resolved", x.times(w), time.Second)
				}
				for _, w := range fresh {
					w.takes(b)
				}
				for _, w := range failed {
					w.takes(ec.conn)
				}
				if s := x.m.Stats(); (s.Scans != 0) != (size != 0) {
					t.Errorf("%d scans with a ring of %d: the ring should have overflown unless it is large", s.Scans, size)
				}
			})
		})
	}
}

// The same where all that happens is that the resolver hangs; callers keep
// notifying concurrently.
func TestS7_NotificationsDoNotWaitForTheResolver(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{RingSize: 1, MaxConcurrentResolves: 1}, kind)
		a := broker("a")
		wait, open := x.gate()
		x.onResolve = func(w *worker) (*sarama.Broker, error) { wait(); return w.leader.Load(), nil }
		const callers, each = 8, 100
		ws := x.workers(callers*each, a)
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				for j, w := range ws[i*each : (i+1)*each] {
					for range 1 + j%3 {
						x.begin(w)
						x.m.TriggerReassign(w)
						x.end(w)
						w.ch = make(chan mapper.Executor, 1)
					}
					x.begin(w)
					x.m.TriggerReassign(w)
					if j%4 == 0 {
						x.end(w)
					}
				}
			})
		}
		wg.Wait()
		open()
		settle()
		for i, w := range ws {
			if i%each%4 == 0 {
				w.empty()
			} else {
				w.takes(a)
			}
		}
	})
}

// Many callers, a ring that always overflows: each notification counts. Each
// trigger must be followed by a resolution.
func TestS7_NothingIsLostWhenTheRingOverflows(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{RingSize: 1, Backoff: constant(0), MaxConcurrentResolves: 1000})
		brokers := []*sarama.Broker{broker("a"), broker("b"), broker("c")}
		const callers, each, rounds = 8, 20, 20
		ws := x.workers(callers*each, brokers[0])
		x.assigned(brokers[0], ws...)
		for round := 1; round <= rounds; round++ {
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					for j, w := range ws[i*each : (i+1)*each] {
						w.leader.Store(brokers[(i+j+round)%3])
						x.m.TriggerReassign(w)
					}
				})
			}
			wg.Wait()
			pass(time.Second)
			for _, w := range ws {
				for len(w.ch) > 1 {
					w.take()
				}
				w.takes(w.leader.Load())
			}
			// A life that was sent nothing yet may be none that the mapper knows.
			for i := range callers {
				wg.Go(func() {
					for j, w := range ws[i*each : (i+1)*each] {
						w.leader.Store(brokers[(i+j+round+1)%3])
						x.end(w)
						x.rebegin(w)
					}
				})
			}
			wg.Wait()
			pass(time.Second)
			for _, w := range ws {
				for len(w.ch) > 1 {
					w.take()
				}
				w.takes(w.leader.Load())
			}
		}
		if n := x.m.Stats().Scans; n == 0 {
			t.Error("the ring has never overflown: the test proves nothing")
		}
	})
}

// All notifications may be called from within callbacks, also such as concern
// the very worker or executor that is being served.
func TestS7_FromInsideCallbacks(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{RingSize: 1, Backoff: constant(time.Minute)}, kind)
		a := broker("a")
		var extra atomic.Int32
		notify := func(w *worker, e mapper.Executor) {
			if n := extra.Add(1); n < 1000 {
				other := x.worker(fmt.Sprint("extra", n), a, 1)
				x.m.OnWorkerSpawned(other)
				x.m.TriggerReassign(other)
				if l, ok := x.m.Acquire(other); ok {
					l.Release()
				}
				x.m.OnWorkerStopped(other)
			}
			if w != nil {
				if w.name == "w" { // it lives, which is not certain of the others
					x.m.OnWorkerSpawned(w)
				}
				x.m.TriggerReassign(w)
				if l, ok := x.m.Acquire(w); ok {
					l.Release()
				}
			}
			x.m.BrokerFailed(e, errors.New("broken"))
		}
		w := x.worker("w", a, 10)
		x.onResolve = func(w *worker) (*sarama.Broker, error) {
			notify(w, nil)
			return w.leader.Load(), nil
		}
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			e := x.executor(c, c)
			notify(w, e)
			return e
		}
		x.onStop = func(e *executor) { notify(w, e) }
		x.begin(w)
		pass(time.Second)
		w.takes(a)
		w.leader.Store(broker("b"))
		pass(time.Hour)
		w.takes(w.leader.Load())
		pass(time.Hour)
		x.all[0].stopped(true)
		x.lock(func() { x.onResolve, x.onSpawn, x.onStop = nil, nil, nil }) // w is about to stop
	})
}

// A worker may stop, and another one begin, in the callbacks of executors and
// in Assignment itself.
func TestS7_FromInsideAssignment(t *testing.T) {
	run(t, func(t *testing.T) {
		a := broker("a")
		m, err := mapper.Spawn(mapper.Config{}, funcs{
			resolve: func(mapper.Worker) (*sarama.Broker, error) { return a, nil },
			spawn:   func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
		})
		if err != nil {
			t.Fatal(err)
		}
		w := &nosy{m: m, inner: make(chanWorker, 1), ch: make(chan mapper.Executor, 1)}
		m.OnWorkerSpawned(w)
		settle()
		if len(w.ch) != 1 || len(w.inner) != 1 {
			t.Error("not both were assigned")
		}
		m.OnWorkerStopped(w)
		m.OnWorkerStopped(w.inner)
		m.Stop()
	})
}

type nosy struct {
	m     *mapper.T
	inner chanWorker
	ch    chan mapper.Executor
}

func (w *nosy) Assignment() chan<- mapper.Executor {
	w.m.TriggerReassign(w)
	w.m.OnWorkerStopped(w)
	w.m.Acquire(w)
	w.m.BrokerFailed(nil, nil)
	w.m.OnWorkerSpawned(w.inner)
	return w.ch
}

// Release never runs Stop in its caller, not even for the last lease on an
// executor that only waits for it.
func TestS7_ReleaseDoesNotStopInItsCaller(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		wait, open := x.gate()
		x.onStop = func(*executor) { wait() }
		w := x.worker("w", nil, 1)
		e := x.assigned(broker("a"), w)
		l := x.acquire(w)
		x.end(w)
		settle()
		l.release() // would hang
		settle()
		e.stopped(true)
		open()
	})
}

// A lease may be acquired as soon as the executor was received.
func TestS7_AcquireSeesWhatWasReceived(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(0)})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 1)
		if _, ok := x.m.Acquire(w); ok {
			t.Fatal("a lease before the life began")
		}
		x.begin(w)
		for i := range 3000 {
			for len(w.ch) == 0 {
				runtime.Gosched() // a sleeper would be woken too late to see anything
			}
			got := <-w.ch
			l, ok := x.m.Acquire(w)
			if !ok || l.Executor() != got {
				t.Fatalf("received %v, but the lease is on %v, %v", got, l.Executor(), ok)
			}
			w.leader.Store([]*sarama.Broker{b, a}[i%2])
			x.m.TriggerReassign(w)
			l.Release()
		}
		<-w.ch
	})
}
