package assign

import "fmt"

// WorkerState is what a Machine knows of a worker.
type WorkerState struct {
	// Alive, and the resolutions: one is owed, one is flying (for a life that has
	// ended, where Stale).
	Alive, Owed, Flying, Stale bool
	// Of the owed one: it need not wait and sets Attempt to 0; it is ready to
	// start, or has a timer; when it is due.
	Fresh, Ready, Retry bool
	Due                 Time
	// Of the last one.
	Attempt int
	Began   Time
	// Awaits is the connection whose executor the worker waits for, or -1.
	Awaits Conn
	// Holds are the executors sent and not known to be superseded, oldest first.
	Holds []Executor
	// Look: its channel will be looked at.
	Look bool
}

// WorkerState stores into s what m knows of w. It reuses s.Holds.
func (m *Machine) WorkerState(w Worker, s *WorkerState) {
	r := m.worker(w)
	*s = WorkerState{
		Alive: r.alive, Owed: r.owed, Flying: r.flying, Stale: r.flying && r.stale,
		Fresh: r.owed && r.fresh, Ready: r.queued && r.owed, Retry: r.retryAt != none, Due: r.due,
		Attempt: int(r.tries()), Began: r.began, Awaits: Conn(r.awaits),
		Holds: s.Holds[:0], Look: m.looks(r),
	}
	for h := range m.holds(r) {
		for range h.count {
			s.Holds = append(s.Holds, Executor(h.executor))
		}
	}
}

// holds yields the holds of r, oldest first.
func (m *Machine) holds(r *worker) func(func(*hold) bool) {
	return func(yield func(*hold) bool) {
		for i := r.older; i != none; i = m.older.at(i).next {
			if !yield(&m.older.at(i).hold) {
				return
			}
		}
		if r.newest.count > 0 {
			yield(&r.newest)
		}
	}
}

// looks reports that the channel of r will be looked at.
func (m *Machine) looks(r *worker) bool {
	return r.older != none && m.older.at(r.older).lookAt != none
}

// ConnState is what a Machine knows of a connection. Where none of Spawning,
// Live and Stopping is true, it knows nothing.
type ConnState struct {
	Spawning, Live, Stopping bool
	// Executor, where Live or Stopping; else -1.
	Executor Executor
	// Retiring: nobody holds it, and it is to be closed for leases.
	Retiring bool
	// Waiters are the workers that wait for the executor, in their order.
	Waiters []Worker
}

// ConnState stores into s what m knows of c. It reuses s.Waiters.
func (m *Machine) ConnState(c Conn, s *ConnState) {
	k := m.conn(c)
	*s = ConnState{
		Spawning: k.state == connSpawning, Live: k.state == connLive, Stopping: k.state == connStopping,
		Executor: Executor(k.executor), Waiters: s.Waiters[:0],
	}
	if s.Live {
		s.Retiring = m.executor(s.Executor).retiring
	}
	for w := k.first; w != none; w = m.workers.at(w).waitNext {
		s.Waiters = append(s.Waiters, Worker(w))
	}
}

// Ready returns how many workers stand in the list of those whose resolution is
// due, some of them perhaps for a life that has ended.
func (m *Machine) Ready() int { return len(m.ready.q) - m.ready.head }

// AppendReady appends that list, in its order.
func (m *Machine) AppendReady(ws []Worker) []Worker {
	return append(ws, m.ready.q[m.ready.head:]...)
}

// Records returns how many records of older holds and of timers there are, used or
// not, and how long the list of workers that are due has room to be (S8).
func (m *Machine) Records() (holds, timers, ready int) {
	return int(m.older.n), cap(m.timers.heap), cap(m.ready.q)
}

// Check returns an error where the records contradict each other, of those that h
// has. They do not between any two Steps.
func (m *Machine) Check(h Horizon) error {
	c := checker{m: m}
	for w, r := range m.workers.all(h.Handles) {
		if r.initiated {
			c.worker(w, r)
		}
	}
	for i, k := range m.conns.all(h.Handles) {
		if k.initiated {
			c.conn(i, k)
		}
	}
	c.timers()
	c.ready()
	for i := m.freeHold; i != none; i = m.older.at(i).next {
		c.free++
		if c.free > m.older.n {
			break // it goes in circles
		}
	}
	c.want(m.older.n == c.older+c.free, "older holds are in use or free; in all", m.older.n)
	c.want(c.older+c.newest == c.held, "holds of workers are holds of executors; of executors", c.held)
	c.want(c.living == m.living, "living counts the workers alive", int32(m.living))
	c.want(c.busy == m.busy, "busy counts the connections with an executor", int32(m.busy))
	c.want(c.waiting == c.waiters, "who waits is in a list; waiting", c.waiting)
	c.want(m.calls >= 0 && m.calls <= m.cfg.MaxCalls, "calls in flight are bounded", int32(m.calls))
	c.want(c.flying == 0 || m.calls > 0, "who flies is in a call; flying", c.flying)
	c.want(len(m.idle) == 0, "idle executors are dealt with in their step", int32(len(m.idle)))
	return c.err
}

