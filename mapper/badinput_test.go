package mapper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// listWorker is no map key.
type listWorker []int

func (listWorker) Assignment() chan<- mapper.Executor { return make(chan mapper.Executor, 1) }

// holderWorker is a map key for the compiler, and none when it holds a list.
type holderWorker struct{ what any }

func (holderWorker) Assignment() chan<- mapper.Executor { return make(chan mapper.Executor, 1) }

// listExecutor is an executor that is no map key.
type listExecutor struct {
	*executor
	_ []int
}

func panics(t *testing.T, f func()) (message string) {
	t.Helper()
	defer func() {
		v := recover()
		if v == nil {
			t.Fatal("no panic")
		}
		message = fmt.Sprint(v)
	}()
	f()
	return ""
}

// pointWorker may have an x that is not equal to itself.
type pointWorker struct{ x float64 }

func (pointWorker) Assignment() chan<- mapper.Executor { return make(chan mapper.Executor, 1) }

func TestBadInput_SpawnedPanicsInTheCallersGoroutine(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		noChannel := x.worker("no channel", nil, 1)
		noChannel.ch = nil
		unbuffered := x.worker("not buffered", nil, 0)
		for _, c := range []struct {
			w     mapper.Worker
			names []string // the worker, and the rule
		}{
			{nil, []string{"nil", "must not be nil"}},
			{listWorker{1}, []string{"listWorker", "must be comparable"}},
			{holderWorker{[]int{1}}, []string{"holderWorker", "must be comparable"}},
			{pointWorker{math.NaN()}, []string{"pointWorker", "equal to itself"}},
			{noChannel, []string{"no channel", "must be a buffered channel"}},
			{unbuffered, []string{"not buffered", "must be a buffered channel"}},
		} {
			message := panics(t, func() { x.m.OnWorkerSpawned(c.w) })
			for _, name := range c.names {
				if !strings.Contains(message, name) {
					t.Errorf("the panic does not say %q: %s", name, message)
				}
			}
		}
		// Nothing has changed: the mapper stops, and a worker whose channel was
		// bad can live with a good one.
		pass(time.Second)
		if s := x.m.Stats(); s.Workers != 0 || s.WorkersSpawned != 0 || len(x.asks) != 0 {
			t.Errorf("a life has begun: %+v", s)
		}
		unbuffered.ch = make(chan mapper.Executor, 1)
		x.assigned(broker("a"), unbuffered)
	})
}

func TestBadInput_RepeatedSpawnIsCountedNoOp(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		pass(time.Hour)
		old := w.ch
		w.ch = make(chan mapper.Executor, 1)
		for range 3 {
			x.m.OnWorkerSpawned(w)
		}
		pass(time.Hour)
		if n := w.reads.Load(); n != 1 {
			t.Errorf("Assignment was read %d times, want once per life", n)
		}
		equal(t, "resolutions", x.times(w), 0)
		if len(old)+len(w.ch) != 0 {
			t.Error("a repeated OnWorkerSpawned led to an assignment")
		}
		if n := x.m.Stats().RepeatedSpawns; n != 3 {
			t.Errorf("%d repeated spawns counted, want 3", n)
		}
		w.ch = old
		x.m.TriggerReassign(w) // the life goes on
		settle()
		w.takes(a)
	})
}

// Also where the workers are the first that the mapper ever sees, all at once.
func TestBadInput_FirstWorkersConcurrently(t *testing.T) {
	run(t, func(t *testing.T) {
		a := broker("a")
		for range 2000 {
			m := simple(t, mapper.Config{RingSize: 1}, func(mapper.Worker) (*sarama.Broker, error) { return a, nil })
			var all sync.WaitGroup
			var ready atomic.Int32
			const n = 4
			ws := make([]*otherWorker, n)
			for i := range ws {
				ws[i] = &otherWorker{make(chan mapper.Executor, 1)}
				all.Go(func() {
					for ready.Add(1); ready.Load() < n; {
						runtime.Gosched()
					}
					m.OnWorkerSpawned(ws[i])
					m.OnWorkerSpawned(ws[i])
				})
			}
			all.Wait()
			for _, w := range ws {
				m.OnWorkerStopped(w)
			}
			if s := m.Stats(); s.RepeatedSpawns != n || s.UnknownWorkers != 0 {
				t.Fatalf("%d repeated spawns counted, want %d; %d stops of unknown workers, want none", s.RepeatedSpawns, n, s.UnknownWorkers)
			}
			m.Stop()
		}
	})
}

