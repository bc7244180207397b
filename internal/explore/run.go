//go:build explore

package explore

import (
	"fmt"
	"iter"
	"math/bits"
	"runtime/debug"
	"strings"
)

const maxThreads = 8

// current is the run under way, from its setup to its checks; nil outside a
// search.
var current *run

// run is one execution of the program.
type run struct {
	x       *explorer
	threads []*thread
	checks  []func() error
	cur     *thread // the thread whose code runs now, nil during setup and checks
	next    *thread // whom cur hands over to
	trace   []event
	objects int32
	pruned  bool
	abort   bool // threads that are resumed end at once
	failure string
}

// thread is a thread of the program. It runs from one access to just before the
// next, on a worker.
type thread struct {
	id        int8
	body      func()
	daemon    bool
	stoppable bool
	worker    *worker
	started   bool
	done      bool
	steps     int   // accesses so far
	op        op    // what it will do next; while it runs: what it has just done
	order     clock // the events that happen before its next one
	sync      clock // what it is synchronized with, by Go's memory model
}

// access is what matters of an operation to the order of others.
type access struct {
	object int32
	kind   Kind
}

// Kind says what an operation does to an object.
type Kind uint8

// An operation that may write is a Write until it is known not to have.
const (
	Read  Kind = iota // leaves it as it is
	Write             // may change it, or its token
	local             // touches no object
)

func (a access) conflicts(b access) bool {
	return a.object == b.object && a.kind != local && b.kind != local && (a.kind == Write || b.kind == Write)
}

// op is an operation that a thread announces before it performs it.
type op struct {
	access
	obj   *Object
	what  string
	ready *bool // nil: it never has to wait
}

// event is an operation that was performed.
type event struct {
	access
	thread int8
	what   string
	value  uint64
	order  clock
}

// abort is what a thread panics with that must end early.
type abort struct{}

// run makes the next run: the part of the schedule that is on the stack again,
// with another choice at its end, and from there on whatever comes first.
func (x *explorer) run() *run {
	r := &run{x: x, trace: x.trace[:0]}
	defer func() { x.trace = r.trace }()
	x.replay = len(x.stack)
	current = r
	x.setup(&Program{r})
	for t := r.choose(); t != nil; t = r.next {
		r.cur = t
		t.worker.thread = t
		t.worker.resume()
		r.cur = nil
		if t.done {
			r.settle(t)
			r.next = r.choose()
		}
	}
	for _, check := range r.checks {
		if r.pruned || r.failure != "" {
			break
		}
		if err := check(); err != nil {
			r.failf("%v", err)
		}
	}
	for _, t := range r.threads {
		if t.started && !t.done {
			r.abort = true
			t.worker.resume()
		}
	}
	current = nil
	return r
}

func (r *run) add(body func(), daemon, stoppable bool) {
	id := len(r.threads)
	if id == maxThreads {
		panic(fmt.Sprintf("explore: more than %d threads", maxThreads))
	}
	if id == len(r.x.workers) {
		r.x.workers = append(r.x.workers, newWorker())
	}
	t := &thread{
		id: int8(id), body: body, daemon: daemon, stoppable: stoppable, worker: r.x.workers[id],
		op: op{access: access{kind: local}, what: "start"},
	}
	t.sync[id] = 1
	r.threads = append(r.threads, t)
}

// worker is a coroutine that runs the threads of the same number, one in each
// run of a search: to make a new one each time, and grow its stack, is a third
// of the time of a run.
type worker struct {
	thread *thread // to run next
	resume func() (struct{}, bool)
	kill   func()
	yield  func(struct{}) bool
}

func newWorker() *worker {
	w := &worker{}
	w.resume, w.kill = iter.Pull(func(yield func(struct{}) bool) {
		w.yield = yield
		for yield(struct{}{}) {
			w.thread.main()
		}
	})
	w.resume() // to the first yield
	return w
}

// main runs the thread's body, on a worker.
func (t *thread) main() {
	r := current
	defer func() {
		t.done = true
		switch v := recover(); v.(type) {
		case nil, abort:
		default:
			r.failf("panic in thread %d: %v\n%s", t.id, v, debug.Stack())
		}
	}()
	t.started = true
	t.body()
}

func (r *run) failf(format string, args ...any) {
	if r.failure == "" {
		r.failure = fmt.Sprintf(format, args...)
	}
}

// perform is called by the running thread before an access. It returns when the
// access's turn has come.
func (r *run) perform(o op) {
	t := r.cur
	r.settle(t)
	t.op = o
	next := r.choose()
	if next == t {
		return
	}
	r.next = next
	t.worker.yield(struct{}{})
	if r.abort {
		panic(abort{})
	}
}

