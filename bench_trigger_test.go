package brokermap_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/classic"
	"github.com/brokermap/brokermap/mapper"
)

// The states of a mapper in which TriggerReassign is measured.
const (
	// idle: nothing is pending, each worker is triggered once, then the mapper
	// comes to rest. Every call is its worker's first since it was resolved.
	idle = "idle"
	// storm: workers are triggered over and over; a worker is resolved again
	// after 10 to 80 ms, as Config.Backoff has it.
	storm = "storm"
	// busy: the same without any backoff, so that the mapper's goroutine never
	// rests. On two cores it competes with the producers.
	busy = "busy"
	// stuck: storm, and no request of the resolver returns.
	stuck = "stuck"
)

// BenchmarkTrigger: TriggerReassign of known workers in random order. An
// operation is one call; time is that of the whole program divided by all
// calls, whoever made them. Allocations and processor time (cpu-ns) are the whole
// program's too, what the mapper does in consequence included.
//
// -benchtime=200ms -count=10 is enough.
func BenchmarkTrigger(b *testing.B) {
	for _, c := range []struct {
		state     string
		workers   int
		procs     int // GOMAXPROCS as a multiple of the cores
		producers []int
	}{
		{idle, 1_000, 1, []int{1, 8}},
		{idle, 100_000, 1, []int{1, 8}},
		{storm, 1_000, 1, []int{1}},
		{storm, 100_000, 1, []int{1, 2, 8, 64}},
		{storm, 100_000, 4, []int{8, 64}},
		{busy, 100_000, 1, []int{1, 8}},
		{stuck, 100_000, 1, []int{1, 2, 8, 64}},
		{stuck, 100_000, 4, []int{64}},
		{idle, 1_000_000, 1, []int{1, 8}},
		{storm, 1_000_000, 1, []int{1, 2, 8, 64}},
	} {
		if len(sizes(c.workers)) == 0 {
			continue
		}
		b.Run(fmt.Sprintf("state=%s/workers=%d/procs=%dx", c.state, c.workers, c.procs), func(b *testing.B) {
			fixtures := make(map[string]*fixture) // of the leaves that are run
			for _, producers := range c.producers {
				for _, im := range impls {
					b.Run(fmt.Sprintf("producers=%d/impl=%s", producers, im.name), func(b *testing.B) {
						f := fixtures[im.name]
						if f == nil {
							f = newTriggerFixture(b, im, c.state, c.workers)
							fixtures[im.name] = f
						}
						defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(c.procs * runtime.NumCPU()))
						b.ReportAllocs()
						b.ResetTimer()
						if c.state == idle {
							triggerOnce(b, f, producers)
							return
						}
						cpu := cpuTime()
						triggerStorm(f, producers, b.N)
						reportCPU(b, cpuTime()-cpu)
					})
					if f := fixtures[im.name]; f != nil && (c.state == storm || c.state == busy) {
						settle() // the last retries
					}
				}
			}
			for _, f := range fixtures {
				f.close()
			}
		})
	}
}

func newTriggerFixture(b *testing.B, im impl, state string, n int) *fixture {
	cfg := mapper.Config{Backoff: shortBackoff}
	if state == idle || state == busy {
		cfg.Backoff = noBackoff
	}
	c := newCluster(homes)
	c.reads = true
	f := newFixture(b, im, c, n, cfg)
	if state == stuck {
		release := make(chan struct{})
		hang := func() { <-release }
		c.request.Store(&hang)
		f.unblock = func() { close(release) }
		for _, w := range f.workers {
			f.TriggerReassign(w)
		}
	}
	settle()
	return f
}

// triggerStorm makes n calls from a number of producers. Each goes through all
// workers from a place of its own.
func triggerStorm(f *fixture, producers, n int) {
	var wg sync.WaitGroup
	for p := range producers {
		share := n / producers
		if p < n%producers {
			share++
		}
		wg.Go(func() { triggerSome(f, p*len(f.workers)/producers, share) })
	}
	wg.Wait()
}

// triggerSome calls the mapper directly: through an interface would cost a
// noticeable part of what is measured.
func triggerSome(f *fixture, from, n int) {
	ws := f.workers
	switch m := f.subject.(type) {
	case *mapper.T:
		for ; n > 0; n-- {
			m.TriggerReassign(ws[from])
			if from++; from == len(ws) {
				from = 0
			}
		}
	case *classic.T:
		for ; n > 0; n-- {
			m.TriggerReassign(ws[from])
			if from++; from == len(ws) {
				from = 0
			}
		}
	}
}

// triggerOnce triggers each worker once, as often as it takes to make b.N calls,
// and reports the time of the calls only.
func triggerOnce(b *testing.B, f *fixture, producers int) {
	var spent, cpu time.Duration
	for n := 0; n < b.N; {
		ws := f.workers[:min(len(f.workers), b.N-n)]
		var wg sync.WaitGroup
		began, before := time.Now(), cpuTime()
		for p := range producers {
			from, to := p*len(ws)/producers, (p+1)*len(ws)/producers
			wg.Go(func() { triggerSome(f, from, to-from) })
		}
		wg.Wait()
		spent += time.Since(began)
		n += len(ws)
		waitAssigned(ws)
		cpu += cpuTime() - before
		drain(ws)
	}
	reportCPU(b, cpu)
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/op")
}
