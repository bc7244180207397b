package atomicx_test

import (
	"sync"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/atomicx"
)

// These tests run in both builds: outside a search the exploring types must be
// what the plain ones are.

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestUint64(t *testing.T) {
	var w atomicx.Uint64
	equal(t, "zero", w.Load(), 0)
	equal(t, "Dec wraps", w.Dec(), 1<<64-1)
	equal(t, "Inc wraps", w.Inc(), 0)
	equal(t, "Add", w.Add(5), 5)
	equal(t, "Sub", w.Sub(2), 3)
	equal(t, "Swap", w.Swap(7), 3)
	equal(t, "CompareAndSwap of another", w.CompareAndSwap(3, 8), false)
	equal(t, "CompareAndSwap", w.CompareAndSwap(7, 8), true)
	w.Store(w.Load() + 1)
	equal(t, "Load", w.Load(), 9)
}

func TestUint32(t *testing.T) {
	var w atomicx.Uint32
	equal(t, "zero", w.Load(), 0)
	equal(t, "Dec wraps", w.Dec(), 1<<32-1)
	equal(t, "Inc wraps", w.Inc(), 0)
	equal(t, "Add", w.Add(5), 5)
	equal(t, "Sub", w.Sub(2), 3)
	equal(t, "Swap", w.Swap(7), 3)
	equal(t, "CompareAndSwap of another", w.CompareAndSwap(3, 8), false)
	equal(t, "CompareAndSwap", w.CompareAndSwap(7, 8), true)
	w.Store(w.Load() + 1)
	equal(t, "Load", w.Load(), 9)
}

func TestPointer(t *testing.T) {
	var w atomicx.Pointer[int]
	a, b := new(int), new(int)
	equal(t, "zero", w.Load(), nil)
	w.Store(a)
	equal(t, "Swap", w.Swap(b), a)
	equal(t, "CompareAndSwap of another", w.CompareAndSwap(a, a), false)
	equal(t, "CompareAndSwap", w.CompareAndSwap(b, a), true)
	equal(t, "Load", w.Load(), a)
}

func TestCell(t *testing.T) {
	var c atomicx.Cell[string]
	equal(t, "zero", c.Get(), "")
	c.Set("x")
	equal(t, "Get", c.Get(), "x")
}

func TestSignal(t *testing.T) {
	s := atomicx.NewSignal()
	expired := make(chan time.Time)
	close(expired)
	equal(t, "Wait without a token", s.Wait(expired), false)
	s.Notify()
	s.Notify() // one token at the most
	equal(t, "Wait", s.Wait(nil), true)
	equal(t, "Wait for a second token", s.Wait(expired), false)

	var zero atomicx.Signal // nobody can be woken by it, and nothing is harmed
	zero.Notify()
	equal(t, "Wait of the zero Signal", zero.Wait(expired), false)
}

func TestConcurrentUse(t *testing.T) {
	const goroutines, rounds = 4, 1000
	var w atomicx.Uint64
	var h atomicx.Uint32
	s := atomicx.NewSignal()
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				w.Inc()
				for v := h.Load(); !h.CompareAndSwap(v, v+1); v = h.Load() {
				}
			}
			s.Notify()
		})
	}
	wg.Wait()
	s.Wait(nil)
	equal(t, "Uint64", w.Load(), goroutines*rounds)
	equal(t, "Uint32", h.Load(), goroutines*rounds)
}
