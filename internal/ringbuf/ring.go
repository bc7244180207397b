// Package ringbuf is a bounded ring from many producers to one consumer, and
// the consumer's parking place.
//
// # Who owns what
//
// Positions count cells over the ring's whole life and wrap around at 2^64;
// position p lives in cell p mod capacity. A position belongs to
//
//   - nobody, until a producer claims it by compare-and-swap of tail;
//   - that producer, until it stores p in the cell's seq, which publishes the
//     item;
//   - the consumer, until it stores a gate beyond p, which frees the cell for
//     position p + capacity.
//
// Each hand-over is one atomic store after the plain accesses it covers, and
// the next owner loads that word before it touches the cell, so the item itself
// is a plain variable. Only producers write seq: a cell that was taken keeps its
// seq until the next lap, and the consumer remembers what it took.
//
// # What is lock-free
//
// A producer that stops for ever, at any instruction, delays no other producer
// and not the consumer. Push has one loop, around the claim, and a claim is
// lost only to one that succeeded. A producer that claimed a position and did
// not publish it leaves a hole; Drain takes what is published beyond it. Cells
// behind the oldest hole cannot be freed, so a hole that is never filled leaves
// the ring full in the end: then Push returns false, and still nobody waits.
//
// # Order
//
// Items may be taken out of order, those of one producer too, where the
// consumer passed a hole that was filled meanwhile. The ring is made for
// hints, to which order means nothing.
package ringbuf

import (
	"fmt"
	"math/bits"

	"github.com/brokermap/brokermap/internal/atomicx"
)

// cell is one place in the ring; 16 bytes where T is a word.
type cell[T any] struct {
	_   atomicx.Align64
	seq atomicx.Uint64  // the last position published here; written by the position's producer
	val atomicx.Cell[T] // of the position's owner, see the package comment
}

// Ring is a bounded multi-producer single-consumer ring with a parking
// consumer. Push and Wake may be called by any goroutine, at any time; the
// other methods, Cap aside, belong to one goroutine at a time, the consumer.
//
// A Ring is made by New and must not be copied.
type Ring[T any] struct {
	// Written by New only, as is the start of ends.
	cells []cell[T]
	mask  uint64 // len(cells) - 1
	ends

	// The consumer's own.
	//
	// Positions below head are taken. Those from next on have not been looked
	// at. Those between are either taken or holes; head is a hole unless it is
	// next.
	head  uint64
	next  uint64
	freed uint64   // what gate holds
	holes []uint64 // one bit for each cell: a hole at the position in [head, next) that lives there
	_     pad
}

// New returns an empty ring for at least capacity items: capacity is rounded up
// to a power of two, and to 2. It panics where capacity is below 1 or above
// 2^28.
func New[T any](capacity int) *Ring[T] {
	return newAt[T](capacity, 0)
}

// newAt is New with the first position as given, for tests of the wrap.
func newAt[T any](capacity int, start uint64) *Ring[T] {
	size := sizeFor(capacity)
	r := &Ring[T]{
		cells: make([]cell[T], size),
		mask:  size - 1,
		head:  start,
		next:  start,
		freed: start,
		holes: make([]uint64, (size+63)/64),
	}
	r.signal = atomicx.NewSignal()
	r.tail.Store(start)
	r.gate.Store(start)
	for i := range size {
		// As if the lap before start had been published and taken.
		r.cells[(start+i)&r.mask].seq.Store(start + i - size)
	}
	return r
}

// sizeFor returns how many cells a ring for capacity items has.
func sizeFor(capacity int) uint64 {
	if capacity < 1 || capacity > maxCapacity {
		panic(fmt.Sprintf("ringbuf: capacity %d is not in 1..%d", capacity, maxCapacity))
	}
	return 1 << max(1, bits.Len64(uint64(capacity-1)))
}

// Cap returns the number of cells.
func (r *Ring[T]) Cap() int { return len(r.cells) }

// Push appends v and wakes the consumer if it is parked. It reports false, and
// does nothing, where the ring is full. Cells that were drained count as
// occupied until the consumer has drained a quarter of the ring or run out of
// items, and cells behind a hole until the hole is filled.
//
// An accepted item is taken by exactly one Drain. Push never waits: it is
// lock-free but for the wake-up of a consumer that is parked and has no token
// yet, which takes the lock of a one-element channel, held for the few
// instructions of a send or receive, and readies the goroutine. Once the token
// is there, Push looks at it without the lock. The 33rd item that is pushed while
// the consumer is being woken starts an empty goroutine, see hurry: the runtime may
// take the locks of its scheduler for that, and of its list of goroutines to use
// again, and allocates one where the list is empty.
func (r *Ring[T]) Push(v T) bool {
	for {
		pos := r.tail.Load()
		// Signed: gate may have passed a pos that is out of date by now. The
		// claim then fails; taking it for a full ring would be wrong.
		ahead := r.beyond(pos)
		if ahead > int64(r.mask) {
			return false
		}
		if r.claim(pos) {
			c := &r.cells[pos&r.mask]
			c.val.Set(v)
			c.seq.Store(pos) // publishes v; before the look at parked
			r.Wake()
			if ahead == hurryAt {
				r.hurry()
			}
			return true
		}
	}
}
