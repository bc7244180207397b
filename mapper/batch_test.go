package mapper_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

func TestB2_NewWorkerIsResolvedAtOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{Backoff: constant(time.Hour)}, kind)
		a := broker("a")
		w := x.worker("w", a, 1)
		var at []time.Duration
		for range 5 { // each life is new, whatever the last one waited for
			at = append(at, x.now())
			x.assigned(a, w)
			x.m.TriggerReassign(w)
			pass(time.Second)
			x.end(w)
			w.ch = make(chan mapper.Executor, 1)
		}
		equal(t, "resolved", x.times(w), at...)
	})
}

func TestB2_MoveSetsAttemptToZero(t *testing.T) {
	a, b := broker("a"), broker("b")
	// After each of these the worker triggers early; attempt is what Backoff
	// gets then.
	cases := []struct {
		name    string
		first   *sarama.Broker // what the worker holds, nil: nothing
		then    *sarama.Broker
		attempt int
	}{
		{"the first of a life", nil, a, 0},
		{"a move", a, b, 0},
		{"a confirmation", a, a, 3},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				var s steps
				x := newWorld(t, mapper.Config{Backoff: s.backoff}, kind)
				w := x.worker("w", nil, 1)
				if c.first != nil {
					x.assigned(c.first, w)
					w.leader.Store(nil)
					pass(time.Second)
					x.m.TriggerReassign(w)
				} else {
					x.begin(w)
				}
				began := x.now()
				pass(350 * time.Millisecond) // resolved at 0, 100, 300
				w.leader.Store(c.then)
				pass(250 * time.Millisecond) // at 600
				equal(t, "resolved", x.times(w)[len(x.times(w))-1:], began+600*time.Millisecond)
				w.takes(c.then)
				s.asked()
				x.m.TriggerReassign(w)
				settle()
				equal(t, "attempt", s.asked(), c.attempt)
			})
		})
	}
}

// A failed resolution does not, whatever connection it led to.
func TestB2_FailedMoveDoesNot(t *testing.T) {
	for _, how := range []string{"nil executor", "executor of another connection", "full channel"} {
		t.Run(how, func(t *testing.T) {
			run(t, func(t *testing.T) {
				var s steps
				x := newWorld(t, mapper.Config{Backoff: s.backoff})
				a, b := broker("a"), broker("b")
				w := x.worker("w", a, 1)
				x.begin(w)
				pass(time.Second)
				x.lock(func() {
					switch how {
					case "nil executor":
						x.onSpawn = func(*sarama.Broker) mapper.Executor { return nil }
					case "executor of another connection":
						x.onSpawn = func(c *sarama.Broker) mapper.Executor { return x.executor(c, broker("c")) }
					}
				})
				if how != "full channel" {
					w.takes(a) // else it stays unread
				}
				w.leader.Store(b)
				s.asked()
				x.m.TriggerReassign(w)
				pass(700 * time.Millisecond)
				equal(t, "attempts", s.asked(), 0, 0, 1, 2, 3)
			})
		})
	}
}

func TestB3_ConfirmationIsSent(t *testing.T) {
	triggers(t, func(t *testing.T, trigger func(*worker)) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		e := x.assigned(a, w)
		for range 10 {
			pass(time.Second)
			trigger(w)
			settle()
			if w.takes(a) != e {
				t.Fatal("the executor was replaced, not confirmed")
			}
			w.empty()
		}
		e.stopped(false)
		equal(t, "spawns", x.spawnTimes(a), 0)
		if n := x.m.Stats().Confirmations; n != 10 {
			t.Errorf("%d confirmations counted, want 10", n)
		}
	})
}

// All workers of a failed executor are confirmed, and so is one that confirms
// after retries.
func TestB3_AllAreConfirmed(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		a := broker("a")
		ws := x.workers(50, a)
		e := x.assigned(a, ws...)
		pass(time.Second)
		for _, w := range ws[:10] {
			w.leader.Store(nil)
		}
		x.m.BrokerFailed(e, fmt.Errorf("broken"))
		pass(time.Second)
		for _, w := range ws[:10] {
			w.empty()
			w.leader.Store(a)
		}
		pass(time.Second)
		for _, w := range ws {
			if w.takes(a) != e {
				t.Fatal("the executor was replaced, not confirmed")
			}
			w.empty()
		}
	})
}

