package brokermap_test

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/brokermap/brokermap/mapper"
)

// BenchmarkTriggerLatency times single calls of TriggerReassign while the brokers
// of 100 000 workers fail one after the other and a request for answers takes
// 1 ms. The calls come without a break (pace=none) or one each microsecond. It
// reports the mean (mean-ns), the median (p50-ns), the 99th percentile (p99-ns)
// and the longest call (max-ns); reading the clock is part of each. A mapper that
// blocks its callers shows in the mean and the longest: when a channel of 4096 is
// full, one call waits for all the others.
//
// -benchtime=200000x -count=10 is enough.
func BenchmarkTriggerLatency(b *testing.B) {
	const n = 100_000
	for _, pace := range []time.Duration{0, time.Microsecond} {
		for _, im := range impls {
			name := "none"
			if pace > 0 {
				name = fmt.Sprintf("%dus", pace.Microseconds())
			}
			b.Run(fmt.Sprintf("workers=%d/pace=%s/impl=%s", n, name, im.name), func(b *testing.B) {
				c := newCluster(homes)
				c.reads = true
				f := newFixture(b, im, c, n, mapper.Config{Backoff: shortBackoff})
				defer f.close()
				request := func() { time.Sleep(time.Millisecond) }
				c.request.Store(&request)
				var done atomic.Bool
				var failing sync.WaitGroup
				failing.Go(func() { f.failInTurn(&done) })
				var h histogram
				b.ResetTimer()
				for i, j := 0, 0; i < b.N; i, j = i+1, (j+1)%n {
					began := time.Now()
					f.TriggerReassign(f.workers[j])
					took := time.Since(began)
					h.add(took)
					for took < pace {
						took = time.Since(began)
					}
				}
				b.StopTimer()
				done.Store(true)
				failing.Wait()
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(h.total.Nanoseconds())/float64(h.n), "mean-ns")
				b.ReportMetric(h.quantile(0.5), "p50-ns")
				b.ReportMetric(h.quantile(0.99), "p99-ns")
				b.ReportMetric(float64(h.longest.Nanoseconds()), "max-ns")
			})
		}
	}
}

// failInTurn fails the connections one after the other until done.
func (f *fixture) failInTurn(done *atomic.Bool) {
	of := make([][]mapper.Worker, len(f.cluster.conns))
	for _, w := range f.workers {
		home := w.(member).self().home
		of[home] = append(of[home], w)
	}
	last := make([]mapper.Executor, len(of))
	for home := 0; !done.Load(); home = (home + 1) % len(of) {
		last[home] = f.fail(home, last[home], of[home])
	}
}

// histogram counts durations, with steps of 1/16.
type histogram struct {
	counts  [64 * 16]int
	n       int
	total   time.Duration
	longest time.Duration
}

func (h *histogram) add(d time.Duration) {
	v := max(uint64(d), 16)
	exp := bits.Len64(v) - 5
	h.counts[exp*16+int(v>>exp)-16]++
	h.n++
	h.total += d
	h.longest = max(h.longest, d)
}

func (h *histogram) quantile(q float64) float64 {
	left := int(q * float64(h.n))
	for i, c := range h.counts {
		if left -= c; left < 0 {
			return float64(uint64(i%16+16) << (i / 16))
		}
	}
	return float64(h.longest)
}

// BenchmarkAcquire: Acquire and Release of an executor by goroutines that each
// go through workers of their own, against two read-modify-writes of one word
// that they share, as the workers of one executor share its count. An operation
// is the pair.
//
// -benchtime=200ms -count=10 is enough.
func BenchmarkAcquire(b *testing.B) {
	for _, c := range []struct{ goroutines, n int }{{1, 1}, {1, 1000}, {2, 1000}, {8, 1000}} {
		goroutines, n := c.goroutines, c.n
		for _, name := range []string{"ours", "plain", "two-rmw"} {
			b.Run(fmt.Sprintf("goroutines=%d/workers=%d/impl=%s", goroutines, n, name), func(b *testing.B) {
				run := twoRMW()
				if name != "two-rmw" {
					im := ours
					if name == "plain" {
						im = plain
					}
					f := newFixture(b, im, newCluster(1), n, mapper.Config{})
					defer f.close()
					run = f.acquire
				}
				b.ReportAllocs()
				b.ResetTimer()
				cpu := cpuTime()
				var wg sync.WaitGroup
				for g := range goroutines {
					wg.Go(func() { run(g*n/goroutines, b.N/goroutines+1) })
				}
				wg.Wait()
				reportCPU(b, cpuTime()-cpu)
				b.StopTimer()
			})
		}
	}
}

func (f *fixture) acquire(from, n int) {
	m := f.subject.(*mapper.T)
	for ; n > 0; n-- {
		if from++; from >= len(f.workers) {
			from = 0
		}
		if l, ok := m.Acquire(f.workers[from]); ok {
			l.Release()
		} else {
			panic("a worker has no executor")
		}
	}
}

func twoRMW() func(from, n int) {
	var word atomic.Uint64
	return func(_, n int) {
		for ; n > 0; n-- {
			word.Add(1)
			word.Add(^uint64(0))
		}
		runtime.KeepAlive(&word)
	}
}
