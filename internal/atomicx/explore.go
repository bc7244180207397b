//go:build explore

// Package atomicx is, in the exploring build, the names and methods of the plain
// build, with each access a step of internal/explore's scheduler. Outside a
// search the types are atomics and channels as usual, so that ordinary tests
// run in this build too.
package atomicx

import (
	"sync/atomic"
	"time"

	"github.com/brokermap/brokermap/internal/explore"
)

// Align64 is of no importance in this build.
type Align64 struct{}

// Uint64 is an atomic 64-bit word.
type Uint64 struct {
	o explore.Object
	v atomic.Uint64
}

// Load returns the word.
func (w *Uint64) Load() uint64 {
	in := w.o.Access(explore.Read, "Load")
	v := w.v.Load()
	if in {
		w.o.Loaded(v)
	}
	return v
}

// Store sets the word.
func (w *Uint64) Store(v uint64) {
	in := w.o.Access(explore.Write, "Store")
	w.v.Store(v)
	if in {
		w.o.Stored(v)
	}
}

// Swap sets the word and returns what it was.
func (w *Uint64) Swap(v uint64) uint64 {
	in := w.o.Access(explore.Write, "Swap")
	old := w.v.Swap(v)
	if in {
		w.o.Updated(old)
	}
	return old
}

// Add adds to the word and returns the sum.
func (w *Uint64) Add(delta uint64) uint64 {
	in := w.o.Access(explore.Write, "Add")
	v := w.v.Add(delta)
	if in {
		w.o.Updated(v)
	}
	return v
}

// Sub subtracts from the word and returns the difference.
func (w *Uint64) Sub(delta uint64) uint64 { return w.Add(-delta) }

// Inc adds 1.
func (w *Uint64) Inc() uint64 { return w.Add(1) }

// Dec subtracts 1.
func (w *Uint64) Dec() uint64 { return w.Add(^uint64(0)) }

// CompareAndSwap sets the word to v if it is old, and reports whether it was.
func (w *Uint64) CompareAndSwap(old, v uint64) bool {
	in := w.o.Access(explore.Write, "CompareAndSwap")
	ok := w.v.CompareAndSwap(old, v)
	switch {
	case in && ok:
		w.o.Updated(1)
	case in:
		w.o.Kept()
	}
	return ok
}

// Uint32 is an atomic 32-bit word.
type Uint32 struct {
	o explore.Object
	v atomic.Uint32
}

// Load returns the word.
func (w *Uint32) Load() uint32 {
	in := w.o.Access(explore.Read, "Load")
	v := w.v.Load()
	if in {
		w.o.Loaded(uint64(v))
	}
	return v
}

// Store sets the word.
func (w *Uint32) Store(v uint32) {
	in := w.o.Access(explore.Write, "Store")
	w.v.Store(v)
	if in {
		w.o.Stored(uint64(v))
	}
}

// Swap sets the word and returns what it was.
func (w *Uint32) Swap(v uint32) uint32 {
	in := w.o.Access(explore.Write, "Swap")
	old := w.v.Swap(v)
	if in {
		w.o.Updated(uint64(old))
	}
	return old
}

// Add adds to the word and returns the sum.
func (w *Uint32) Add(delta uint32) uint32 {
	in := w.o.Access(explore.Write, "Add")
	v := w.v.Add(delta)
	if in {
		w.o.Updated(uint64(v))
	}
	return v
}

// Sub subtracts from the word and returns the difference.
func (w *Uint32) Sub(delta uint32) uint32 { return w.Add(-delta) }

// Inc adds 1.
func (w *Uint32) Inc() uint32 { return w.Add(1) }

// Dec subtracts 1.
func (w *Uint32) Dec() uint32 { return w.Add(^uint32(0)) }

// CompareAndSwap sets the word to v if it is old, and reports whether it was.
func (w *Uint32) CompareAndSwap(old, v uint32) bool {
	in := w.o.Access(explore.Write, "CompareAndSwap")
	ok := w.v.CompareAndSwap(old, v)
	switch {
	case in && ok:
		w.o.Updated(1)
	case in:
		w.o.Kept()
	}
	return ok
}

// Pointer is an atomic pointer.
type Pointer[T any] struct {
	o explore.Object
	p atomic.Pointer[T]
}

// some is what the schedule of a failure shows of a pointer.
func some[T any](p *T) uint64 {
	if p == nil {
		return 0
	}
	return 1
}

// Load returns the pointer.
func (w *Pointer[T]) Load() *T {
	in := w.o.Access(explore.Read, "Load pointer")
	p := w.p.Load()
	if in {
		w.o.Loaded(some(p))
	}
	return p
}

// Store sets the pointer.
func (w *Pointer[T]) Store(p *T) {
	in := w.o.Access(explore.Write, "Store pointer")
	w.p.Store(p)
	if in {
		w.o.Stored(some(p))
	}
}

// Swap sets the pointer and returns what it was.
func (w *Pointer[T]) Swap(p *T) *T {
	in := w.o.Access(explore.Write, "Swap pointer")
	old := w.p.Swap(p)
	if in {
		w.o.Updated(some(old))
	}
	return old
}

// CompareAndSwap sets the pointer to p if it is old, and reports whether it was.
func (w *Pointer[T]) CompareAndSwap(old, p *T) bool {
	in := w.o.Access(explore.Write, "CompareAndSwap pointer")
	ok := w.p.CompareAndSwap(old, p)
	switch {
	case in && ok:
		w.o.Updated(1)
	case in:
		w.o.Kept()
	}
	return ok
}

// Cell is a plain variable that several goroutines touch, ordered by atomics
// around it. A search fails where they are not.
type Cell[T any] struct {
	o explore.Object
	v T
}

// Get reads the variable.
func (c *Cell[T]) Get() T {
	c.o.Plain(explore.Read)
	return c.v
}

// Set writes the variable.
func (c *Cell[T]) Set(v T) {
	c.o.Plain(explore.Write)
	c.v = v
}

// Signal is a binary token that wakes one parked goroutine.
type Signal struct {
	o     explore.Object
	token bool          // in a search
	c     chan struct{} // outside
}

// NewSignal returns a Signal without a token.
func NewSignal() Signal { return Signal{c: make(chan struct{}, 1)} }

// Notify leaves the token, if it is not there already.
func (s *Signal) Notify() {
	if !explore.Active() {
		select {
		case s.c <- struct{}{}:
		default:
		}
		return
	}
	in := s.o.Access(explore.Write, "Notify")
	old := s.token
	s.token = true
	switch {
	case in && old:
		s.o.Ignored() // a channel that is full synchronizes with nobody
	case in:
		s.o.Updated(1)
	}
}

// Wait takes the token, parking until it is there or timer fires. A nil timer
// never does; in a search another one has fired as soon as the token is not
// there. Wait reports whether it was the token.
func (s *Signal) Wait(timer <-chan time.Time) bool {
	if !explore.Active() {
		select {
		case <-s.c:
			return true
		case <-timer:
			return false
		}
	}
	ready := &s.token
	if timer != nil {
		ready = nil
	}
	in := s.o.Await(explore.Write, "Wait", ready)
	old := s.token
	s.token = false
	if in {
		s.o.Updated(digit(old))
	}
	return old
}

func digit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
