package refcount_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/brokermap/brokermap/internal/refcount"
)

// BenchmarkAcquireRelease: a reference is taken and given back, by several
// goroutines at once. The implementations run side by side; only ratios within
// one run mean something, and for more than one goroutine only on a machine with
// nothing else to do.
func BenchmarkAcquireRelease(b *testing.B) {
	for _, goroutines := range []int{1, 2, 8} {
		run := func(impl string, loop func(n int)) {
			b.Run(fmt.Sprintf("impl=%s/goroutines=%d", impl, goroutines), func(b *testing.B) {
				var wg sync.WaitGroup
				for range goroutines - 1 {
					wg.Go(func() { loop(b.N / goroutines) })
				}
				loop(b.N - b.N/goroutines*(goroutines-1))
				wg.Wait()
			})
		}
		var count refcount.Count
		run("ours", func(n int) {
			for range n {
				if count.TryRetain() {
					count.Release()
				}
			}
		})
		// The floor: a counter that cannot close.
		var word atomic.Uint64
		run("two-rmw", func(n int) {
			for range n {
				word.Add(1)
				word.Add(^uint64(0))
			}
		})
		// The textbook's way: increment unless zero.
		var refs atomic.Int64
		refs.Store(1)
		run("cas-unless-zero", func(n int) {
			for range n {
				for {
					v := refs.Load()
					if v == 0 {
						return
					}
					if refs.CompareAndSwap(v, v+1) {
						break
					}
				}
				refs.Add(-1)
			}
		})
		var mu sync.RWMutex
		run("rwmutex", func(n int) {
			for range n {
				mu.RLock()
				mu.RUnlock() //nolint:staticcheck // nothing but the price of the pair
			}
		})
	}
}