func TestB4_OneEventOneCall(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{}, batched)
		a := broker("a")
		const n = 2000
		ws := x.workers(n, a)
		e := x.assigned(a, ws...)
		pass(time.Second)
		x.forget()
		x.m.BrokerFailed(e, nil) // late for all
		settle()
		equal(t, "sizes of calls", x.sizes(), n)
		for _, w := range ws {
			w.takes(a)
		}
		x.forget()
		x.m.BrokerFailed(e, nil) // early for all, that is due at one instant
		pass(time.Second)
		equal(t, "sizes of calls", x.sizes(), n)
		for _, w := range ws {
			w.takes(a)
		}
	})
}

// The default Backoff is jittered, but workers that were resolved together, and
// failed together in whatever way, are tried again together.
func TestB4_FailedBatchIsRetriedAsOneBatch(t *testing.T) {
	const n = 300
	bad := broker("bad")
	fails := map[string]func(x *world){
		"error": func(x *world) { x.onResolve = func(*worker) (*sarama.Broker, error) { return nil, errNoLeader } },
		"nil connection or error": func(x *world) {
			x.onResolve = func(w *worker) (*sarama.Broker, error) {
				if w.name[len(w.name)-1]%2 == 0 {
					return nil, nil
				}
				return nil, errNoLeader
			}
		},
		"wrong length": func(x *world) {
			x.onBatch = func(context.Context, []mapper.Worker) []mapper.Resolution { return nil }
		},
		"nil executor": func(x *world) {
			x.onResolve = func(w *worker) (*sarama.Broker, error) { return bad, nil }
			x.onSpawn = func(*sarama.Broker) mapper.Executor { return nil }
		},
		"executor of another connection": func(x *world) {
			x.onResolve = func(w *worker) (*sarama.Broker, error) { return bad, nil }
			x.onSpawn = func(*sarama.Broker) mapper.Executor { return x.executor(bad, broker("other")) }
		},
	}
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				x := newDefaultWorld(t, mapper.Config{}, batched)
				a := broker("a")
				ws := x.workers(n, a)
				e := x.assigned(a, ws...)
				pass(time.Minute)
				x.forget()
				x.lock(func() { fail(x) })
				x.m.BrokerFailed(e, nil)
				pass(time.Minute)
				sizes := x.sizes()
				if len(sizes) < 15 {
					t.Errorf("%d calls in a minute, want retries", len(sizes))
				}
				for _, size := range sizes {
					if size != n {
						t.Fatalf("sizes of calls: %v, want %d each", sizes, n)
					}
				}
				x.lock(func() { x.onBatch, x.onResolve, x.onSpawn = nil, nil, nil })
				pass(time.Minute)
				for _, w := range ws {
					w.takes(a)
				}
			})
		})
	}
}

// Full channels are failures of one batch too.
func TestB4_FullChannelsAreRetriedTogether(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newDefaultWorld(t, mapper.Config{}, batched)
		a := broker("a")
		const n = 100
		ws := x.workers(n, a)
		x.begin(ws...)
		settle() // unread
		e := x.all[0]
		pass(time.Minute)
		x.m.BrokerFailed(e, nil)
		settle()
		x.forget()
		pass(time.Minute)
		for _, size := range x.sizes() {
			if size != n {
				t.Fatalf("sizes of calls: %v, want %d each", x.sizes(), n)
			}
		}
	})
}

