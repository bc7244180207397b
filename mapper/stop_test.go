package mapper_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// stopping calls Stop and returns what says whether it has returned.
func (x *world) stopping() (returned func() bool) {
	done := make(chan struct{})
	go func() {
		x.m.Stop()
		close(done)
	}()
	settle()
	return func() bool {
		settle()
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

func want(t *testing.T, what string, got, want bool) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func TestL5_StopWaitsForWorkersAndLeases(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		ws := x.workers(2, a)
		x.assigned(a, ws...)
		l := x.acquire(ws[0])
		returned := x.stopping()
		pass(time.Hour)
		want(t, "returned while two live", returned(), false)
		x.end(ws[0])
		pass(time.Hour)
		want(t, "returned while one lives", returned(), false)
		x.end(ws[1])
		pass(time.Hour)
		want(t, "returned while a lease is out", returned(), false)
		l.e.stopped(false)
		l.release()
		want(t, "returned in the end", returned(), true)
		l.e.stopped(true)
	})
}

func TestL5_StopOfAnUnusedMapper(t *testing.T) {
	run(t, func(t *testing.T) {
		m, err := mapper.Spawn(mapper.Config{}, funcs{})
		if err != nil {
			t.Fatal(err)
		}
		m.Stop()
		m.Stop()
	})
}

// Calls in flight are waited for: of each kind, though nobody waits for what
// they return.
func TestL5_StopWaitsForCalls(t *testing.T) {
	hangs := map[string]func(x *world, wait func()){
		"ResolveBroker": func(x *world, wait func()) {
			x.onResolve = func(w *worker) (*sarama.Broker, error) { wait(); return w.leader.Load(), nil }
		},
		"SpawnExecutor": func(x *world, wait func()) {
			x.onSpawn = func(c *sarama.Broker) mapper.Executor { wait(); return x.executor(c, c) }
		},
		"Executor.Stop": func(x *world, wait func()) {
			x.onStop = func(*executor) { wait() }
		},
	}
	for name, hang := range hangs {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				x := newWorld(t, mapper.Config{}, kind)
				wait, open := x.gate()
				hang(x, wait)
				w := x.worker("w", broker("a"), 1)
				x.begin(w)
				settle()
				returned := x.stopping()
				x.end(w)
				pass(time.Hour)
				want(t, "returned while the call hangs", returned(), false)
				open()
				want(t, "returned in the end", returned(), true)
				for _, e := range x.all {
					e.stopped(true)
				}
			})
		})
	}
}

// When Stop has returned, no goroutine of the mapper is left, and no callback
// is under way.
func TestL5_NoGoroutineIsLeft(t *testing.T) {
	run(t, func(t *testing.T) {
		for range 20 {
			x := newWorld(t, mapper.Config{})
			b := broker("b")
			w := x.worker("w", b, 1)
			x.assigned(b, w)
			w.leader.Store(nil)
			x.m.TriggerReassign(w) // leaves a retry
			settle()
			x.end(w)
			x.m.Stop()
		}
		settle()
		// Their number alone says nothing: the runtime's own come and go.
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if started := "created by github.com/brokermap/brokermap/mapper."; strings.Contains(string(stacks), started) {
			t.Errorf("goroutines of the mapper are left:\n%s", stacks)
		}
	})
}

// After Stop every notification is a no-op.
func TestL5_NoOpsAfterStop(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{RingSize: 1})
		a := broker("a")
		ws := x.workers(10, a)
		e := x.assigned(a, ws...)
		x.end(ws...)
		x.m.Stop()
		asks, spawns, s := len(x.asks), len(x.spawns), x.m.Stats()
		const rounds = 100
		for range rounds {
			for _, w := range ws {
				x.m.OnWorkerSpawned(w)
				x.m.TriggerReassign(w)
				x.m.OnWorkerStopped(w)
				x.m.BrokerFailed(e, errors.New("broken"))
				if l, ok := x.m.Acquire(w); ok || l != (mapper.Lease{}) {
					t.Fatal("a lease was acquired after Stop")
				}
			}
		}
		pass(time.Hour)
		if len(x.asks) != asks || len(x.spawns) != spawns || len(x.m.Snapshot()) != 0 {
			t.Error("they had an effect")
		}
		const n = rounds * 10
		s.SpawnsAfterStop += n
		s.UnknownWorkers += 2 * n
		s.UnknownExecutors += n
		if got := x.m.Stats(); got != s {
			t.Errorf("stats:\n%+v, want\n%+v", got, s)
		}
		for _, w := range ws {
			if w.reads.Load() != 1 {
				t.Error("a channel was asked for")
			}
			w.empty()
		}
	})
}

