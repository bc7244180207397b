package ringbuf

import (
	"time"

	"github.com/brokermap/brokermap/internal/atomicx"
)

// maxCapacity keeps a mistaken capacity (a negative number turned unsigned, a
// size in bytes) from becoming an allocation of gigabytes.
const maxCapacity = 1 << 28

// pad keeps words that different goroutines write on different cache lines.
type pad [64]byte

// ends holds the words that producers and consumer share, cells aside. It is no
// generic type, and that is worth some nanoseconds: the compiler inlines the
// atomics into an instance of Ring in another package only because the
// functions here, which are compiled in this one, call them too.
type ends struct {
	signal atomicx.Signal // written by New only
	_      pad
	_      atomicx.Align64
	tail   atomicx.Uint64 // the next position to claim; advanced by whoever claims it
	_      pad
	// Both on one line: each is stored by the consumer and read by every Push.
	_      atomicx.Align64
	gate   atomicx.Uint64 // positions below are free for the next lap
	parked atomicx.Uint32 // 1 from Arm to Disarm or the end of Wait
	_      pad
}

// claim makes pos the caller's, unless it is another one's already. Who loses
// tries again at once: with a pause before that, of 8 to 100 turns of an empty
// loop, two producers on two cores needed the same 9-14 ns for a claim.
func (e *ends) claim(pos uint64) bool { return e.tail.CompareAndSwap(pos, pos+1) }

// beyond returns how many positions before pos are not free yet. It is negative
// where gate has passed a pos that is out of date.
func (e *ends) beyond(pos uint64) int64 { return int64(pos - e.gate.Load()) }

// open hands the cells below pos to the producers.
func (e *ends) open(pos uint64) { e.gate.Store(pos) }

// Wake wakes the consumer if it is parked, after something was published
// elsewhere that the consumer looks at between Arm and Wait. The publication
// must be an atomic store, or happen before one, that precedes the call. What
// is said of Push and locks goes for Wake.
func (e *ends) Wake() {
	if e.parked.Load() != 0 {
		e.signal.Notify()
	}
}

// hurryAt is how many items there are, not freed, when the next one hurries the
// consumer: smaller bursts are over before it would help.
const hurryAt = 32

// hurry has a consumer that was woken, and has not run since, run sooner. Who is
// woken is next in line on the processor of who wakes. While that one goes on
// pushing, an idle processor takes it from there only after a sleep of 3 us in
// the scheduler, which takes 50 or more. A goroutine that starts takes its place,
// and pushes it to the end of that processor's queue, from where an idle one takes
// it at once. Where none is idle it must wait for that queue: the price of a burst
// from one goroutine in a busy process.
func (e *ends) hurry() {
	if e.parked.Load() != 0 {
		go func() {}()
	}
}

// Arm announces that the consumer is about to park: from here on each Push and
// each Wake leaves a token. The consumer must look at all its sources once more,
// Drain until it returns 0 included, and then call Disarm if it found work, or
// Wait.
func (e *ends) Arm() { e.parked.Store(1) }

// Disarm takes Arm back. A token that was left stays; it ends the next Wait
// early.
func (e *ends) Disarm() { e.parked.Store(0) }

// Wait parks the consumer until there is a token, or timer fires; a nil timer
// never does. It disarms, and reports whether it was the token. It may return
// without need, for a token that was left before.
func (e *ends) Wait(timer <-chan time.Time) bool {
	woken := e.signal.Wait(timer)
	e.parked.Store(0)
	return woken
}
