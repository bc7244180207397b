package assign

// executor is the record of one executor that exists.
type executor struct {
	conn     int32
	holders  int32 // list of the holds on it, linked by nextOf; see holds.go
	retiring bool  // Retire was asked for, and neither Closed nor Resume came
	idle     bool  // noted in Machine.idle
}

type connState uint8

// A connection's executor: at most one exists, from Spawn to ExecutorDown (S2).
const (
	connEmpty connState = iota
	connSpawning
	connLive
	connStopping
)

// conn is the record of one connection.
type conn struct {
	state       connState
	executor    int32 // connLive, connStopping
	first, last int32 // list of the workers that wait for its executor
	initiated   bool
}

func (m *Machine) conn(c Conn) *conn {
	k := m.conns.at(int32(c))
	if !k.initiated {
		k.initiated = true
		k.executor, k.first, k.last = none, none, none
	}
	return k
}

func (m *Machine) executor(e Executor) *executor { return m.executors.at(int32(e)) }

func (m *Machine) spawnFor(c Conn, k *conn) {
	if k.state == connEmpty {
		m.busy++
	}
	k.state = connSpawning
	k.executor = none
	m.emit(Effect{Kind: Spawn, Conn: c})
}

// wait puts w among those that wait for c's executor.
func (m *Machine) wait(w Worker, r *worker, c Conn, k *conn) {
	r.awaits = int32(c)
	r.waitPrev, r.waitNext = k.last, none
	if k.last == none {
		k.first = int32(w)
	} else {
		m.workers.at(k.last).waitNext = int32(w)
	}
	k.last = int32(w)
}

// leave takes r from the list that it waits in, if any.
func (m *Machine) leave(r *worker) {
	if r.awaits == none {
		return
	}
	k := m.conns.at(r.awaits)
	if r.waitPrev == none {
		k.first = r.waitNext
	} else {
		m.workers.at(r.waitPrev).waitNext = r.waitNext
	}
	if r.waitNext == none {
		k.last = r.waitPrev
	} else {
		m.workers.at(r.waitNext).waitPrev = r.waitPrev
	}
	r.awaits = none
}

// forgetConn lets c go where nothing is known of it.
func (m *Machine) forgetConn(c Conn) {
	if k := m.conn(c); k.state == connEmpty {
		m.emit(Effect{Kind: ForgetConn, Conn: c})
	}
}

func (m *Machine) emptied(c Conn, k *conn) {
	k.state = connEmpty
	k.executor = none
	m.busy--
	m.forgetConn(c)
}

// failWaiters ends the wait of all that wait for c.
func (m *Machine) failWaiters(k *conn, now Time) {
	for k.first != none {
		w := Worker(k.first)
		m.leave(m.worker(w))
		m.lateFailure(w, now)
	}
}

func (m *Machine) executorUp(c Conn, e Executor, suspect bool, now Time) {
	k := m.conn(c)
	k.state = connLive
	k.executor = int32(e)
	*m.executor(e) = executor{conn: int32(c), holders: none}
	for k.first != none {
		w := Worker(k.first)
		m.leave(m.worker(w))
		if !m.send(w, e, now) {
			m.lateFailure(w, now)
		} else if suspect {
			m.trigger(w, now) // L2: its failure came before it was sent
		}
	}
	m.noteIdle(e)
}

func (m *Machine) spawnFailed(c Conn, now Time) {
	k := m.conn(c)
	m.failWaiters(k, now)
	m.emptied(c, k)
}

func (m *Machine) executorUnfit(c Conn, e Executor, now Time) {
	k := m.conn(c)
	k.state = connStopping
	k.executor = int32(e)
	*m.executor(e) = executor{conn: int32(c), holders: none}
	m.failWaiters(k, now)
	m.emit(Effect{Kind: Stop, Executor: e})
}

func (m *Machine) brokerFailed(e Executor, now Time) {
	for h := m.executor(e).holders; h != none; h = m.hold(h).nextOf {
		m.trigger(m.holder(h), now)
	}
}

// noteIdle remembers an executor that may have lost its last holder. What to
// make of it is decided when the step is over: it may be held again by then.
func (m *Machine) noteIdle(e Executor) {
	if x := m.executor(e); !x.idle {
		x.idle = true
		m.idle = append(m.idle, e)
	}
}

func (m *Machine) retireIdle() {
	for _, e := range m.idle {
		x := m.executor(e)
		x.idle = false
		if x.holders == none && !x.retiring && m.conns.at(x.conn).state == connLive {
			x.retiring = true
			m.emit(Effect{Kind: Retire, Executor: e})
		}
	}
	m.idle = m.idle[:0]
}

func (m *Machine) unpinned(e Executor) {
	if m.executor(e).retiring {
		m.emit(Effect{Kind: Retire, Executor: e})
	}
}

func (m *Machine) closed(e Executor) {
	x := m.executor(e)
	x.retiring = false
	m.conns.at(x.conn).state = connStopping
	m.emit(Effect{Kind: Stop, Executor: e})
}

func (m *Machine) executorDown(e Executor, now Time) {
	c := Conn(m.executor(e).conn)
	k := m.conn(c)
	for w := k.first; w != none; {
		r := m.workers.at(w)
		next := r.waitNext
		if unread, capacity := m.cfg.Room(Worker(w)); unread >= capacity {
			m.emit(Effect{Kind: Full, Worker: Worker(w)})
			m.leave(r)
			m.lateFailure(Worker(w), now)
		}
		w = next
	}
	if k.first != none {
		m.spawnFor(c, k)
		return
	}
	m.emptied(c, k)
}