func TestBadInput_UnknownWorkersAreCountedNoOps(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		stranger, dead, lives := x.worker("stranger", a, 1), x.worker("dead", a, 1), x.worker("lives", a, 1)
		x.assigned(a, dead, lives)
		x.end(dead)
		pass(time.Hour)
		x.forget()
		n := uint64(0)
		for _, w := range []mapper.Worker{nil, listWorker{1}, holderWorker{[]int{1}}, holderWorker{7}, stranger, dead} {
			x.m.OnWorkerStopped(w)
			x.m.TriggerReassign(w)
			n += 2
			if got := x.m.Stats().UnknownWorkers; got != n {
				t.Errorf("%v: %d notifications for unknown workers counted, want %d", w, got, n)
			}
			if l, ok := x.m.Acquire(w); ok || l != (mapper.Lease{}) {
				t.Errorf("%v: Acquire returned %v, %v", w, l, ok)
			}
		}
		pass(time.Hour)
		if len(x.asks) != 0 || x.m.Stats().Workers != 1 {
			t.Errorf("they had an effect: %v, %+v", x.asks, x.m.Stats())
		}
	})
}

// A worker that has just stopped is as unknown, though the mapper may not have
// noticed yet.
func TestBadInput_StoppedAMomentAgo(t *testing.T) {
	run(t, func(t *testing.T) {
		f := newFreezer(t)
		x := newWorld(t, mapper.Config{Backoff: f.backoff})
		w, cold := x.worker("w", nil, 1), x.worker("cold", nil, 2)
		x.assigned(broker("a"), w, cold)
		f.freeze(x.m, cold)
		x.end(w)
		x.m.TriggerReassign(w)
		x.m.OnWorkerStopped(w)
		if n := x.m.Stats().UnknownWorkers; n != 2 {
			t.Errorf("%d notifications for unknown workers counted, want 2", n)
		}
		if l, ok := x.m.Acquire(w); ok {
			t.Errorf("a dead worker has a lease on %v", l.Executor())
			l.Release()
		}
		f.melt()
	})
}

func TestBadInput_UnknownExecutorsAreCountedNoOps(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		gone, w := x.worker("gone", broker("b"), 1), x.worker("w", a, 1)
		old := x.assigned(broker("b"), gone)
		x.assigned(a, w)
		x.end(gone)
		pass(time.Hour)
		old.stopped(true)
		x.forget()
		for i, e := range []mapper.Executor{nil, listExecutor{}, &executor{x: x}, old} {
			x.m.BrokerFailed(e, errors.New("broken"))
			if n := x.m.Stats().UnknownExecutors; n != uint64(i+1) {
				t.Errorf("%d reports of unknown executors counted, want %d", n, i+1)
			}
		}
		pass(time.Hour)
		if len(x.asks) != 0 {
			t.Errorf("they led to resolutions: %v", x.asks)
		}
	})
}

func TestBadInput_ZeroLease(t *testing.T) {
	var l mapper.Lease
	if e := l.Executor(); e != nil {
		t.Errorf("Executor of the zero Lease is %v", e)
	}
	l.Release()
	l.Release()
}

func TestBadInput_WrongLengthFailsThoseWorkers(t *testing.T) {
	for _, off := range []int{-3, -1, 1} {
		t.Run(fmt.Sprint(off), func(t *testing.T) {
			run(t, func(t *testing.T) {
				var log bytes.Buffer
				x := newWorld(t, mapper.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, batched)
				a, b := broker("a"), broker("b")
				ws := x.workers(3, a)
				ea := x.assigned(a, ws...)
				pass(time.Second)
				x.forget()
				x.lock(func() {
					x.onBatch = func(_ context.Context, vs []mapper.Worker) []mapper.Resolution {
						rs := make([]mapper.Resolution, len(vs)+off)
						for i := range rs {
							rs[i].BrokerConn = b
						}
						return rs
					}
				})
				x.m.BrokerFailed(ea, nil)
				settle()
				if n := x.m.Stats().WrongLengths; n != 1 {
					t.Errorf("%d wrong lengths counted, want 1", n)
				}
				if s := log.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, fmt.Sprintf("returned %d resolutions for 3 workers", 3+off)) {
					t.Errorf("the log does not say what is wrong: %s", s)
				}
				for _, w := range ws {
					w.empty()
				}
				x.lock(func() { x.onBatch = nil })
				pass(time.Second)
				for _, w := range ws { // S6: each of them is tried again
					equal(t, "resolutions", x.times(w), ms(1000, 1100)...)
					w.takes(a)
				}
			})
		})
	}
}

