//go:build !explore

package ringbuf_test

import (
	"fmt"
	"runtime/metrics"
	"testing"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// A consumer that is being woken is hurried by the 33rd item that it has slept
// through, the 97th and so on; one that is awake by none.
func TestHurry(t *testing.T) {
	for _, c := range []struct {
		items, before int // pushed, and taken before
		armed         bool
		want          uint64
	}{
		{items: 32, armed: true, want: 0},
		{items: 33, armed: true, want: 1},
		{items: 96, armed: true, want: 1},
		{items: 97, armed: true, want: 2},
		{items: 97, armed: false, want: 0},
		{before: 40, items: 32, armed: true, want: 0},
		{before: 40, items: 33, armed: true, want: 1},
		{items: 5000, armed: true, want: 256 / 64}, // of a full ring, once each
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
