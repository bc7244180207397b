//go:build !explore

// Package atomicx is the one door to atomics. The lock-free packages take every
// shared word from here, so that the same source can be built twice: in a
// normal build the names are aliases of go.uber.org/atomic and cost nothing;
// with -tags explore each access is a scheduling point of internal/explore,
// which runs small programs through every interleaving.
package atomicx

import (
	stdatomic "sync/atomic"
	"time"

	"go.uber.org/atomic"
)

// Align64 takes no room and aligns the struct it is a field of to 8 bytes, on
// 32-bit machines too, where Uint64 does not ask for it by itself.
type Align64 [0]stdatomic.Uint64

type (
	// Uint32 is an atomic 32-bit word.
	Uint32 = atomic.Uint32
	// Uint64 is an atomic 64-bit word.
	Uint64 = atomic.Uint64
	// Pointer is an atomic pointer.
	Pointer[T any] = atomic.Pointer[T]
)

// Cell is a plain variable that several goroutines touch, ordered by atomics
// around it. The exploring build checks that order; this one does not.
type Cell[T any] struct{ v T }

// Get reads the variable.
func (c *Cell[T]) Get() T { return c.v }

// Set writes the variable.
func (c *Cell[T]) Set(v T) { c.v = v }

// Signal is a binary token that wakes one parked goroutine.
//
// Notify may be called by any goroutine and never waits for another one's
// progress; where the token is not there yet it takes the runtime's lock of a
// one-element channel for a few instructions. Wait belongs to one goroutine.
type Signal struct{ c chan struct{} }

// NewSignal returns a Signal without a token.
func NewSignal() Signal { return Signal{c: make(chan struct{}, 1)} }

// Notify leaves the token, if it is not there already.
func (s *Signal) Notify() {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// Wait takes the token, parking until it is there or timer fires. A nil timer
// never does. It reports whether it was the token.
func (s *Signal) Wait(timer <-chan time.Time) bool {
	if timer == nil {
		<-s.c // half the price of a select
		return true
	}
	select {
	case <-s.c:
		return true
	case <-timer:
		return false
	}
}