type checker struct {
	m   *Machine
	err error // the first

	living, busy int
	flying       int32

	newest, older    int32 // holds of workers
	held             int32 // holds on executors
	free             int32
	waiting, waiters int32
	timed, queued    int
}

// want notes that a rule does not hold for the record of handle id. It takes no
// more, so that a check which succeeds allocates nothing.
func (c *checker) want(ok bool, rule string, id int32) {
	if !ok && c.err == nil {
		c.err = fmt.Errorf("assign: not so: %s: %d", rule, id)
	}
}

func (c *checker) worker(w int32, r *worker) {
	m := c.m
	waits, looks := r.retryAt != none, m.looks(r)
	if r.alive {
		c.living++
	} else {
		c.want(!r.owed && r.newest.count == 0 && r.older == none && r.awaits == none && !waits && !looks, "a dead worker has nothing", w)
	}
	if r.flying {
		c.flying++
		c.want(r.stale || r.alive, "a resolution of a life that has ended is stale", w)
		c.want(!r.stale || !r.alive || r.owed && r.fresh, "a new life is owed its first resolution", w)
		c.want(!r.queued, "a flying worker is not ready", w)
	} else {
		c.want(!r.stale, "only what flies is stale", w)
	}
	if r.owed && !r.flying {
		c.want(r.queued != waits, "an owed worker is ready, or has a retry timer", w)
	} else {
		c.want(!waits, "who is owed nothing has no retry timer", w)
	}
	if waits {
		c.timed++
	}
	if looks {
		c.timed++
	}
	if r.queued {
		c.queued++
	}
	if r.awaits != none {
		c.waiting++
	}
	for i := r.older; i != none; i = m.older.at(i).next {
		o := m.older.at(i)
		c.older++
		c.want(o.worker == w && o.count > 0, "a worker's list has its holds", w)
		c.want(i == r.older || o.lookAt == none, "the first of the list has the timer", w)
	}
	c.want(r.older == none || r.newest.count > 0, "nothing is older than nothing", w)
	if r.newest.count > 0 {
		c.newest++
	}
	last := int32(none)
	for h := range m.holds(r) {
		c.want(h.executor != last, "a run of one executor is folded", w)
		last = h.executor
	}
	c.want(looks == (r.older != none), "who holds more than one executor is looked at, and only who does", w)
}

func (c *checker) conn(id int32, k *conn) {
	m := c.m
	last := int32(none)
	for w := k.first; w != none; w = m.workers.at(w).waitNext {
		r := m.workers.at(w)
		c.waiters++
		c.want(r.awaits == id && r.waitPrev == last, "a connection's list has those that wait for it", id)
		last = w
	}
	c.want(last == k.last, "the last waiter ends the list", id)
	switch k.state {
	case connEmpty:
		c.want(k.first == none && k.executor == none, "an empty connection has nothing", id)
		return
	case connSpawning:
		c.busy++
		c.want(k.executor == none, "a spawning connection has no executor", id)
		return
	}
	c.busy++
	x := m.executors.at(k.executor)
	c.want(x.conn == id, "an executor is its connection's", id)
	if k.state == connLive {
		c.want(x.retiring == (x.holders == none), "an executor that nobody holds is retiring, and only such", id)
		c.want(k.first == none, "nobody waits for a live executor", id)
	} else {
		c.want(!x.retiring && x.holders == none, "nobody holds an executor that stops", id)
	}
	last = none
	for i := x.holders; i != none; i = m.hold(i).nextOf {
		h := m.hold(i)
		c.held++
		c.want(h.executor == k.executor && h.prevOf == last, "an executor's list has the holds on it", id)
		last = i
	}
}

func (c *checker) timers() {
	m := c.m
	for i, t := range m.timers.heap {
		c.want(*place(m, t.id) == int32(i), "a worker knows where its timer stands", t.id)
		c.want(i == 0 || m.timers.heap[(i-1)/4].before(t), "the heap is in order", t.id)
		c.want(t.id&1 == look || m.workers.at(t.id>>1).due == t.due, "a retry timer is set to its worker's due time", t.id)
	}
	c.want(len(m.timers.heap) == c.timed, "timers are those that workers have", int32(len(m.timers.heap)))
}

func (c *checker) ready() {
	m := c.m
	for _, w := range m.ready.q[m.ready.head:] {
		c.want(m.worker(w).queued, "who is in the ready list knows", int32(w))
	}
	c.want(m.Ready() == c.queued, "who is ready is in the list, once", int32(m.Ready()))
}
