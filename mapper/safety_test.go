package mapper_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// The world's own checks are the heart of these tests: each executor that is
// stopped while it is held, twice, or beside another one of its connection
// fails them. What is spelled out here is what the world cannot know: what must
// not have happened yet.

func TestS1_UnreadAssignmentIsHeld(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b, c := broker("a"), broker("b"), broker("c")
		w := x.worker("w", a, 3)
		x.begin(w)
		settle() // a is unread
		for _, next := range []*sarama.Broker{b, c} {
			w.leader.Store(next)
			pass(time.Second)
			x.m.TriggerReassign(w)
			settle()
		}
		pass(24 * time.Hour)
		if len(w.ch) != 3 {
			t.Fatalf("%d executors are unread, want 3", len(w.ch))
		}
		ea := w.takes(a)
		pass(time.Hour)
		ea.stopped(false)
		eb := w.takes(b)
		pass(10 * time.Second)
		ea.stopped(true)
		pass(time.Hour)
		eb.stopped(false)
		w.takes(c)
		pass(10 * time.Second)
		eb.stopped(true)
	})
}

// An executor that was sent, replaced and sent again is held all the while, in
// whichever place it sits.
func TestS1_ThereAndBackAgainUnread(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 4)
		x.begin(w)
		for _, next := range []*sarama.Broker{b, a, a} {
			pass(time.Second)
			w.leader.Store(next)
			x.m.TriggerReassign(w)
		}
		pass(time.Hour)
		ea := w.takes(a)
		eb := w.takes(b)
		pass(time.Hour)
		ea.stopped(false) // it is unread, twice
		eb.stopped(false) // it is in use
		w.takes(a)
		pass(10 * time.Second)
		eb.stopped(true)
		w.takes(a)
		pass(time.Hour)
		ea.stopped(false)
		equal(t, "spawns of a", x.spawnTimes(a), 0)
	})
}

func TestS1_LeaseKeepsExecutor(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 1)
		ea := x.assigned(a, w)
		first, second := x.acquire(w), x.acquire(w)
		x.assigned(b, x.worker("other", b, 1))
		w.leader.Store(b)
		pass(time.Second)
		x.m.TriggerReassign(w)
		settle()
		w.takes(b) // nobody holds ea any more, but the leases
		pass(time.Hour)
		ea.stopped(false)
		first.release()
		pass(time.Hour)
		ea.stopped(false)
		second.release()
		settle() // a release is an event: no time need pass
		ea.stopped(true)
	})
}

func TestS1_LeaseOutlivesWorker(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		w := x.worker("w", nil, 1)
		ea := x.assigned(broker("a"), w)
		l := x.acquire(w)
		if l.l.Executor() != mapper.Executor(ea) {
			t.Fatalf("the lease is on %v, want %v", l.l.Executor(), ea)
		}
		x.end(w)
		pass(time.Hour)
		ea.stopped(false)
		if _, ok := x.m.Acquire(w); ok {
			t.Fatal("a lease was acquired through a worker that has stopped")
		}
		l.release()
		settle()
		ea.stopped(true)
	})
}

// While only a lease pins it, an executor is still the one of its connection.
func TestS1_LeasedExecutorIsReused(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		old, young := x.worker("old", a, 1), x.worker("young", a, 1)
		ea := x.assigned(a, old)
		l := x.acquire(old)
		x.end(old)
		pass(time.Hour)
		if got := x.assigned(a, young); got != ea {
			t.Fatalf("the new worker was sent %v, want %v", got, ea)
		}
		l.release()
		pass(time.Hour)
		ea.stopped(false) // young holds it
		again := x.acquire(young)
		x.end(young)
		pass(time.Hour)
		ea.stopped(false)
		again.release()
		settle()
		ea.stopped(true)
		equal(t, "spawns", x.spawnTimes(a), 0)
	})
}

// A lease that is acquired in time counts, however the moment is chosen: the
// worker moves on and reads while leases come and go.
func TestS1_AcquireRacesRetirement(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(0)})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		done := make(chan int)
		for range 2 {
			go func() {
				n := 0
				for range 2000 {
					l, ok := x.m.Acquire(w)
					if !ok {
						continue
					}
					n++
					e := l.Executor().(*executor)
					e.pins.Add(1)
					if e.stops.Load() != 0 {
						t.Errorf("S1: a lease on %v, which is stopped", e)
					}
					e.pins.Add(-1)
					l.Release()
				}
				done <- n
			}()
		}
		for i := range 500 {
			w.leader.Store([]*sarama.Broker{b, a}[i%2])
			x.m.TriggerReassign(w)
			settle()
			w.take()
		}
		if n := <-done + <-done; n < 2000 {
			t.Fatalf("%d leases were had of 4000: a worker that lives always has one", n)
		}
	})
}

