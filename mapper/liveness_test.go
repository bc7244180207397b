package mapper_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

func TestL1_EveryWorkerServed(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		brokers := []*sarama.Broker{broker("a"), broker("b"), broker("c")}
		ws := x.workers(300, nil)
		for i, w := range ws {
			w.leader.Store(brokers[i%3])
		}
		x.begin(ws...)
		settle()
		for _, w := range ws {
			w.takes(w.leader.Load())
			w.empty()
		}
	})
}

// However often and in whatever way resolutions fail before they succeed.
func TestL1_ServedWhenResolutionsSucceedInTheEnd(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		a := broker("a")
		tries, spawns := map[*worker]int{}, 0
		x.onResolve = func(w *worker) (*sarama.Broker, error) {
			x.mu.Lock()
			defer x.mu.Unlock()
			tries[w]++
			switch {
			case tries[w] < 10:
				return nil, errNoLeader
			case tries[w] < 20:
				return nil, nil
			}
			return a, nil
		}
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			x.lock(func() { spawns++ })
			switch {
			case spawns < 10:
				return nil
			case spawns < 20:
				return x.executor(c, broker("elsewhere"))
			}
			return x.executor(c, c)
		}
		ws := x.workers(10, a)
		x.begin(ws...)
		pass(time.Minute)
		for _, w := range ws {
			w.takes(a)
		}
		if spawns != 20 {
			t.Errorf("%d spawns, want 20", spawns)
		}
	})
}

func TestL2_TriggerIsFollowedByAResolution(t *testing.T) {
	// Triggers at all moments of a resolution that takes 20 ms, a wait of
	// 100 ms and the time after it: each is followed by the start of one.
	for at := range 25 {
		at := time.Duration(at) * 10 * time.Millisecond
		t.Run(at.String(), func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				x := newWorld(t, mapper.Config{}, kind)
				a := broker("a")
				x.onResolve = func(*worker) (*sarama.Broker, error) {
					time.Sleep(20 * time.Millisecond)
					return a, nil
				}
				w := x.worker("w", a, 10)
				x.begin(w)
				pass(50 * time.Millisecond)
				x.m.TriggerReassign(w) // due at 100 ms
				pass(at)
				before := len(x.times(w))
				x.m.TriggerReassign(w)
				pass(time.Hour)
				if got := len(x.times(w)) - before; got != 1 {
					t.Errorf("%d resolutions began after the trigger, want 1: %v", got, x.times(w))
				}
			})
		})
	}
}

// BrokerFailed is a trigger for every worker that holds the executor, and for
// nobody else.
func TestL2_BrokerFailedTriggersWhoHoldsIt(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		a, b := broker("a"), broker("b")
		ws, others := x.workers(20, a), x.workers(20, b)
		ea := x.assigned(a, ws...)
		x.assigned(b, others...)
		unread := x.worker("unread", a, 1)
		older := x.worker("older", a, 2) // uses ea, but was sent another one
		x.begin(unread, older)
		settle()
		older.takes(a)
		older.leader.Store(b)
		pass(time.Second)
		x.m.TriggerReassign(older)
		settle()
		x.forget()
		pass(time.Second)
		x.m.BrokerFailed(ea, errors.New("broken"))
		settle()
		for _, w := range append(ws, unread, older) {
			equal(t, w.name+" resolved", x.times(w), 2*time.Second)
		}
		for _, w := range others {
			equal(t, w.name+" resolved", x.times(w))
		}
	})
}

// An executor may find its connection broken before SpawnExecutor has returned
// it. The workers that it is then sent to are resolved once more.
func TestL2_BrokerFailedBeforeSpawnReturned(t *testing.T) {
	for _, strangers := range []int{0, 1, 31, 32, 33, 1000} {
		t.Run(fmt.Sprint(strangers), func(t *testing.T) {
			run(t, func(t *testing.T) {
				x := newWorld(t, mapper.Config{})
				a, b := broker("a"), broker("b")
				wait, open := x.gate()
				x.onSpawn = func(c *sarama.Broker) mapper.Executor {
					e := x.executor(c, c)
					if c == a {
						x.m.BrokerFailed(e, errors.New("broken"))
						for range strangers { // others of whom the mapper knows nothing
							x.m.BrokerFailed(&executor{x: x}, errors.New("broken"))
						}
						wait()
					}
					return e
				}
				ws := x.workers(3, a)
				other := x.worker("other", b, 1)
				x.begin(ws...)
				pass(time.Second)
				x.assigned(b, other)
				open()
				settle()
				for _, w := range ws {
					if n := len(w.ch); n != 1 {
						t.Fatalf("%d executors sent, want 1", n)
					}
					w.takes(a)
				}
				pass(time.Second)
				for _, w := range ws {
					if at := x.times(w); len(at) < 2 || at[1] < time.Second {
						t.Errorf("%v resolved at %v, want once more after it was sent the executor at 1 s", w, at)
					}
					w.takes(a) // confirmed
				}
				equal(t, "other resolved", x.times(other), time.Second)
				equal(t, "spawns", x.spawnTimes(a), 0)
			})
		})
	}
}

