//go:build !explore

package ringbuf_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// A consumer that is being woken is hurried once, by the 33rd item that it has
// slept through; one that is awake never.
func TestHurry(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it starts goroutines too
	for _, c := range []struct {
		items, before int // pushed, and taken before
		armed         bool
		want          uint64
	}{
		{items: 32, armed: true, want: 0},
		{items: 33, armed: true, want: 1},
		{items: 97, armed: true, want: 1},
		{items: 97, armed: false, want: 0},
		{before: 40, items: 32, armed: true, want: 0},
		{before: 40, items: 33, armed: true, want: 1},
		{items: 5000, armed: true, want: 1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			r, buf := ringbuf.New[int](256), make([]int, 256)
			for i := range c.before {
				r.Push(i)
			}
			for r.Drain(buf) > 0 {
			}
			if c.armed {
				r.Arm()
			}
			began := goroutinesCreated()
			for i := range c.items {
				r.Push(i)
			}
			if got := goroutinesCreated() - began; got != c.want {
				t.Errorf("%d pushes started %d goroutines, want %d", c.items, got, c.want)
			}
		})
	}
}

func goroutinesCreated() uint64 {
	s := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Goroutines are used again.
func TestHurryAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	r, buf := ringbuf.New[int](64), make([]int, 64)
	began := goroutinesCreated()
	const runs = 100
	if n := testing.AllocsPerRun(runs, func() {
		r.Arm()
		for i := range 33 {
			r.Push(i)
		}
		r.Disarm()
		for r.Drain(buf) > 0 {
		}
		runtime.Gosched()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := goroutinesCreated() - began; n < runs {
		t.Errorf("%d goroutines in %d runs", n, runs)
	}
}