// settle enters what t has just done into the trace.
func (r *run) settle(t *thread) {
	t.steps++
	r.x.result.Steps++
	e := event{access: t.op.access, thread: t.id, what: t.op.what}
	if o := t.op.obj; o != nil {
		e.value = o.value
	}
	if r.x.reduce {
		before := t.order
		r.enter(t, &e)
		r.trace = append(r.trace, e)
		if len(r.trace) >= r.x.replay {
			r.races(&before, t.op.ready != nil)
		}
		return
	}
	r.trace = append(r.trace, e)
}

// choose returns the thread that goes on, or nil where the run is over.
func (r *run) choose() *thread {
	x, depth := r.x, len(r.trace)
	if r.failure != "" {
		return nil
	}
	var n *node
	if depth < x.replay {
		n = &x.stack[depth]
	} else if n = r.branch(); n == nil {
		return nil
	}
	if depth >= x.replay-1 {
		n.chosen = int8(bits.TrailingZeros32(n.candidates()))
		n.done |= 1 << n.chosen
	}
	t := r.threads[n.chosen]
	if t.done || n.pending[n.chosen] != t.op.access {
		r.failf("the program is not deterministic: it did something else under the same schedule")
		return nil
	}
	return t
}

// branch pushes a node for the state that the run has reached, where there is
// something to do from it.
func (r *run) branch() *node {
	x, depth := r.x, len(r.trace)
	enabled, waiting := r.enabled()
	switch {
	case r.failure != "":
		return nil
	case enabled == 0:
		if x.reduce {
			r.pendingRaces()
		}
		if waiting {
			r.failf("deadlock: %s", r.waiting())
		}
		return nil
	case depth >= x.MaxSteps:
		r.failf("no end after %d steps: does a loop wait for something?", depth)
		return nil
	}
	n := node{enabled: enabled, backtrack: enabled, last: -1}
	for i, t := range r.threads {
		n.pending[i] = t.op.access
	}
	if depth > 0 {
		p := &x.stack[depth-1]
		n.last, n.preempted = p.chosen, p.preempted
		if p.last >= 0 && p.chosen != p.last && p.enabled&(1<<p.last) != 0 {
			n.preempted++
		}
		if x.reduce {
			for rest := p.sleep &^ (1 << p.chosen); rest != 0; rest &= rest - 1 {
				if q := bits.TrailingZeros32(rest); !p.pending[q].conflicts(r.trace[depth-1].access) {
					n.sleep |= 1 << q
				}
			}
		}
	}
	goesOn := n.last >= 0 && enabled&(1<<n.last) != 0
	switch {
	case x.reduce:
		// One thread, for a start; races adds what else is needed.
		awake := enabled &^ n.sleep
		if goesOn && awake&(1<<n.last) != 0 {
			n.backtrack = 1 << n.last
		} else {
			n.backtrack = awake & -awake
		}
		if awake == 0 {
			// Threads that are stuck here may be so in no run that goes on.
			r.pendingRaces()
			r.pruned = true
		}
	case x.Preemptions > 0 && goesOn && int(n.preempted) >= x.Preemptions:
		n.backtrack = 1 << n.last
	}
	if r.pruned {
		return nil
	}
	x.stack = append(x.stack, n)
	return &x.stack[depth]
}

// enabled returns the threads that can go on, and whether one that must end
// cannot.
func (r *run) enabled() (enabled uint32, waiting bool) {
	for i, t := range r.threads {
		switch {
		case t.done:
		case t.stoppable && t.steps > r.x.limit:
			r.x.limited = true
		case t.op.ready == nil || *t.op.ready:
			enabled |= 1 << i
		case !t.daemon:
			waiting = true
		}
	}
	return enabled, waiting
}

func (r *run) waiting() string {
	var s []string
	for _, t := range r.threads {
		if !t.done && t.op.ready != nil && !*t.op.ready {
			s = append(s, fmt.Sprintf("thread %d at %s #%d", t.id, t.op.what, t.op.object))
		}
	}
	return strings.Join(s, ", ")
}

// Failure is a run that broke a rule.
type Failure struct {
	Message string
	trace   []event
}

// String returns the message and the schedule that leads there, one access a
// line. Objects are numbered in the order of their first access.
func (f *Failure) String() string {
	var b strings.Builder
	b.WriteString(f.Message)
	for i := range f.trace {
		e := &f.trace[i]
		fmt.Fprintf(&b, "\n%4d  thread %d  %s", i+1, e.thread, e.what)
		if e.kind != local {
			fmt.Fprintf(&b, " #%d", e.object)
			if e.value < 1<<32 {
				fmt.Fprintf(&b, " = %d", e.value)
			} else {
				fmt.Fprintf(&b, " = %#x", e.value) // near the wrap
			}
		}
	}
	return b.String()
}
