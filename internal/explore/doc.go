// Package explore runs a small concurrent program through every interleaving of
// its accesses to shared memory. It exists for tests built with -tags explore;
// in other builds the package is empty.
//
// # Programs
//
// A program is a function that sets up some shared state, made of the types of
// internal/atomicx, and starts threads on it:
//
//	explore.Verify(t, explore.Options{}, func(p *explore.Program) {
//		var n atomicx.Uint64
//		p.Go(func() { n.Store(n.Load() + 1) })
//		p.Go(func() { n.Store(n.Load() + 1) })
//		p.Check(func() error {
//			if n.Load() != 2 {
//				return errors.New("lost an increment")
//			}
//			return nil
//		})
//	})
//
// The function is called once for each run, and each run schedules the threads
// in another way. Threads are coroutines: one runs at a time, and each access to
// an atomicx type is a point where another may go on. A run ends when no thread
// can go on; then the Check functions look at what came of it.
//
// For this to mean anything, the program must be deterministic but for the
// scheduling, all that threads share must be of atomicx types (a variable that
// one thread writes and only the checks read may be plain), and threads must
// wait for each other through atomicx.Signal alone. A loop that polls never
// ends, and is reported as such.
//
// # What it proves
//
// Go's atomics are sequentially consistent, so that there is no behavior beyond
// the interleavings for a program without data races; and data races, on
// atomicx.Cell, are looked for along the way. A complete exploration is a proof
// for the program it was given, of the code that ships, and for nothing larger:
// two producers prove nothing about three.
//
// # Ways to search
//
// The normal search runs one interleaving of each set that differs only in the
// order of accesses which commute: dynamic partial-order reduction with source
// sets and sleep sets (Abdulla, Aronis, Jonsson, Sagonas: Optimal dynamic
// partial order reduction, POPL 2014). Where that is still too much, a search
// can be bounded to a number of preemptions (Musuvathi, Qadeer: Iterative
// context bounding, PLDI 2007): most defects need two or three. A third way
// leaves nothing out; it serves to check the first.
//
// The engine's own test is that the ways reach the same outcomes on thousands
// of random programs. A reduction that leaves out too much is silent otherwise.
package explore
