package assign

// hold is a run of one executor in what a worker was sent; a member of the
// executor's list.
//
// Nearly every worker holds one executor, and that hold stands in the worker's
// record. Those before it are olderHolds. In an executor's list a hold goes by
// one number: a worker's newest by the worker's handle, an olderHold of index i
// by -2-i.
type hold struct {
	executor       int32
	count          int32 // sends not yet known to be superseded
	prevOf, nextOf int32
}

// olderHold is a hold that is not its worker's newest. The first of a worker's
// list has what the looks at its channel need.
type olderHold struct {
	hold
	worker   int32
	next     int32 // in the worker's list, or in that of the unused ones
	lookAt   int32 // place among the timers, or none
	lookStep uint8 // how often a look found more than one executor held
}

func olderID(i int32) int32 { return -2 - i }

func (m *Machine) hold(id int32) *hold {
	if id >= 0 {
		return &m.workers.at(id).newest
	}
	return &m.older.at(-2 - id).hold
}

// holder returns whose hold id is.
func (m *Machine) holder(id int32) Worker {
	if id >= 0 {
		return Worker(id)
	}
	return Worker(m.older.at(-2 - id).worker)
}

// oldest returns the first of what r holds, which is something.
func (m *Machine) oldest(r *worker) *hold {
	if r.older == none {
		return &r.newest
	}
	return &m.older.at(r.older).hold
}

// held returns how many sends r holds. Like everything here that goes through a
// list, it takes as long as the worker has left changes of executor unread.
func (m *Machine) held(r *worker) int {
	n := int(r.newest.count)
	for i := r.older; i != none; i = m.older.at(i).next {
		n += int(m.older.at(i).count)
	}
	return n
}

// pushHold makes a hold of e the newest of w.
func (m *Machine) pushHold(w Worker, r *worker, e Executor) {
	if r.newest.count > 0 {
		i := m.pushOlder(w, r)
		m.moved(olderID(i))
	}
	x := m.executor(e)
	r.newest = hold{executor: int32(e), count: 1, prevOf: none, nextOf: x.holders}
	if x.holders != none {
		m.hold(x.holders).prevOf = int32(w)
	}
	x.holders = int32(w)
	if x.retiring {
		x.retiring = false
		m.emit(Effect{Kind: Resume, Executor: e})
	}
}

// pushOlder copies the newest hold of w to the end of the list of older ones.
func (m *Machine) pushOlder(w Worker, r *worker) int32 {
	i := m.freeHold
	if i == none {
		i = m.older.grow()
	} else {
		m.freeHold = m.older.at(i).next
	}
	*m.older.at(i) = olderHold{hold: r.newest, worker: int32(w), next: none, lookAt: none}
	if r.older == none {
		r.older = i
		return i
	}
	first := m.older.at(r.older)
	first.lookStep = 0
	last := first
	for last.next != none {
		last = m.older.at(last.next)
	}
	last.next = i
	return i
}

// moved has the neighbors of a hold, in its executor's list, know it by id.
func (m *Machine) moved(id int32) {
	h := m.hold(id)
	if h.prevOf == none {
		m.executors.at(h.executor).holders = id
	} else {
		m.hold(h.prevOf).nextOf = id
	}
	if h.nextOf != none {
		m.hold(h.nextOf).prevOf = id
	}
}

// dropOldest drops the first of what w holds, which is something.
func (m *Machine) dropOldest(w Worker, r *worker) {
	i := r.older
	if i == none {
		m.unlink(int32(w))
		r.newest.count = 0
		return
	}
	m.unlink(olderID(i))
	o := m.older.at(i)
	if o.next == none {
		m.timers.remove(m, w, look)
	} else {
		first := m.older.at(o.next)
		first.lookAt, first.lookStep = o.lookAt, o.lookStep
	}
	r.older = o.next
	m.free(i)
}

// dropNewest drops the last of what w holds, which is something.
func (m *Machine) dropNewest(w Worker, r *worker) {
	m.unlink(int32(w))
	r.newest.count = 0
	i, before := r.older, int32(none)
	if i == none {
		return
	}
	for m.older.at(i).next != none {
		before, i = i, m.older.at(i).next
	}
	r.newest = m.older.at(i).hold
	m.moved(int32(w))
	if before == none {
		m.timers.remove(m, w, look)
		r.older = none
	} else {
		m.older.at(before).next = none
	}
	m.free(i)
}

// unlink takes a hold from its executor's list.
func (m *Machine) unlink(id int32) {
	h := m.hold(id)
	x := m.executors.at(h.executor)
	if h.prevOf == none {
		x.holders = h.nextOf
	} else {
		m.hold(h.prevOf).nextOf = h.nextOf
	}
	if h.nextOf != none {
		m.hold(h.nextOf).prevOf = h.prevOf
	}
	if x.holders == none {
		m.noteIdle(Executor(h.executor))
	}
}

func (m *Machine) free(i int32) {
	m.older.at(i).next = m.freeHold
	m.freeHold = i
}