// Workers that live when Stop is called are served until they stop.
func TestL5_WorkersAreServedUntilTheyStop(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{}, kind)
		a, b := broker("a"), broker("b")
		ws, late := x.workers(3, a), x.worker("late", nil, 1)
		x.assigned(a, ws...)
		x.begin(late) // fails, and is tried again
		returned := x.stopping()
		pass(time.Second)
		late.leader.Store(b)
		pass(time.Second)
		late.takes(b)
		ws[0].leader.Store(b)
		x.m.TriggerReassign(ws[0])
		settle()
		eb := ws[0].takes(b)
		pass(time.Second)
		x.m.BrokerFailed(eb, nil)
		settle()
		late.takes(b)
		ws[0].takes(b)
		l := x.acquire(ws[1])
		l.release()
		want(t, "returned", returned(), false)
		x.end(late)
		x.end(ws...)
		want(t, "returned", returned(), true)
	})
}

// No life begins once Stop or Shutdown was called, a further one of a worker
// that lived included.
func TestL5_NoNewLife(t *testing.T) {
	for _, how := range []string{"Stop", "Shutdown"} {
		t.Run(how, func(t *testing.T) {
			run(t, func(t *testing.T) {
				x := newWorld(t, mapper.Config{})
				a := broker("a")
				lives, again, fresh := x.worker("lives", a, 1), x.worker("again", a, 1), x.worker("fresh", a, 1)
				x.assigned(a, lives, again)
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				if how == "Shutdown" {
					_ = x.m.Shutdown(ctx)
				} else {
					x.stopping()
				}
				x.end(again)
				settle()
				x.forget()
				for _, w := range []*worker{again, fresh} {
					x.m.OnWorkerSpawned(w)
					x.m.TriggerReassign(w)
				}
				pass(time.Hour)
				if n := x.m.Stats().SpawnsAfterStop; n != 2 {
					t.Errorf("%d spawns after stop counted, want 2", n)
				}
				equal(t, "calls", x.sizes())
				if again.reads.Load() != 1 || fresh.reads.Load() != 0 {
					t.Error("a channel was asked for")
				}
				unknown := x.m.Stats().UnknownWorkers
				x.m.OnWorkerStopped(again)
				x.m.OnWorkerStopped(fresh)
				if n := x.m.Stats().UnknownWorkers - unknown; n != 2 {
					t.Errorf("%d stops of workers that do not live counted, want 2", n)
				}
				want(t, "lives", x.m.Stats().Workers == 1, true)
			})
		})
	}
}

func TestL5_StopAndShutdownInAnyOrder(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		for range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if err := x.m.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Shutdown returned %v", err)
			}
			cancel()
		}
		const n = 10
		done := make(chan error, 2*n)
		for range n {
			go func() { x.m.Stop(); done <- nil }()
			go func() { done <- x.m.Shutdown(context.Background()) }()
		}
		pass(time.Second)
		if len(done) != 0 {
			t.Fatal("one returned while a worker lives")
		}
		x.end(w)
		settle()
		if len(done) != 2*n {
			t.Fatalf("%d returned, want all", len(done))
		}
		for range 2 * n {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		x.m.Stop()
		if err := x.m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestL5_CtxOfResolveBrokersEnds(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{MaxConcurrentResolves: 3}, batched)
		a := broker("a")
		stopping, lives, asked := x.worker("stopping", a, 1), x.worker("lives", a, 1), x.worker("asked", a, 1)
		x.assigned(a, stopping, lives)
		l := x.acquire(lives)
		wait, open := x.gate()
		x.lock(func() { x.onStop = func(*executor) { wait() } })
		ended, waitCall := make(chan struct{}), make(chan struct{})
		x.lock(func() {
			x.onBatch = func(ctx context.Context, vs []mapper.Worker) []mapper.Resolution {
				<-ctx.Done()
				close(ended)
				<-waitCall // takes its time
				return batch{plain{x}}.answers(vs)
			}
		})
		over := func() bool {
			pass(time.Hour)
			select {
			case <-ended:
				return true
			default:
				return false
			}
		}
		x.begin(asked)
		settle()
		x.end(asked)
		want(t, "ctx ended, Stop not called", over(), false)
		returned := x.stopping()
		want(t, "ctx ended, two live", over(), false)
		x.end(stopping)
		want(t, "ctx ended, one lives", over(), false)
		x.end(lives)
		want(t, "ctx ended, a lease is out", over(), false)
		l.release()
		want(t, "ctx ended, an executor is stopping", over(), false)
		open()
		want(t, "ctx ended, only the resolution is left", over(), true)
		want(t, "Stop returned, the call is in flight", returned(), false)
		close(waitCall)
		want(t, "Stop returned", returned(), true)
	})
}