// Workers that are spawned, triggered or moved by another one's failure at
// different times, but wait while all calls are in use, share the next call.
func TestB4_DueWhileAllCallsAreInUse(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			run(t, func(t *testing.T) {
				x := newWorld(t, mapper.Config{MaxConcurrentResolves: limit}, batched)
				a, b := broker("a"), broker("b")
				triggered, failed, retried, fresh := x.workers(10, a), x.workers(10, b), x.workers(10, nil), x.workers(10, a)
				x.assigned(a, triggered...)
				eb := x.assigned(b, failed...)
				pass(time.Second)
				x.begin(retried...)
				settle()
				wait, open := x.gate()
				x.lock(func() {
					x.onBatch = func(_ context.Context, vs []mapper.Worker) []mapper.Resolution {
						wait()
						return batch{plain{x}}.answers(vs)
					}
				})
				for i := range limit {
					x.begin(x.worker(fmt.Sprint("hanging", i), a, 1))
					settle()
				}
				x.forget()
				for _, w := range triggered {
					x.m.TriggerReassign(w)
					pass(time.Millisecond)
				}
				for _, w := range fresh {
					x.begin(w)
					pass(time.Millisecond)
				}
				x.m.BrokerFailed(eb, nil)
				pass(time.Second) // the retries come due, too
				equal(t, "sizes of calls", x.sizes())
				x.lock(func() { x.onBatch = nil })
				for _, w := range retried {
					w.leader.Store(b)
				}
				open()
				settle()
				equal(t, "sizes of calls", x.sizes(), 40)
				for _, w := range slices.Concat(triggered, failed, retried, fresh) {
					w.takes(w.leader.Load())
				}
			})
		})
	}
}

// One instant of the timer, whatever made them due then.
func TestB4_DueAtOneInstant(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{}, batched)
		a := broker("a")
		triggered, retried := x.workers(10, a), x.workers(10, nil)
		wait, open := x.gate()
		x.onBatch = func(_ context.Context, vs []mapper.Worker) []mapper.Resolution {
			wait()
			return batch{plain{x}}.answers(vs)
		}
		x.begin(append(triggered, retried...)...)
		settle()
		open() // however many calls it took, all began at 0
		settle()
		x.forget()
		for _, w := range triggered {
			pass(time.Millisecond)
			x.m.TriggerReassign(w)
			w.takes(a)
		}
		pass(89 * time.Millisecond)
		equal(t, "sizes of calls", x.sizes())
		pass(time.Millisecond)
		equal(t, "sizes of calls", x.sizes(), 20)
	})
}

// Workers whose wait for an executor ends in one event are due together.
func TestB4_OneSpawnFailsForMany(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newDefaultWorld(t, mapper.Config{}, batched)
		a := broker("a")
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			time.Sleep(time.Minute)
			return nil
		}
		ws := x.workers(100, a)
		for _, w := range ws {
			x.begin(w)
			pass(time.Millisecond)
		}
		x.forget()
		x.lock(func() { x.onSpawn = nil })
		pass(time.Minute)
		equal(t, "sizes of calls", x.sizes(), 100)
		for _, w := range ws {
			w.takes(a)
		}
	})
}

// The workers come in one call in the order that pleases the mapper, but each
// answer goes to its own.
func TestB4_AnswersGoToTheirWorkers(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{}, batched)
		brokers := []*sarama.Broker{broker("a"), broker("b"), broker("c"), nil}
		ws := x.workers(100, nil)
		for i, w := range ws {
			w.leader.Store(brokers[i%4])
		}
		x.begin(ws...)
		settle()
		for i, w := range ws {
			if i%4 == 3 {
				w.empty()
			} else {
				w.takes(brokers[i%4])
			}
		}
	})
}

// 10 ms, doubling to 5 s, then times a random factor between 0.8 and 1.2.
func TestB1_DefaultBackoff(t *testing.T) {
	run(t, func(t *testing.T) {
		lowest, highest := 2.0, 0.0
		for range 100 {
			x := newDefaultWorld(t, mapper.Config{})
			w := x.worker("w", nil, 1)
			x.begin(w)
			pass(time.Minute)
			at := x.times(w)
			if len(at) < 15 {
				t.Fatalf("%d resolutions in a minute", len(at))
			}
			for i := range at[1:] {
				mean := min(10*time.Millisecond<<i, 5*time.Second)
				factor := float64(at[i+1]-at[i]) / float64(mean)
				if factor < 0.8-1e-6 || factor > 1.2+1e-6 {
					t.Fatalf("wait %d was %v, %.3f of %v", i, at[i+1]-at[i], factor, mean)
				}
				lowest, highest = min(lowest, factor), max(highest, factor)
			}
			x.end(w)
			x.m.Stop()
		}
		if lowest > 0.82 || highest < 1.18 {
			t.Errorf("the random factor was between %.3f and %.3f, want it to use its range of 0.8 to 1.2", lowest, highest)
		}
	})
}
