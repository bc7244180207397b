package mapper_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

func TestS9_OneAtATime(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{Backoff: constant(0)}, kind)
		a := broker("a")
		wait, open := x.gate()
		x.onResolve = func(w *worker) (*sarama.Broker, error) { wait(); return w.leader.Load(), nil }
		w := x.worker("w", a, 1)
		x.begin(w)
		for range 100 {
			pass(time.Second)
			x.m.TriggerReassign(w)
		}
		equal(t, "asked while the call hangs", x.times(w), 0)
		for i := range 10 { // and ever new lives
			x.end(w)
			settle()
			x.rebegin(w)
			if i%2 == 0 {
				settle()
			}
			x.m.TriggerReassign(w)
			pass(time.Second)
		}
		equal(t, "asked while the call hangs", x.times(w), 0)
		at := x.now()
		open()
		settle()
		equal(t, "asked", x.times(w), 0, at)
		w.takes(a)
	})
}

// A new life is resolved at once when the call of the old one returns: neither
// what failed, nor what waits, nor what was in a row before delays it.
func TestS9_NewLifeIsResolvedAtOnceWhenTheOldCallReturns(t *testing.T) {
	for _, outcome := range []string{"a connection", "nil", "an error"} {
		t.Run(outcome, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				x := newWorld(t, mapper.Config{Backoff: constant(time.Hour)}, kind)
				a := broker("a")
				wait, open := x.gate()
				x.onResolve = func(w *worker) (*sarama.Broker, error) {
					wait()
					switch {
					case w.life.Load() > 1 || outcome == "a connection":
						return a, nil
					case outcome == "nil":
						return nil, nil
					}
					return nil, errNoLeader
				}
				w := x.worker("w", a, 1)
				x.begin(w)
				pass(time.Second)
				x.end(w)
				pass(time.Second)
				x.rebegin(w)
				pass(time.Second)
				x.m.TriggerReassign(w)
				x.lock(func() { x.onResolve = nil })
				open()
				settle()
				equal(t, "resolved", x.times(w), ms(0, 3000)...)
				w.takes(a)
				pass(2 * time.Hour)
				equal(t, "resolved", x.times(w), ms(0, 3000)...)
			})
		})
	}
}

// Workers are asked for concurrently, up to the limit.
func TestS9_DifferentWorkersConcurrently(t *testing.T) {
	for _, limit := range []int{0, 1, 5} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			run(t, func(t *testing.T) {
				x := newWorld(t, mapper.Config{MaxConcurrentResolves: limit})
				want := limit
				if limit == 0 {
					want = 16
				}
				a := broker("a")
				flying, most := 0, 0
				x.onResolve = func(*worker) (*sarama.Broker, error) {
					x.lock(func() { flying++; most = max(most, flying) })
					time.Sleep(time.Second)
					x.lock(func() { flying-- })
					return a, nil
				}
				ws := x.workers(3*want, a)
				x.begin(ws...)
				settle()
				x.lock(func() {
					if flying != want {
						t.Errorf("%d calls in flight, want %d", flying, want)
					}
				})
				if got := x.m.Stats().Calls; got != uint64(want) {
					t.Errorf("Stats say that %d calls are in flight, want %d", got, want)
				}
				pass(3 * time.Second)
				for _, w := range ws {
					w.takes(a)
				}
				if most != want {
					t.Errorf("%d calls in flight at most, want %d", most, want)
				}
			})
		})
	}
}

// The limit counts the calls of ResolveBrokers too.
func TestS9_BatchesConcurrently(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{MaxConcurrentResolves: 2}, batched)
		a := broker("a")
		wait, open := x.gate()
		x.onBatch = func(_ context.Context, vs []mapper.Worker) []mapper.Resolution {
			wait()
			return batch{plain{x}}.answers(vs)
		}
		ws := x.workers(6, a)
		for i := range 2 {
			x.begin(ws[i])
			settle()
		}
		x.begin(ws[2:]...)
		settle()
		equal(t, "sizes of calls", x.sizes(), 1, 1)
		x.lock(func() { x.onBatch = nil })
		open()
		settle()
		equal(t, "sizes of calls", x.sizes(), 1, 1, 4)
		for _, w := range ws {
			w.takes(a)
		}
	})
}