func TestS2_SpawnWaitsForStop(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		wait, open := x.gate()
		x.onStop = func(*executor) { wait() }
		w := x.worker("w", a, 1)
		ea := x.assigned(a, w)
		x.end(w)
		settle()
		ea.stopped(true) // it is on its way
		x.forget()
		waiting := x.workers(3, a)
		x.begin(waiting...)
		pass(time.Hour)
		equal(t, "spawns while Stop hangs", x.spawnTimes(a))
		for _, w := range waiting {
			w.empty()
		}
		open()
		settle()
		equal(t, "spawns", x.spawnTimes(a), time.Hour)
		for _, w := range waiting {
			if w.takes(a) == ea {
				t.Fatal("a stopped executor was sent")
			}
		}
	})
}

func TestS2_WorkersShareOneExecutor(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		a := broker("a")
		wait, open := x.gate()
		x.onSpawn = func(b *sarama.Broker) mapper.Executor { wait(); return x.executor(b, b) }
		ws := x.workers(100, a)
		x.begin(ws[:50]...)
		pass(time.Second)
		x.begin(ws[50:]...)
		pass(time.Second)
		open()
		settle()
		first := ws[0].takes(a)
		for _, w := range ws[1:] {
			if e := w.takes(a); e != first {
				t.Fatalf("%v was sent %v, another one %v", w, e, first)
			}
		}
		equal(t, "spawns", x.spawnTimes(a), 0)
	})
}

// An executor of another connection than the one asked for is that one's: no
// other is spawned for it until the misfit's Stop has returned.
func TestS2_MisfitCountsForTheConnectionAskedFor(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		wait, open := x.gate()
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			if c == a {
				return x.executor(a, b)
			}
			return x.executor(c, c)
		}
		x.onStop = func(e *executor) {
			if e.of == a {
				wait()
			}
		}
		w, other := x.worker("w", a, 1), x.worker("other", b, 1)
		x.begin(w)
		pass(time.Hour) // w is tried again meanwhile
		equal(t, "spawns for a", x.spawnTimes(a), 0)
		x.assigned(b, other) // its connection has no executor as yet
		equal(t, "spawns for b", x.spawnTimes(b), time.Hour)
		w.empty()
		x.lock(func() { x.onSpawn = nil })
		open()
		settle()
		equal(t, "spawns for a", x.spawnTimes(a), 0, time.Hour)
		w.takes(a)
	})
}

func TestS3_SpawnedForAWorkerThatHasStopped(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		wait, open := x.gate()
		x.onSpawn = func(b *sarama.Broker) mapper.Executor { wait(); return x.executor(b, b) }
		w := x.worker("w", a, 1)
		x.begin(w)
		settle()
		x.end(w)
		settle()
		open()
		settle()
		if len(x.all) != 1 {
			t.Fatalf("%d executors, want 1", len(x.all))
		}
		x.all[0].stopped(true)
		w.empty()
	})
}

// A worker waits for an executor that another one asked for, and has no room
// for it when it comes.
func TestS3_Undeliverable(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		wait, open := x.gate()
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			if c == b {
				wait()
			}
			return x.executor(c, c)
		}
		asker, full := x.worker("asker", b, 1), x.worker("full", a, 1)
		x.begin(asker, full) // asker waits for b's executor, a's is unread
		settle()
		full.leader.Store(b)
		pass(time.Second)
		x.m.TriggerReassign(full)
		settle()
		x.end(asker)
		pass(time.Second)
		open()
		settle()
		if len(x.all) != 2 {
			t.Fatalf("%d executors, want 2", len(x.all))
		}
		x.all[1].stopped(true) // nobody could be sent it
		x.all[0].stopped(false)
		full.takes(a)
		pass(time.Second) // the retry
		full.takes(b)
	})
}

