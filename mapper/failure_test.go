package mapper_test

import (
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

func TestS5_NothingComesAfterTheEnd(t *testing.T) {
	// Each case has something pending for w, or about to be, when its life ends.
	cases := map[string]func(x *world, w *worker) (later func()){
		"a resolution in flight": func(x *world, w *worker) func() {
			wait, open := x.gate()
			x.lock(func() {
				x.onResolve = func(w *worker) (*sarama.Broker, error) { wait(); return w.leader.Load(), nil }
			})
			x.m.TriggerReassign(w)
			settle()
			return open
		},
		"a failed resolution in flight": func(x *world, w *worker) func() {
			wait, open := x.gate()
			x.lock(func() { x.onResolve = func(*worker) (*sarama.Broker, error) { wait(); return nil, errNoLeader } })
			x.m.TriggerReassign(w)
			settle()
			return open
		},
		"a spawn in flight": func(x *world, w *worker) func() {
			wait, open := x.gate()
			x.lock(func() {
				x.onSpawn = func(c *sarama.Broker) mapper.Executor { wait(); return x.executor(c, c) }
			})
			w.leader.Store(broker("elsewhere"))
			x.m.TriggerReassign(w)
			settle()
			return open
		},
		"a retry": func(x *world, w *worker) func() {
			w.leader.Store(nil)
			x.m.TriggerReassign(w)
			settle()
			return func() {}
		},
		"an early trigger": func(x *world, w *worker) func() {
			x.m.TriggerReassign(w)
			settle()
			w.take()
			x.m.TriggerReassign(w)
			settle()
			return func() {}
		},
		"an early broker failure": func(x *world, w *worker) func() {
			x.m.TriggerReassign(w)
			settle()
			x.m.BrokerFailed(w.take(), errors.New("broken"))
			settle()
			return func() {}
		},
		"a late trigger and a late broker failure": func(x *world, w *worker) func() {
			e := w.last
			return func() {
				x.m.TriggerReassign(w)
				x.m.BrokerFailed(e, errors.New("broken"))
			}
		},
		"an unread executor": func(x *world, w *worker) func() {
			w.leader.Store(broker("elsewhere"))
			x.m.TriggerReassign(w)
			settle()
			return func() {}
		},
	}
	test := func(t *testing.T, slow bool) {
		for name, begin := range cases {
			t.Run(name, func(t *testing.T) {
				eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
					x := newWorld(t, mapper.Config{}, kind)
					a := broker("a")
					w := x.worker("w", a, 1)
					x.assigned(a, w)
					pass(time.Second)
					later := begin(x, w)
					x.end(w)
					if x.forget(); slow {
						settle() // the mapper knows of the end before the rest comes
					}
					later()
					pass(time.Hour)
					if len(x.asks)+len(x.spawns) != 0 {
						t.Errorf("after the end: %d resolutions, %d spawns", len(x.asks), len(x.spawns))
					}
					w.empty()
					for _, e := range x.all {
						e.stopped(true)
					}
				})
			})
		}
	}
	t.Run("known", func(t *testing.T) { test(t, true) })
	t.Run("at once", func(t *testing.T) { test(t, false) })
}

// The same with a respawn right after the end: the new life has its own
// resolution, and what was pending for the old one adds none to it.
func TestS5_RespawnOwesNothingToTheOldLife(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(time.Second)})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 1)
		e := x.assigned(a, w)
		x.m.TriggerReassign(w) // early: due at 1 s
		x.m.BrokerFailed(e, nil)
		settle()
		x.end(w)
		old := w.ch
		w.leader.Store(b)
		x.rebegin(w)
		pass(time.Hour)
		equal(t, "resolutions", x.times(w), 0, 0)
		w.takes(b)
		w.empty()
		if len(old) != 0 {
			t.Error("the old channel was sent something")
		}
		e.stopped(true)
	})
}

// Stop and respawn in one go, again and again, while the mapper is asleep or
// busy: each life is as good as the first.
func TestS5_StopAndRespawnAreNotCoalescedAway(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		for i := range 100 {
			next := []*sarama.Broker{b, a}[i%2]
			old := w.last
			for range 1 + i%3 {
				x.end(w)
				w.leader.Store(next)
				x.rebegin(w)
			}
			settle()
			w.takes(next)
			w.empty()
			old.stopped(true)
		}
	})
}

// Lives that begin and end while the mapper looks at the ones before: however
// they fall, the last end is the last word. In each round the mapper finds many
// workers that live again, and looks at one after the other; their ends come
// from the other side, so somewhere they meet.
func TestS5_LivesThatEndWhileTheMapperLooks(t *testing.T) {
	run(t, func(t *testing.T) {
		a := broker("a")
		f := newFreezer(t)
		m := simple(t, mapper.Config{Backoff: f.backoff}, func(mapper.Worker) (*sarama.Broker, error) { return a, nil })
		cold := make(chanWorker, 1000)
		ws := make([]*otherWorker, 100)
		for i := range ws {
			ws[i] = &otherWorker{make(chan mapper.Executor, 1000)}
		}
		for range 200 {
			m.OnWorkerSpawned(cold)
			for _, w := range ws {
				m.OnWorkerSpawned(w)
			}
			settle()
			f.freeze(m, cold)
			for _, w := range ws {
				m.OnWorkerStopped(w)
				m.OnWorkerSpawned(w)
			}
			f.melt()
			runtime.Gosched() // else all is over before the mapper runs
			for _, w := range slices.Backward(ws) {
				m.OnWorkerStopped(w)
			}
			m.OnWorkerStopped(cold)
			settle()
			if s := m.Stats(); s.WorkersSpawned != s.WorkersStopped || s.Executors != 0 {
				t.Fatalf("nobody lives, but: %+v", s)
			}
		}
		m.Stop()
	})
}

