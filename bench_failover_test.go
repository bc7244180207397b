package brokermap_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/brokermap/brokermap/mapper"
)

// BenchmarkFailover: the broker of 1000 workers fails; an operation ends when
// all of them were sent an executor of another connection. A request for answers
// takes 1 ms. With requests=inorder one is served after the other, as Kafka does
// for each connection; with requests=parallel there is no limit. "single" is
// ours without a BatchResolver; its 16 concurrent calls are the default.
//
// Ours is told by one BrokerFailed, the classic one by each worker.
//
// -benchtime=5x -count=5 is enough.
func BenchmarkFailover(b *testing.B) {
	const n = 1000
	single := impl{"single", true, func(b *testing.B, c *cluster, cfg mapper.Config) subject {
		m, err := mapper.Spawn(cfg, struct{ mapper.Resolver }{c})
		if err != nil {
			b.Fatal(err)
		}
		return m
	}}
	for _, requests := range []string{"inorder", "parallel"} {
		for _, im := range []impl{ours, single, theirs} {
			b.Run(fmt.Sprintf("workers=%d/requests=%s/impl=%s", n, requests, im.name), func(b *testing.B) {
				f := newFixture(b, im, newCluster(1), n, mapper.Config{Backoff: noBackoff})
				defer f.close()
				var inorder sync.Mutex
				request := func() {
					if requests == "inorder" {
						inorder.Lock()
						defer inorder.Unlock()
					}
					time.Sleep(time.Millisecond)
				}
				x := f.fail(0, nil, f.workers)
				f.cluster.request.Store(&request)
				b.ResetTimer()
				for range b.N {
					x = f.fail(0, x, f.workers)
				}
				b.StopTimer()
				f.cluster.request.Store(nil)
			})
		}
	}
}
