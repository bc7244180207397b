//go:build explore

package explore

import (
	"fmt"
	"time"
)

// Options say how to search, and when to give up. The zero Options search all
// there is.
type Options struct {
	// Exhaustive runs every interleaving, also those that differ only in the
	// order of accesses which commute.
	Exhaustive bool
	// Preemptions, if not 0, bounds how often a run may switch away from a
	// thread that could go on. Within the bound the search is exhaustive: what
	// a reduction leaves out as equivalent may need fewer preemptions than what
	// it runs.
	Preemptions int
	// MaxRuns and MaxTime end the search early; the result is incomplete then.
	// 0: no limit.
	MaxRuns int
	MaxTime time.Duration
	// MaxSteps is the length from which on a run counts as one that does not
	// end. 0: 5000.
	MaxSteps int
}

// Result is what a search did and found.
type Result struct {
	Runs     int // interleavings that were run to their end
	Pruned   int // runs that were broken off, as nothing new could come of them
	Steps    int // accesses, over all runs
	Depth    int // accesses in the longest run
	Complete bool
	Elapsed  time.Duration
	Failure  *Failure // nil: none
}

func (r Result) String() string {
	s := fmt.Sprintf("%d runs, %d pruned, %d steps, depth %d, %v", r.Runs, r.Pruned, r.Steps, r.Depth, r.Elapsed.Round(time.Millisecond))
	if !r.Complete {
		s += ", incomplete"
	}
	return s
}

// Program is one run of a program while it is set up.
type Program struct{ run *run }

// Go adds a thread. It must end, whatever the schedule.
func (p *Program) Go(body func()) { p.run.add(body, false, false) }

// Daemon adds a thread that may wait for ever once the others have ended.
func (p *Program) Daemon(body func()) { p.run.add(body, true, false) }

// Stoppable adds a thread that may stop for ever before any of its accesses,
// and may also not stop: all of that is explored. Nobody minds if it never ends,
// but the other threads must, as always. At most one thread is stoppable.
func (p *Program) Stoppable(body func()) { p.run.add(body, true, true) }

// Check adds a function that judges a run when it is over. It reads the shared
// state as if it were plain.
func (p *Program) Check(check func() error) { p.run.checks = append(p.run.checks, check) }

// Failf fails the run that is under way. A thread calls it; a panic does too.
func Failf(format string, args ...any) {
	if current != nil {
		current.failf(format, args...)
	}
}

// explorer is one search: the runs that Explore makes, one after the other.
type explorer struct {
	Options
	setup func(*Program)
	// stack has a node for each step of the run under way. Those below replay
	// are from earlier runs and say what to do again.
	stack   []node
	replay  int
	trace   []event // reused by each run
	reduce  bool
	workers []*worker
	// limit is how many steps a stoppable thread takes in this pass before it
	// stops; limited, that it did so in some run.
	limit   int
	limited bool
	result  Result
}

// node is a point where the scheduler had a choice.
type node struct {
	enabled   uint32 // threads that could go on; all sets here are bits by thread
	backtrack uint32 // threads to run from here
	done      uint32 // those run from here, the present one included
	sleep     uint32 // those that lead to nothing new from here
	chosen    int8   // the one that runs now
	last      int8   // the one that ran before, -1 at the start
	preempted uint8  // preemptions so far
	pending   [maxThreads]access
}

// candidates are the threads still to run from n.
func (n *node) candidates() uint32 { return n.backtrack &^ n.done &^ n.sleep }

// Explore searches the interleavings of the program that setup builds, until it
// has seen them all, finds a failure, or reaches a limit. Only one search may be
// under way in a process at a time, and nobody else may use atomicx meanwhile.
func Explore(o Options, setup func(*Program)) Result {
	if current != nil {
		panic("explore: a search is under way")
	}
	if o.MaxSteps == 0 {
		o.MaxSteps = 5000
	}
	begin := time.Now()
	x := &explorer{Options: o, setup: setup, reduce: !o.Exhaustive && o.Preemptions == 0}
	defer x.close()
	for x.limited = true; x.limited; x.limit++ {
		x.limited = false
		if !x.search(begin) {
			break
		}
		x.result.Complete = !x.limited
	}
	x.result.Elapsed = time.Since(begin)
	return x.result
}

// search makes all the runs of one pass.
func (x *explorer) search(begin time.Time) (complete bool) {
	for {
		r := x.run()
		x.result.Depth = max(x.result.Depth, len(r.trace))
		if r.pruned {
			x.result.Pruned++
		} else {
			x.result.Runs++
		}
		if r.failure != "" {
			x.result.Failure = &Failure{Message: r.failure, trace: r.trace}
			return false
		}
		if !x.backtrack() {
			return true
		}
		runs := x.result.Runs + x.result.Pruned
		if x.MaxRuns > 0 && runs >= x.MaxRuns || x.MaxTime > 0 && runs%64 == 0 && time.Since(begin) > x.MaxTime {
			return false
		}
	}
}

// backtrack cuts the stack to the last node from which something is left to
// run.
func (x *explorer) backtrack() bool {
	for len(x.stack) > 0 {
		n := &x.stack[len(x.stack)-1]
		if x.reduce {
			n.sleep |= n.done
		}
		if n.candidates() != 0 {
			return true
		}
		x.stack = x.stack[:len(x.stack)-1]
	}
	return false
}

func (x *explorer) close() {
	current = nil
	for _, w := range x.workers {
		w.kill()
	}
}