// With Shutdown as with Stop, though Shutdown has returned long ago.
func TestL5_CtxEndsAfterShutdown(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{}, batched)
		w := x.worker("w", broker("a"), 1)
		x.onBatch = func(ctx context.Context, vs []mapper.Worker) []mapper.Resolution {
			<-ctx.Done()
			return make([]mapper.Resolution, len(vs))
		}
		x.begin(w)
		settle()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := x.m.Shutdown(ctx); err == nil {
			t.Fatal("Shutdown returned nil though a worker lives")
		}
		x.end(w)
		if err := x.m.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestL5_ShutdownSaysWhoIsStillThere(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		w, asked := x.worker("the-worker", nil, 1), x.worker("the-one-asked-for", b, 1)
		e := x.assigned(a, w)
		wait, open := x.gate()
		says := func(names ...string) {
			t.Helper()
			began := x.now()
			ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("a cause"))
			defer cancel()
			err := x.m.Shutdown(ctx)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("Shutdown returned %v, want one that wraps ctx.Err()", err)
			}
			if took := x.now() - began; took != time.Minute {
				t.Errorf("Shutdown took %v, want what ctx allows", took)
			}
			for _, name := range names {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("Shutdown does not name %q: %v", name, err)
				}
			}
		}
		l := x.acquire(w)
		x.lock(func() {
			x.onResolve = func(w *worker) (*sarama.Broker, error) { wait(); return w.leader.Load(), nil }
		})
		x.begin(asked)
		settle()
		says("the-worker", "the-one-asked-for", "2 living workers", e.String(), "1 executor", "1 lease", "1 resolver call")
		x.end(w)
		settle()
		says("the-one-asked-for", e.String(), "1 executor", "1 lease", "1 resolver call")
		l.release()
		settle()
		e.stopped(true)
		x.end(asked)
		settle()
		says("1 resolver call")
		open()
		if err := x.m.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestL5_ShutdownHeedsCancellation(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		x.assigned(broker("a"), x.worker("w", nil, 1))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		began := x.now()
		if err := x.m.Shutdown(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown returned %v", err)
		}
		if took := x.now() - began; took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// Who closed the mapper first, or left last, may be descheduled before he has
// woken it.
func TestL5_ShutdownIsBounded(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		settle() // the mapper sleeps
		x.m.CloseGate()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := x.now()
		err := x.m.Shutdown(ctx)
		if took := x.now() - began; took > time.Second {
			t.Errorf("Shutdown returned %v after %v, want at most 1 s", err, took)
		}
	})
}

// Who ends the last life may fall asleep before he wakes the mapper.
func TestL5_ShutdownWakesForWhoLeftLast(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		x.m.EnterGate()
		time.AfterFunc(time.Second/2, x.m.LeaveGate)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := x.m.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown returned %v, and nothing was left", err)
		}
	})
}

func TestL5_ShutdownIsNilWhereEverythingHasStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		x.end(w)
		x.m.Stop()
		for range 100 {
			if err := x.m.Shutdown(ctx); err != nil {
				t.Fatalf("after Stop Shutdown returned %v", err)
			}
		}
	})
	// Without a Stop before: all workers and executors have stopped by
	// themselves, or there never was one.
	run(t, func(t *testing.T) {
		for i := range 200 {
			x := newWorld(t, mapper.Config{})
			if i%2 == 0 {
				a := broker("a")
				w := x.worker("w", a, 1)
				x.assigned(a, w)
				x.end(w)
				settle()
			}
			if err := x.m.Shutdown(ctx); err != nil {
				t.Fatalf("Shutdown returned %v", err)
			}
		}
	})
}