// The old channel will do where it is empty and nothing was pending.
func TestS5_RespawnWithTheOldChannel(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		for i := range 10 {
			pass(time.Second)
			x.end(w)
			x.begin(w)
			settle()
			w.takes(a)
			w.empty()
			if n := int(w.reads.Load()); n != i+2 {
				t.Fatalf("Assignment was read %d times in %d lives", n, i+2)
			}
		}
	})
}

func TestS6_FailureKeepsAndRetries(t *testing.T) {
	a, b := broker("a"), broker("b")
	cases := map[string]func(x *world, w *worker){
		"error": func(x *world, _ *worker) {
			x.onResolve = func(*worker) (*sarama.Broker, error) { return nil, errNoLeader }
		},
		"error beside a connection": func(x *world, _ *worker) {
			x.onResolve = func(*worker) (*sarama.Broker, error) { return b, errNoLeader }
		},
		"nil connection": func(x *world, _ *worker) {
			x.onResolve = func(*worker) (*sarama.Broker, error) { return nil, nil }
		},
		"nil executor": func(x *world, w *worker) {
			w.leader.Store(b)
			x.onSpawn = func(*sarama.Broker) mapper.Executor { return nil }
		},
		"executor of another connection": func(x *world, w *worker) {
			w.leader.Store(b)
			x.onSpawn = func(c *sarama.Broker) mapper.Executor { return x.executor(c, a) }
		},
	}
	for name, fail := range cases {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				x := newWorld(t, mapper.Config{}, kind)
				w, fresh := x.worker("w", a, 1), x.worker("fresh", b, 1)
				ea := x.assigned(a, w)
				pass(time.Second)
				x.forget()
				x.lock(func() { fail(x, w) })
				x.m.TriggerReassign(w)
				x.begin(fresh)
				pass(250 * time.Millisecond)
				for _, w := range []*worker{w, fresh} {
					equal(t, w.name+" resolved", x.times(w), ms(1000, 1100, 1200)...)
					w.empty()
				}
				ea.stopped(false)
				l := x.acquire(w)
				if l.e != ea {
					t.Errorf("assigned to %v, want still %v", l.e, ea)
				}
				l.release()
				if l, ok := x.m.Acquire(fresh); ok {
					t.Errorf("a lease %v through a worker that was sent nothing", l)
				}
				x.lock(func() { x.onResolve, x.onSpawn = nil, nil })
				pass(time.Second)
				w.takes(w.leader.Load())
				w.empty()
				fresh.takes(b)
				fresh.empty()
				x.forget()
				pass(time.Hour)
				equal(t, "calls after it succeeded", x.sizes())
			})
		})
	}
}

func TestS6_FullChannelKeepsAndRetries(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		other, w := x.worker("other", b, 1), x.worker("w", a, 2)
		x.assigned(b, other)
		x.begin(w)
		settle()
		x.forget()
		pass(time.Second)
		x.m.TriggerReassign(w) // a confirmation takes the last room
		pass(time.Second)
		w.leader.Store(b) // its executor lives: there is nothing to spawn
		x.m.TriggerReassign(w)
		pass(250 * time.Millisecond)
		equal(t, "resolved", x.times(w), ms(1000, 2000, 2100, 2200)...)
		if n := x.m.Stats().FullChannels; n != 3 {
			t.Errorf("%d full channels counted, want 3", n)
		}
		w.takes(a)
		w.takes(a)
		pass(100 * time.Millisecond)
		w.takes(b)
		x.forget()
		pass(time.Hour)
		equal(t, "calls after it was sent", x.sizes())
	})
}

// A full channel is a failed resolution for a confirmation too: the worker is
// to learn that its request was answered.
func TestS6_FullChannelForAConfirmation(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.begin(w)
		pass(time.Second)
		x.m.TriggerReassign(w)
		pass(250 * time.Millisecond)
		equal(t, "resolved", x.times(w), ms(0, 1000, 1100, 1200)...)
		w.takes(a)
		pass(100 * time.Millisecond)
		w.takes(a)
	})
}

// Somebody else's send on the channel is against the rules; it must not block
// the mapper. Here it comes while the mapper hands out an executor to many, so
// that in some round it falls between the look at the channel and the send.
func TestS6_NobodyBlocksTheMapper(t *testing.T) {
	run(t, func(t *testing.T) {
		const n = 300
		a := broker("a")
		for range 30 {
			x := newWorld(t, mapper.Config{MaxConcurrentResolves: n})
			wait, open := x.gate()
			x.onSpawn = func(c *sarama.Broker) mapper.Executor { wait(); return x.executor(c, c) }
			ws := x.workers(n, a)
			x.begin(ws...)
			settle() // all wait for one executor
			open()
			for len(ws[0].ch) == 0 {
				runtime.Gosched()
			}
			for _, w := range ws[n/2:] {
				select {
				case w.ch <- nil:
				default:
				}
			}
			settle()
			for _, w := range ws {
				if len(w.ch) != 1 {
					t.Fatalf("%v has %d unread assignments, want its own or the foreign one", w, len(w.ch))
				}
			}
			for _, w := range ws[n/2:] {
				if e := <-w.ch; e == nil {
					pass(100 * time.Millisecond)
					w.takes(a) // by the retry
				} else {
					w.ch <- e
				}
			}
			x.end(ws...)
		}
	})
}
