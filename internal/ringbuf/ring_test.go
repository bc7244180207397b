package ringbuf_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// beforeWrap is a start from which a test of some hundred items passes the
// wrap of the positions.
const beforeWrap = math.MaxUint64 - 100

// starts are the first positions that tests run with.
var starts = []uint64{0, beforeWrap, math.MaxUint64}

func drainAll[T any](r *ringbuf.Ring[T]) []T {
	var all []T
	buf := make([]T, 3)
	for {
		n := r.Drain(buf)
		if n == 0 {
			return all
		}
		all = append(all, buf[:n]...)
	}
}

func TestNewRoundsCapacityUp(t *testing.T) {
	for capacity, want := range map[int]int{1: 2, 2: 2, 3: 4, 4: 4, 5: 8, 1000: 1024, 1024: 1024} {
		if got := ringbuf.New[int](capacity).Cap(); got != want {
			t.Errorf("New(%d).Cap() = %d, want %d", capacity, got, want)
		}
	}
}

func TestNewTakesTheLargestCapacity(t *testing.T) {
	if got := ringbuf.SizeFor(1 << 28); got != 1<<28 { // 4 GiB: better not made
		t.Errorf("New(1<<28) would have %d cells", got)
	}
}

func TestNewRefusesAbsurdCapacity(t *testing.T) {
	for _, capacity := range []int{0, -1, math.MinInt, 1<<28 + 1, math.MaxInt} {
		func() {
			defer func() {
				if msg := fmt.Sprint(recover()); !strings.Contains(msg, fmt.Sprint("ringbuf: capacity ", capacity)) {
					t.Errorf("New(%d) panicked with %q", capacity, msg)
				}
			}()
			ringbuf.New[int](capacity)
		}()
	}
}

func TestPushUntilFull(t *testing.T) {
	for _, capacity := range []int{2, 4, 64, 256} {
		for _, start := range starts {
			r := ringbuf.NewAt[int](capacity, start)
			for lap := range 5 {
				var want []int
				for i := range capacity {
					if !r.Push(lap*1000 + i) {
						t.Fatalf("capacity %d, start %d: item %d of lap %d refused", capacity, start, i, lap)
					}
					want = append(want, lap*1000+i)
				}
				if r.Push(-1) {
					t.Fatalf("capacity %d: accepted more than that", capacity)
				}
				if got := drainAll(r); !slices.Equal(got, want) {
					t.Fatalf("capacity %d, start %d: drained %v, want %v", capacity, start, got, want)
				}
			}
		}
	}
}

func TestDrainTakesNoMoreThanAskedFor(t *testing.T) {
	r := ringbuf.New[int](8)
	for i := range 5 {
		r.Push(i)
	}
	buf := make([]int, 2)
	var got []int
	for _, want := range []int{2, 2, 1, 0} {
		n := r.Drain(buf)
		if n != want {
			t.Fatalf("Drain = %d, want %d", n, want)
		}
		got = append(got, buf[:n]...)
	}
	if !slices.Equal(got, []int{0, 1, 2, 3, 4}) {
		t.Fatal(got)
	}
}

// A ring that was drained to the end has room for all its cells; one that is
// being drained has it a quarter later at the latest.
func TestDrainFreesCells(t *testing.T) {
	const capacity = 64
	r := ringbuf.New[int](capacity)
	for i := range capacity {
		r.Push(i)
	}
	buf := make([]int, 1)
	for range capacity / 4 {
		r.Drain(buf)
	}
	for i := range capacity / 4 {
		if !r.Push(i) {
			t.Fatalf("refused item %d after %d were taken", i, capacity/4)
		}
	}
	if r.Push(0) {
		t.Fatal("accepted more than the capacity")
	}
}

func TestHoleDelaysNoOtherItem(t *testing.T) {
	for _, capacity := range []int{4, 8, 64, 128, 512} {
		for _, start := range starts {
			r := ringbuf.NewAt[int](capacity, start)
			for lap := range 4 {
				first := r.Claim()
				var want []int
				for i := 1; i < capacity/2; i++ {
					r.Push(i)
					want = append(want, i)
				}
				second := r.Claim()
				r.Push(1000)
				want = append(want, 1000)
				if got := drainAll(r); !slices.Equal(got, want) {
					t.Fatalf("capacity %d, start %d, lap %d: %v behind holes, want %v", capacity, start, lap, got, want)
				}
				second(2000)
				if got := drainAll(r); !slices.Equal(got, []int{2000}) {
					t.Fatalf("second hole filled: %v", got)
				}
				for i := capacity/2 + 2; i < capacity; i++ { // up to full: the first hole keeps its lap
					if !r.Push(i) {
						t.Fatalf("capacity %d, start %d: refused with room left", capacity, start)
					}
				}
				if r.Push(0) {
					t.Fatalf("capacity %d, start %d: overtook the hole", capacity, start)
				}
				first(3000)
				if got := drainAll(r); len(got) != capacity/2-1 && capacity > 4 || !slices.Contains(got, 3000) {
					t.Fatalf("first hole filled: %v", got)
				}
			}
		}
	}
}

func TestHolesAllTheWay(t *testing.T) {
	for _, capacity := range []int{2, 4, 64, 256} {
		for _, start := range starts {
			r := ringbuf.NewAt[int](capacity, start)
			var fill []func(int)
			for range capacity {
				fill = append(fill, r.Claim())
			}
			if got := drainAll(r); got != nil {
				t.Fatalf("took %v from holes", got)
			}
			for i := range fill { // from the newest to the oldest
				fill[capacity-1-i](i)
				if got := drainAll(r); !slices.Equal(got, []int{i}) {
					t.Fatalf("capacity %d: got %v, want %d", capacity, got, i)
				}
				if i < capacity-1 && r.Push(0) {
					t.Fatalf("capacity %d: overtook the oldest hole", capacity)
				}
			}
			if !r.Push(7) || !slices.Equal(drainAll(r), []int{7}) {
				t.Fatal("not usable after its holes")
			}
		}
	}
}

func TestTakenCellsRetainNothing(t *testing.T) {
	r := ringbuf.New[*int](8)
	publish := r.Claim()
	for range 5 {
		r.Push(new(int))
	}
	drainAll(r)
	publish(new(int))
	drainAll(r)
	for i, v := range r.Retained() {
		if v != nil {
			t.Errorf("cell %d still holds its item", i)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	r := ringbuf.New[*int](64)
	v := new(int)
	buf := make([]*int, 8)
	if n := testing.AllocsPerRun(1000, func() {
		r.Arm()
		for range 5 {
			r.Push(v)
		}
		r.Wait(nil)
		for r.Drain(buf) > 0 {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
