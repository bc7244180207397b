//go:build !explore

package mapper_test

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/brokermap/brokermap/mapper"
)

// A call that comes up begins before the mapper's goroutine goes on, even where it
// has one processor and no reason to rest; and that goroutine goes on while the
// call hangs.
func TestS10_CallsBeginBeforeTheNextPass(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds = 20
	early := [2]int{}
	for range rounds {
		var began [2]atomic.Int32
		hang := make(chan struct{})
		call := func(pass int) func() {
			return func() {
				began[pass].Add(1)
				<-hang
			}
		}
		mapper.GiveWay(func(pass int) {
			if began[pass].Load() > 0 {
				early[pass]++
			}
			if pass == 0 {
				runtime.Gosched() // the others begin, and nobody waits for that
			} else {
				close(hang)
			}
		}, []func(){call(0), call(0), call(0)}, []func(){call(1)})
		if a, b := began[0].Load(), began[1].Load(); a != 3 || b != 1 {
			t.Fatalf("%d of 3 calls began, and %d of 1", a, b)
		}
	}
	for pass, n := range early {
		if n < rounds/2 { // preempted between its two first steps it is not
			t.Errorf("pass %d: a call began in time in %d of %d", pass, n, rounds)
		}
	}
}
