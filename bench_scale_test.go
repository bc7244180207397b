package brokermap_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/brokermap/brokermap/mapper"
)

// BenchmarkScale is the life of a big client: n workers on 1000 connections
// (fewer where n is below 100 000), the first of which serves a tenth of all. They
// are spawned, each is triggered once, the connection of the tenth fails, all stop;
// always in random order. Requests for answers take no time. It reports, for each worker concerned,
//
//	spawn-ns   from the first OnWorkerSpawned until all are assigned, the
//	           spawning of the executors included
//	trigger-ns from the first TriggerReassign until all have a confirmation
//	move-ns    from the failure until the tenth has executors of a new connection
//	stop-ns    from the first OnWorkerStopped until Stop has returned
//	allocs     allocations of the mapper and its resolver while spawning
//	heap-B     bytes that the mapper keeps while all are assigned and idle
//
// and spawn-cpu-ns, the processor time of the first.
//
// -benchtime=1x -count=10 is enough.
func BenchmarkScale(b *testing.B) {
	for _, n := range sizes(1_000, 10_000, 100_000, 1_000_000) {
		for _, im := range impls {
			b.Run(fmt.Sprintf("workers=%d/impl=%s", n, im.name), func(b *testing.B) {
				conns := min(1000, n/100)
				p := perWorker{slots: im.slots}
				var trigger, move time.Duration
				for b.Loop() {
					tenth, rest := newWorkers(im, n/10, 1), newWorkers(im, n-n/10, conns-1)
					for _, w := range rest {
						w.(member).self().home++
					}
					all := shuffle(append(rest, tenth...))
					f := &fixture{cluster: newCluster(conns), workers: all}
					f.subject = im.spawn(b, f.cluster, mapper.Config{Backoff: noBackoff})
					p.begin()
					for _, w := range f.workers {
						f.OnWorkerSpawned(w)
					}
					waitAssigned(f.workers)
					p.spawned()

					x := <-tenth[0].(member).self().ch
					drain(f.workers)
					began := time.Now()
					for _, w := range f.workers {
						f.TriggerReassign(w)
					}
					waitAssigned(f.workers)
					trigger += time.Since(began)

					drain(f.workers)
					began = time.Now()
					f.fail(0, x, tenth)
					move += time.Since(began)

					began = time.Now()
					f.close()
					p.stop += time.Since(began)
				}
				p.report(b, b.N*n)
				b.ReportMetric(float64(trigger.Nanoseconds())/float64(b.N*n), "trigger-ns")
				b.ReportMetric(float64(move.Nanoseconds())/float64(b.N*(n/10)), "move-ns")
			})
		}
	}
}
