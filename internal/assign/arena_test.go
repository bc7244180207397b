package assign

import (
	"testing"
	"unsafe"
)

// Handles are dense, and records stay where they are while there come more.
func TestArena(t *testing.T) {
	var a arena[int]
	first := a.at(0)
	for i := range int32(3 * pageSize) {
		if h := a.grow(); h != i {
			t.Fatalf("handle %d, want %d", h, i)
		}
		*a.at(i) = int(i)
	}
	for i := range int32(3 * pageSize) {
		if *a.at(i) != int(i) {
			t.Fatalf("record %d is %d", i, *a.at(i))
		}
	}
	if a.at(0) != first || len(a.pages) != 3 {
		t.Errorf("%d pages for 3, and the first record has moved: %v", len(a.pages), a.at(0) != first)
	}
}

// TestS8_Fifo: a queue that is never empty takes memory for those that are in it,
// not for all that went through; an empty one keeps a little.
func TestS8_Fifo(t *testing.T) {
	var f fifo
	next, first := Worker(0), Worker(0)
	push := func() { f.push(next); next++ }
	pop := func() {
		if w, ok := f.pop(); !ok || w != first {
			t.Fatalf("popped %d, %v, want %d", w, ok, first)
		}
		first++
	}
	for range 3 {
		push()
	}
	for range 10_000 {
		push()
		pop()
	}
	if n := cap(f.q); n > 32 {
		t.Errorf("there is room for %d where 4 were in it at most", n)
	}
	for first < next {
		pop()
	}
	if _, ok := f.pop(); ok || cap(f.q) == 0 {
		t.Errorf("an empty queue gave one: %v; it keeps room for %d, want some", ok, cap(f.q))
	}
	for range 2 * keep {
		push()
	}
	for first < next {
		pop()
	}
	if _, ok := f.pop(); ok || cap(f.q) != 0 {
		t.Errorf("after a burst an empty queue keeps room for %d", cap(f.q))
	}
}

// TestFifoMovesSeldom: where most of a full queue is in use, it grows; to move all
// of it for each one that comes would take time without bound.
func TestFifoMovesSeldom(t *testing.T) {
	var f fifo
	f.push(0)
	for len(f.q) < 64 || len(f.q) < cap(f.q) {
		f.push(0)
	}
	f.pop()
	before := cap(f.q)
	if f.push(0); cap(f.q) == before {
		t.Errorf("a queue of %d moved for the sake of one", len(f.q))
	}
}

// TestS8_Effects: the list of effects keeps what a step usually needs, and gives
// back what a burst did.
func TestS8_Effects(t *testing.T) {
	m := loose(true, constant(0))
	m.Step(0, Event{Kind: Spawned})
	m.Step(0, Event{Kind: Tick})
	before := cap(m.out)
	if m.Step(0, Event{Kind: Tick}); before == 0 || cap(m.out) != before {
		t.Errorf("room for %d effects became %d", before, cap(m.out))
	}
	m.Step(0, Event{Kind: Answered})
	m.Step(0, Event{Kind: CallReturned})
	for w := range Worker(2 * keep) {
		m.Step(0, Event{Kind: Spawned, Worker: w + 1})
	}
	if fx := m.Step(0, Event{Kind: Tick}); len(fx) <= keep {
		t.Fatalf("%d effects, want a burst", len(fx))
	}
	if m.Step(0, Event{Kind: Tick}); cap(m.out) > keep {
		t.Errorf("there is room for %d effects after a burst", cap(m.out))
	}
}

// TestWorkerFillsACacheLine: a worker costs one line here, what it holds included.
func TestWorkerFillsACacheLine(t *testing.T) {
	if size := unsafe.Sizeof(worker{}); size != 64 {
		t.Errorf("%d bytes", size)
	}
}
