//go:build explore

package explore

// clock has, for each thread, how many events of the trace it covers: the
// 1-based index of the last one of that thread.
type clock [maxThreads]int32

func (c *clock) join(d *clock) {
	for i, n := range d {
		c[i] = max(c[i], n)
	}
}

// enter gives e, which t has just performed, its place in the order of events:
// after all that t did, and after all accesses to the object that conflict.
func (r *run) enter(t *thread, e *event) {
	o := t.op.obj
	if e.kind != local {
		t.order.join(&o.writes)
		if e.kind == Write {
			t.order.join(&o.reads)
		}
	}
	t.order[t.id] = int32(len(r.trace) + 1)
	e.order = t.order
	switch e.kind {
	case Write:
		o.writes = t.order
	case Read:
		o.reads.join(&t.order)
	}
}

// precedes reports whether event i happens before event k.
func (r *run) precedes(i, k int) bool {
	return r.trace[k].order[r.trace[i].thread] >= int32(i+1)
}

// races looks for the events that the last one conflicts with and that could
// have come after it, and sees to it that they do in another run: from the node
// before such an event e, some thread must be run that can begin the sequence
// "all that came since and does not depend on e, then the last event".
//
// before is the thread's clock without the last event. An operation that may
// have to wait may be impossible just before the event that it conflicts with
// last, and possible before an earlier one: then each conflict counts, not only
// the immediate ones.
func (r *run) races(before *clock, waits bool) {
	n := len(r.trace) - 1
	last := &r.trace[n]
	for i := n - 1; i >= 0; i-- {
		e := &r.trace[i]
		if e.thread == last.thread || !e.conflicts(last.access) || int32(i+1) <= before[e.thread] {
			continue
		}
		if waits || r.immediate(i, n) {
			r.x.stack[i].cover(r.initials(i), last.thread)
		}
	}
}

// immediate reports whether no event stands between i and n in the order.
func (r *run) immediate(i, n int) bool {
	for k := i + 1; k < n; k++ {
		if r.precedes(i, k) && r.precedes(k, n) {
			return false
		}
	}
	return true
}

// initials returns the threads that can come first in the sequence of the
// events since i that do not depend on it, and the last event.
func (r *run) initials(i int) uint32 {
	n := len(r.trace) - 1
	var seen, initials uint32
	for k := i + 1; k <= n; k++ {
		if k < n && r.precedes(i, k) {
			continue
		}
		bit := uint32(1) << r.trace[k].thread
		if seen&bit == 0 && r.first(i, k) {
			initials |= bit
		}
		seen |= bit
	}
	return initials
}

// first reports whether k depends on none of the events since i that do not
// depend on i.
func (r *run) first(i, k int) bool {
	for j := i + 1; j < k; j++ {
		if !r.precedes(i, j) && r.precedes(j, k) {
			return false
		}
	}
	return true
}

// cover has one of the initials run from n, preferably favorite. Where none of
// them can go on there, the sequence cannot be run from n, and nothing needs to
// be; all that can go on are run nonetheless, to err on the safe side, which
// costs one run in a thousand.
func (n *node) cover(initials uint32, favorite int8) {
	if initials&n.backtrack != 0 {
		return
	}
	initials &= n.enabled
	switch {
	case initials&(1<<favorite) != 0:
		n.backtrack |= 1 << favorite
	case initials != 0:
		n.backtrack |= initials & -initials
	default:
		n.backtrack |= n.enabled
	}
}

// pendingRaces does for the operations that threads are stuck at what races
// does for those performed: had they come earlier, they might have been
// possible.
func (r *run) pendingRaces() {
	for _, t := range r.threads {
		if t.done || t.op.ready == nil || *t.op.ready {
			continue
		}
		before, o := t.order, *t.op.obj
		e := event{access: t.op.access, thread: t.id}
		r.enter(t, &e)
		r.trace = append(r.trace, e)
		r.races(&before, true)
		r.trace = r.trace[:len(r.trace)-1]
		t.order, t.op.obj.reads, t.op.obj.writes = before, o.reads, o.writes
	}
}