// An executor that lives cannot be had a second time, neither for its own
// connection nor for another one, and is stopped once.
func TestBadInput_ExecutorReturnedTwice(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a, b := broker("a"), broker("b")
		w, other := x.worker("w", a, 1), x.worker("other", b, 1)
		ea := x.assigned(a, w)
		x.lock(func() { x.onSpawn = func(*sarama.Broker) mapper.Executor { return ea } })
		ea.conn = b // so that it seems to be one of b
		x.begin(other)
		pass(time.Second)
		ea.conn = a
		other.empty()
		ea.stopped(false)
		if n := len(x.spawnTimes(b)); n != 11 || x.m.Stats().FailedSpawns != uint64(n) {
			t.Errorf("%d spawns, %d of them failed, want a retry every 100 ms", n, x.m.Stats().FailedSpawns)
		}
		x.lock(func() { x.onSpawn = nil })
		pass(time.Second)
		other.takes(b)
		x.m.TriggerReassign(w)
		settle()
		if w.takes(a) != ea {
			t.Error("the executor was replaced")
		}
	})
}

// One whose Stop has returned may be returned again: it is a new one.
func TestBadInput_ExecutorReturnedAgainAfterStop(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		e := x.assigned(a, w)
		for range 5 {
			x.end(w)
			settle()
			e.stopped(true)
			x.lock(func() {
				x.onSpawn = func(*sarama.Broker) mapper.Executor {
					e.stops.Store(0)
					x.lock(func() { x.exist[a] = e })
					return e
				}
			})
			x.rebegin(w)
			settle()
			if w.takes(a) != e {
				t.Fatal("want the executor that the resolver has returned again")
			}
			pass(time.Second)
			x.m.BrokerFailed(e, nil)
			settle()
			w.takes(a) // it is known
		}
	})
}

// An executor that cannot be a map key cannot be used, and is stopped.
func TestBadInput_ExecutorThatIsNoKey(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		x.onSpawn = func(c *sarama.Broker) mapper.Executor { return listExecutor{executor: x.executor(c, c)} }
		w := x.worker("w", a, 1)
		x.begin(w)
		settle()
		x.all[0].stopped(true)
		w.empty()
		x.lock(func() { x.onSpawn = nil })
		pass(100 * time.Millisecond)
		w.takes(a)
	})
}

func TestBadInput_Config(t *testing.T) {
	for _, c := range []struct {
		cfg  mapper.Config
		r    mapper.Resolver
		says string
	}{
		{mapper.Config{MaxConcurrentResolves: -1}, plain{}, "MaxConcurrentResolves"},
		{mapper.Config{RingSize: -1}, plain{}, "RingSize"},
		{mapper.Config{}, nil, "Resolver"},
	} {
		m, err := mapper.Spawn(c.cfg, c.r)
		if m != nil || err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Spawn(%+v) returned %v, %v", c.cfg, m, err)
		}
	}
}

// panicky panics in the place that it is told to.
type panicky struct {
	where string
	conn  *sarama.Broker
}

func (p panicky) hit(where string) {
	if p.where == where {
		panic("the value of " + where)
	}
}

func (p panicky) ResolveBroker(mapper.Worker) (*sarama.Broker, error) {
	p.hit("ResolveBroker")
	return p.conn, nil
}

func (p panicky) SpawnExecutor(*sarama.Broker) mapper.Executor {
	p.hit("SpawnExecutor")
	return p
}

func (p panicky) BrokerConn() *sarama.Broker {
	p.hit("BrokerConn")
	return p.conn
}

func (p panicky) Stop() { p.hit("Stop") }

type batchPanicky struct{ panicky }

func (p batchPanicky) ResolveBrokers(context.Context, []mapper.Worker) []mapper.Resolution {
	panic("the value of ResolveBrokers")
}

// children are what the child processes do: each lives one life of a worker
// with a resolver that panics.
var children = map[string]func(){}

func init() {
	for _, where := range []string{"ResolveBroker", "ResolveBrokers", "SpawnExecutor", "BrokerConn", "Stop"} {
		children[where] = func() {
			var r mapper.Resolver = panicky{where, broker("a")}
			if where == "ResolveBrokers" {
				r = batchPanicky{panicky{}}
			}
			m, err := mapper.Spawn(mapper.Config{}, r)
			if err != nil {
				panic(err)
			}
			w := &worker{ch: make(chan mapper.Executor, 1)}
			m.OnWorkerSpawned(w)
			<-w.ch
			m.OnWorkerStopped(w)
			m.Stop()
		}
	}
}

func TestBadInput_PanicsOfOthersCrashTheProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"ResolveBroker", "ResolveBrokers", "SpawnExecutor", "BrokerConn", "Stop"} {
		t.Run(where, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, exe)
			cmd.Env = append(os.Environ(), childEnv+"="+where)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "panic: the value of "+where) {
				t.Errorf("the process ended with %v, want it to crash with the panic's value:\n%s", err, out)
			}
		})
	}
}
