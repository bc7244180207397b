//go:build explore

package ringbuf_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/explore"
	"github.com/brokermap/brokermap/internal/ringbuf"
)

// ringProgram is producers pushing items into a ring of two cells, and a
// consumer that drains it and parks, for ever in the end. The positions start
// just before the wrap.
type ringProgram struct {
	pushes  []int // by producer
	batch   int   // the consumer's buffer
	stopped bool  // the first producer may stop for ever, anywhere
	asleep  bool  // the consumer may
	waker   bool  // one more thread publishes something elsewhere, and calls Wake
}

func (rp ringProgram) setup(p *explore.Program) {
	r := ringbuf.NewAt[int](2, math.MaxUint64)
	var elsewhere atomicx.Uint32
	total := 0
	for _, n := range rp.pushes {
		total += n
	}
	accepted := make([][]int, len(rp.pushes)) // Push returned true
	for i, n := range rp.pushes {
		start := p.Go
		if rp.stopped && i == 0 {
			start = p.Stoppable
		}
		start(func() {
			for k := range n {
				v := 10*(i+1) + k
				if r.Push(v) {
					accepted[i] = append(accepted[i], v)
				} else if total <= r.Cap() {
					explore.Failf("refused %d with room left", v)
				}
			}
		})
	}
	if rp.waker {
		p.Go(func() {
			elsewhere.Store(1)
			r.Wake()
		})
	}
	var taken []int
	sawElsewhere := false
	start := p.Daemon
	if rp.asleep {
		start = p.Stoppable
	}
	start(func() {
		buf := make([]int, rp.batch)
		look := func() bool {
			n := r.Drain(buf)
			taken = append(taken, buf[:n]...)
			if rp.waker && !sawElsewhere && elsewhere.Load() == 1 {
				sawElsewhere = true
				return true
			}
			return n > 0
		}
		for {
			for look() {
			}
			r.Arm()
			if look() {
				r.Disarm()
				continue
			}
			r.Wait(nil)
		}
	})
	p.Check(func() error {
		pending := slices.Concat(accepted...)
		if unfinished := 10 + len(accepted[0]); rp.stopped && slices.Contains(taken, unfinished) {
			pending = append(pending, unfinished) // published before its producer stopped
		}
		for _, v := range taken {
			i := slices.Index(pending, v)
			if i < 0 {
				return fmt.Errorf("took %v of %v: %d was not accepted, or is there twice", taken, accepted, v)
			}
			pending = slices.Delete(pending, i, i+1)
		}
		if rp.asleep {
			return nil
		}
		if len(pending) > 0 {
			return fmt.Errorf("parked while %v are there: took %v of %v", pending, taken, accepted)
		}
		if rp.waker && !sawElsewhere {
			return errors.New("parked after a Wake")
		}
		return nil
	})
}

func TestExploreRing(t *testing.T) {
	const more = "more: "
	bounded := explore.Options{Preemptions: 3}
	for _, c := range []struct {
		name    string
		options explore.Options
		ringProgram
	}{
		{"wake-up from elsewhere", explore.Options{}, ringProgram{pushes: []int{1}, batch: 3, waker: true}},
		{"two producers", explore.Options{}, ringProgram{pushes: []int{1, 1}, batch: 3}},
		{"two producers, one by one", explore.Options{}, ringProgram{pushes: []int{1, 1}, batch: 1}},
		{"a producer stops", explore.Options{}, ringProgram{pushes: []int{1, 1}, batch: 3, stopped: true}},
		{"second lap", explore.Options{}, ringProgram{pushes: []int{3}, batch: 3}},
		{"the consumer stops", explore.Options{}, ringProgram{pushes: []int{1, 1}, batch: 3, asleep: true}},
		{"two producers, second lap, 3 preemptions", bounded, ringProgram{pushes: []int{2, 2}, batch: 2}},
		{"a producer stops, second lap, 3 preemptions", bounded, ringProgram{pushes: []int{1, 2}, batch: 2, stopped: true}},
		{more + "two producers, second lap", explore.Options{}, ringProgram{pushes: []int{2, 1}, batch: 2}},
		{more + "a producer stops, second lap", explore.Options{}, ringProgram{pushes: []int{1, 2}, batch: 2, stopped: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.HasPrefix(c.name, more) && os.Getenv("BROKERMAP_EXPLORE_FULL") == "" {
				t.Skip("takes many minutes: set BROKERMAP_EXPLORE_FULL=1")
			}
			explore.Verify(t, c.options, c.setup)
		})
	}
}