func TestS3_NoSpawnForAFullChannel(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		w := x.worker("w", a, 1)
		x.begin(w)
		settle()
		w.leader.Store(b)
		pass(time.Second)
		x.m.TriggerReassign(w)
		pass(time.Hour)
		if n := len(x.times(w)); n < 1000 {
			t.Fatalf("resolved %d times in an hour, want retries", n)
		}
		equal(t, "spawns for b", x.spawnTimes(b))
		w.takes(a)
		pass(100 * time.Millisecond)
		w.takes(b)
		if n := len(x.spawnTimes(b)); n != 1 {
			t.Fatalf("%d spawns for b, want 1", n)
		}
	})
}

// The same where the worker waits for the predecessor's Stop: it is for nobody
// else that a new executor would be spawned.
func TestS3_NoSpawnForAFullChannelAfterStop(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		wait, open := x.gate()
		x.onStop = func(e *executor) {
			if e.conn == b {
				wait()
			}
		}
		gone, w := x.worker("gone", b, 1), x.worker("w", a, 1)
		x.assigned(b, gone)
		x.begin(w) // its executor stays unread
		settle()
		x.end(gone)
		settle()
		x.forget()
		w.leader.Store(b)
		pass(time.Second)
		x.m.TriggerReassign(w)
		pass(time.Second)
		open()
		pass(time.Minute)
		equal(t, "spawns for b", x.spawnTimes(b))
		w.takes(a)
		pass(100 * time.Millisecond)
		w.takes(b)
	})
}

// Executors that may not be used are stopped too, once.
func TestS3_MisfitIsStopped(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(time.Second)})
		a, b := broker("a"), broker("b")
		x.onSpawn = func(c *sarama.Broker) mapper.Executor { return x.executor(c, b) }
		w := x.worker("w", a, 1)
		x.begin(w)
		pass(2500 * time.Millisecond)
		w.empty()
		if len(x.all) != 3 {
			t.Fatalf("%d executors, want 3", len(x.all))
		}
		for _, e := range x.all {
			e.stopped(true)
		}
	})
}

// An executor whose BrokerConn ends the goroutine, as a test's may, exists all
// the same.
func TestS3_BrokerConnEndsTheGoroutine(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(time.Second)})
		a := broker("a")
		ended := false
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			e := x.executor(c, c)
			if !ended {
				ended = true
				return goexit{e}
			}
			return e
		}
		w := x.worker("w", a, 1)
		x.begin(w)
		pass(2500 * time.Millisecond)
		w.takes(a)
		x.all[0].stopped(true)
	})
}

type goexit struct{ *executor }

func (goexit) BrokerConn() *sarama.Broker { runtime.Goexit(); return nil }

// What the resolver said of another worker, another life, or before it changed
// its mind about a worker that waits, is not sent.
func TestS4_OnlyResolved(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		wait, open := x.gate()
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			if c == a {
				wait()
			}
			return x.executor(c, c)
		}
		ws := x.workers(4, a)
		x.begin(ws...)
		pass(time.Second)
		for _, w := range ws[:2] {
			w.leader.Store(b)
			x.m.TriggerReassign(w)
		}
		pass(time.Second)
		open()
		pass(time.Second)
		for i, w := range ws {
			w.takes([]*sarama.Broker{b, b, a, a}[i])
			w.empty()
		}
	})
}

// Where a life ends during its resolution, the answer is not the next life's.
func TestS4_AnswerOfAnEarlierLifeIsVoid(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		a, b := broker("a"), broker("b")
		wait, open := x.gate()
		x.onResolve = func(w *worker) (*sarama.Broker, error) {
			led := w.leader.Load()
			wait()
			return led, nil
		}
		w := x.worker("w", a, 1)
		x.begin(w)
		settle()
		x.end(w)
		w.leader.Store(b)
		old := w.ch
		x.rebegin(w)
		settle()
		open()
		settle()
		w.takes(b)
		w.empty()
		if len(old) != 0 {
			t.Fatal("the old life's channel was sent something")
		}
		equal(t, "spawns for a", x.spawnTimes(a))
	})
}

func TestS1_ManyMovesStopEverySupersededExecutor(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		w := x.worker("w", nil, 1)
		var held []*executor
		for i := range 50 {
			b := broker(fmt.Sprint("b", i))
			w.leader.Store(b)
			if i == 0 {
				x.begin(w)
			} else {
				x.m.TriggerReassign(w)
			}
			pass(time.Second)
			held = append(held, w.takes(b))
		}
		pass(10 * time.Second)
		for i, e := range held {
			e.stopped(i != len(held)-1)
		}
	})
}
