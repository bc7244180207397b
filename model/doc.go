// Package model runs the machine that ships, internal/assign, together with a
// model of its surroundings through every reachable state of small
// configurations, and checks the rules of the mapper's contract in each.
//
// A [World] is the machine and what is around it: callers and the slots that
// they write, workers and their channels, the resolver, executors, leases, time.
// An [Action] is one step of any of them. [Search] goes breadth first through
// all that can happen; a broken rule comes with the shortest way there, printed
// as a scenario for internal/assign/testdata. The rules are checked against what
// the surroundings know, not against what the machine believes:
//
//   - effects as they are performed, in perform.go: S1-S6, S9, B4;
//   - the bookkeeping of each step, against a plain reference, in book.go: B1-B3
//     and all that the effects must be;
//   - each state, in rules.go: that nothing which is owed can be forgotten (L2,
//     L4), that timers have a cause (L6), that records are bounded (S8);
//   - where each state leads when nothing more happens, in settle.go: L1-L6.
//
// # What is abstracted
//
// Callers act at any moment, and the mapper looks at what they left at any later
// one: lives come and go unseen, triggers coalesce, flags are taken together. A
// call of the resolver, of SpawnExecutor or of Stop ends at any time with any
// outcome.
//
// Most configurations leave out the time: whether a worker has to wait for its
// next resolution, and which timers fire when, is open. Then there are finitely
// many states however often things happen, and the search has seen all that there
// are. Some have the time, to check how long waits are: it moves in units that are
// longer than the longest interval between two looks at a channel, so that states
// need not remember how often a look was in vain, and a [Budget] bounds how often
// things happen.
//
// Neither goroutines nor atomics are here: that a slot behaves as this package
// takes it to is checked by internal/explore on the shipped code.
//
// # Comparison with the specification
//
// [World.Abstract] is the one function from a state of this model to a state of
// tla/Mapper.tla; [Options].Visit hands out every state and every step.
//
// # Tests
//
// BROKERMAP_SCENARIO names a file that the scenario of a broken rule is written to;
// the tests of internal/assign replay what it names. BROKERMAP_MODEL=large adds configurations that take minutes. With
// BROKERMAP_MUTANTS=1 the tests, and the rules by themselves, are held against
// seeded defects of the machine.
package model
