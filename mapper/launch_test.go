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
	early := 0
	for range rounds {
		var began atomic.Int32
		hang := make(chan struct{})
		call := func() {
			began.Add(1)
			<-hang
		}
		mapper.GiveWay(func() {
			if began.Load() > 0 {
				early++
			}
			close(hang)
		}, call, call, call)
		if n := began.Load(); n != 3 {
			t.Fatalf("%d of 3 calls began", n)
		}
	}
	if early < rounds/2 { // preempted between its two first steps it is not
		t.Errorf("a call began in time in %d of %d passes", early, rounds)
	}
}