// The report may come while the mapper asks the executor for its connection.
func TestL2_BrokerFailedWhileItIsTakenIn(t *testing.T) {
	run(t, func(t *testing.T) {
		a := broker("a")
		var m *mapper.T
		r := funcs{
			resolve: func(mapper.Worker) (*sarama.Broker, error) { return a, nil },
			spawn:   func(*sarama.Broker) mapper.Executor { return &suspect{a, m} },
		}
		m, err := mapper.Spawn(mapper.Config{}, r)
		if err != nil {
			t.Fatal(err)
		}
		w := make(chanWorker, 4)
		m.OnWorkerSpawned(w)
		pass(time.Second)
		if n := len(w); n != 2 {
			t.Errorf("sent %d executors, want the first and a confirmation", n)
		}
		m.OnWorkerStopped(w)
		m.Stop()
	})
}

// suspect reports itself as soon as it is asked for anything.
type suspect struct {
	conn *sarama.Broker
	m    *mapper.T
}

func (s *suspect) BrokerConn() *sarama.Broker {
	s.m.BrokerFailed(s, errors.New("broken"))
	return s.conn
}

func (s *suspect) Stop() {}

func TestL3_LatestWins(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{Backoff: constant(10 * time.Millisecond)}, kind)
		brokers := []*sarama.Broker{broker("a"), broker("b"), broker("c"), broker("d")}
		// The first answer is slow to come, the first executor slow to spawn, and
		// later ones overtake them.
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			if c == brokers[1] || c == brokers[2] {
				time.Sleep(time.Second)
			}
			return x.executor(c, c)
		}
		x.onResolve = func(w *worker) (*sarama.Broker, error) {
			b := w.leader.Load()
			if b == brokers[0] {
				time.Sleep(50 * time.Millisecond)
			}
			return b, nil
		}
		ws := x.workers(64, nil)
		for i, w := range ws {
			w.ch = make(chan mapper.Executor, 5)
			w.leader.Store(brokers[i%4])
		}
		x.begin(ws...)
		for round := 1; round < 3; round++ {
			for i, w := range ws {
				if i>>(2*round)&3 == 0 {
					continue // left alone in this round
				}
				time.Sleep(time.Millisecond)
				w.leader.Store(brokers[i>>(2*round)&3])
				x.m.TriggerReassign(w)
			}
		}
		pass(time.Hour)
		for _, w := range ws {
			for len(w.ch) > 1 {
				w.take()
			}
			w.takes(w.leader.Load())
		}
	})
}

func TestL4_UnusedIsStopped(t *testing.T) {
	cases := map[string]func(x *world, w *worker){
		"the worker stops": func(x *world, w *worker) { x.end(w) },
		"the worker stops unread": func(x *world, w *worker) {
			x.m.TriggerReassign(w)
			settle()
			x.end(w)
		},
		"the worker moves": func(x *world, w *worker) {
			b := broker("b")
			w.leader.Store(b)
			x.m.TriggerReassign(w)
			settle()
			w.takes(b)
		},
		"the worker lives again elsewhere": func(x *world, w *worker) {
			x.end(w)
			w.leader.Store(broker("b"))
			x.rebegin(w)
		},
	}
	for name, leave := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				x := newWorld(t, mapper.Config{})
				w := x.worker("w", nil, 1)
				e := x.assigned(broker("a"), w)
				pass(time.Hour)
				e.stopped(false)
				leave(x, w)
				pass(10 * time.Second)
				e.stopped(true)
			})
		})
	}
}

// A read is no event. The mapper finds it by itself, however late it comes, and
// looks at growing intervals of at most 10 s. When the old executor of each of
// many workers is stopped says when the mapper looked.
func TestL4_LateReadIsFoundInGrowingLooks(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		reads := []time.Duration{}
		for d := time.Millisecond; d < 20*time.Second; d += d/4 + time.Millisecond {
			reads = append(reads, d)
		}
		for d := 30 * time.Second; d < time.Hour; d += 3 * time.Second {
			reads = append(reads, d)
		}
		b := broker("b")
		x.assigned(b, x.worker("stays", b, 1))
		ws := x.workers(len(reads), nil)
		olds := make([]*executor, len(ws))
		for i, w := range ws {
			w.leader.Store(broker(fmt.Sprint("a", i)))
		}
		x.begin(ws...)
		pass(time.Hour)
		for i, w := range ws {
			olds[i] = w.take()
			w.leader.Store(b)
		}
		moved := x.now()
		for _, w := range ws {
			x.m.TriggerReassign(w)
		}
		settle()
		for i, w := range ws {
			time.Sleep(reads[i] - (x.now() - moved))
			w.takes(b)
		}
		pass(10 * time.Second)
		var last, interval time.Duration
		for i, e := range olds {
			e.stopped(true)
			look := e.at - moved
			if late := look - reads[i]; late < 0 || late > 10*time.Second {
				t.Fatalf("read at %v, found at %v: want at most 10 s later", reads[i], look)
			}
			if look == last {
				continue
			}
			// Looks that found nothing are not seen, so two that were seen may be
			// further apart than they would be, but never closer.
			if look-last < interval && interval <= 10*time.Second {
				t.Fatalf("looks at %v and %v, after an interval of %v: the intervals must grow", last, look, interval)
			}
			last, interval = look, look-last
		}
	})
}
