package refcount_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/anishathalye/porcupine"
	"go.uber.org/goleak"

	"github.com/brokermap/brokermap/internal/refcount"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Users retain, use and release; meanwhile the owner drains, resumes now and
// then, and in the end destroys what they use, which the race detector watches.
func TestStress(t *testing.T) {
	for range 200 {
		const users, uses = 4, 50
		var (
			count    refcount.Count
			resource int // written after the end, read before
			last     = make(chan struct{}, 1)
			warm     = make(chan struct{}, users)
			wg       sync.WaitGroup
		)
		for range users {
			wg.Go(func() {
				refused := false
				for i := range uses {
					if i == uses/10 {
						warm <- struct{}{}
					}
					if !count.TryRetain() {
						refused = true
						continue
					}
					if refused {
						t.Error("retained after it was refused")
					}
					if resource != 0 {
						t.Error("retained what is gone")
					}
					if count.Release() {
						select {
						case last <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		for range users {
			<-warm
		}
		for i := 0; !count.Drain(); i++ {
			if i < 3 {
				count.Resume()
				continue
			}
			<-last // hangs if the last release does not say so
		}
		resource = 1
		wg.Wait()
		if !count.Drain() || !count.Closed() || count.Refs() != 0 {
			t.Fatal("not closed for good")
		}
	}
}

type operation string

// state of the count as seen from outside.
type state struct {
	refs             int
	draining, closed bool
}

// countModel allows a Release to say that it was the last one while nobody
// drains yet: Drain is not one step, and what it asks for is seen before it has
// found out whether it can close. The contrary, a last release that is silent
// while the owner counts on it, is what must not be.
var countModel = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, input, output any) (bool, any) {
		st, ok := s.(state), output.(bool)
		switch input.(operation) {
		case "retain":
			if ok {
				st.refs++
			}
			return ok != st.closed, st
		case "release":
			st.refs--
			last := st.refs == 0
			return st.refs >= 0 && !st.closed && (last && st.draining == ok || last && ok || !last && !ok), st
		case "drain":
			if st.closed {
				return ok, st
			}
			st.draining, st.closed = true, ok
			return ok == (st.refs == 0), st
		default: // resume
			st.draining = false
			return true, st
		}
	},
}

func TestLinearizable(t *testing.T) {
	for range 200 {
		const users = 3
		var count refcount.Count
		var clock atomic.Int64
		logs := make([][]porcupine.Operation, users+1)
		record := func(client int, op operation, do func() bool) bool {
			call := clock.Add(1)
			ok := do()
			logs[client] = append(logs[client], porcupine.Operation{
				ClientId: client, Input: op, Call: call, Output: ok, Return: clock.Add(1),
			})
			return ok
		}
		var wg sync.WaitGroup
		for u := range users {
			wg.Go(func() {
				for range 5 {
					if record(u, "retain", count.TryRetain) {
						record(u, "release", count.Release)
					}
				}
			})
		}
		wg.Go(func() {
			for i := range 6 {
				if record(users, "drain", count.Drain) {
					return
				}
				if i%2 == 1 {
					record(users, "resume", func() bool { count.Resume(); return true })
				}
			}
		})
		wg.Wait()
		var history []porcupine.Operation
		for _, log := range logs {
			history = append(history, log...)
		}
		if !porcupine.CheckOperations(countModel, history) {
			t.Fatalf("not linearizable: %v", history)
		}
	}
}
