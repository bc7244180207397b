// Package refcount is a reference count that closes: its owner asks to retire
// something, goes on serving those who retain it meanwhile, and learns from the
// last release when it can be closed for good.
//
// The owner is one goroutine at a time, which calls Drain, Resume, Closed and
// Refs. Everybody else calls TryRetain and Release. No call waits, and none
// loops: each is one atomic read-modify-write, Drain at most two.
package refcount

import "github.com/brokermap/brokermap/internal/atomicx"

// The count is one word.
//
//	bits    name      set by             meaning
//	0       closed    owner, for good    nobody holds a reference or will get one
//	1       draining  owner              a Release that leaves no reference says so
//	2..63   refs      TryRetain, Release references that are out; garbage once closed
//
// The states, and who moves the word between them:
//
//	open     {refs n, -}         TryRetain, Release: n; Drain: to draining
//	draining {refs n, draining}  TryRetain, Release: n; Resume: to open;
//	                             Drain, where n is 0: to closed
//	closed   {garbage, closed}   for good
//
// A TryRetain that comes too late has added to refs before it learns that, and
// does not take it back: nothing looks at refs behind the closed bit, and 2^62
// late calls fit above it. So no reader is ever misled by a reference that
// never was, which is the trouble with undoing an addition.
const (
	closed   = 1 << 0
	draining = 1 << 1
	one      = 1 << 2 // one reference
	refShift = 2
)

// Count counts references to something that its owner wants to retire one day.
// The zero Count is open and has none. It must not be copied after first use.
type Count struct {
	_    atomicx.Align64
	word atomicx.Uint64
}

// TryRetain takes a reference, to be given back by one Release. It reports
// false once the count is closed; then there is nothing to give back. It goes on
// to succeed while the owner drains.
func (c *Count) TryRetain() bool {
	return c.word.Add(one)&closed == 0
}

// Release gives a reference back. True means that it was the last one and the
// owner is draining: the caller must then see to it that the owner calls Drain
// again (or Resume). More than one Release may report true for one Drain, if
// references were taken in between. What a caller did before Release happens
// before the Drain that closes.
//
// Release panics where no reference is out. A second Release for one reference
// goes unnoticed only while others hold theirs.
func (c *Count) Release() bool {
	word := c.word.Sub(one)
	if before := word + one; before < one || before&closed != 0 {
		panic("refcount: released more often than retained")
	}
	return word == draining
}

// Drain asks to close. True means closed: no reference is out, and TryRetain
// fails from now on. False means that references are out, or one was just
// taken; the Release that gives the last one back will report true, unless
// Resume comes first. Drain may be repeated at any time.
//
// A count that is never without references never closes: it is for the owner to
// see to it that nobody new finds what it drains. Owner only.
func (c *Count) Drain() bool {
	word := c.word.Load() // only the owner changes the low bits: they are what they seem
	if word&closed != 0 {
		return true
	}
	if word&draining == 0 {
		// From here on the last Release speaks up: whether one did before the
		// flag is decided by this one addition.
		word = c.word.Add(draining)
	}
	// Where the swap fails, somebody has retained since, and the Release to
	// that will report true.
	return word == draining && c.word.CompareAndSwap(draining, closed)
}

// Resume takes back a Drain that has not closed, if there is one. A Release may
// have reported true before it. Owner only.
func (c *Count) Resume() {
	if c.word.Load()&(draining|closed) == draining {
		c.word.Sub(draining)
	}
}

// Closed reports whether Drain has closed the count. Owner only.
func (c *Count) Closed() bool { return c.word.Load()&closed != 0 }

// Refs returns how many references are out, for diagnostics: the number may
// have changed when it returns.
func (c *Count) Refs() int {
	word := c.word.Load()
	if word&closed != 0 {
		return 0
	}
	return int(word >> refShift)
}
