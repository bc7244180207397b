package assign

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// Horizon says what a state need not tell apart, given what the owner knows of
// the future. The zero Horizon tells apart all but what can never matter.
type Horizon struct {
	// Age: no Backoff is longer, and a resolution begins either when it is asked
	// for or when it ends. What was longer ago might as well have been so long ago.
	// 0: unbounded.
	Age Time
	// Attempt: Backoff returns the same from this attempt on. 0: unbounded.
	Attempt int
	// Pure: Backoff depends on its argument alone, so that what it returned since
	// the last Tick need not be remembered.
	Pure bool
	// Coarse: time never moves on by less than the longest interval of looks at a
	// channel, so that any look comes due whenever time moves on.
	Coarse bool
	// Handles: none is as large. It saves looking at records of larger ones. 0:
	// unbounded.
	Handles int32
	// Times, where set, has states leave out the time: what Backoff and the owner
	// make of it is open. A state says which timers are armed; Load asks Times for
	// the rest. Then Age, Attempt, Pure and Coarse say nothing more.
	Times func(Worker) Times
}

// Times are those of one worker.
type Times struct {
	Began Time // of the last resolution
	Due   Time // of the owed one, which has a timer where that is later than now
	Look  Time // at its channel, where it holds more than one executor
}

// Clone returns a Machine that behaves as m does from here on. It has m's
// Config, so both ask the same Room.
func (m *Machine) Clone() *Machine {
	n := *m
	n.workers = m.workers.clone()
	n.executors = m.executors.clone()
	n.conns = m.conns.clone()
	n.older = m.older.clone()
	n.ready.q = slices.Clone(m.ready.q)
	n.timers.heap = slices.Clone(m.timers.heap)
	n.waits = slices.Clone(m.waits)
	n.idle = slices.Clone(m.idle)
	n.out = slices.Clone(m.out)
	return &n
}

func (a *arena[T]) clone() arena[T] {
	b := arena[T]{pages: make([]*[pageSize]T, len(a.pages)), n: a.n}
	for i, p := range a.pages {
		page := *p
		b.pages[i] = &page
	}
	return b
}

// reset makes records zero: those below bound, or all where bound is 0.
func (a *arena[T]) reset(bound int32) {
	for p, page := range a.pages {
		part := page[:]
		if bound > 0 {
			part = page[:min(max(0, bound-int32(p<<pageBits)), pageSize)]
		}
		clear(part)
	}
	a.n = 0
}

// all yields the records of all handles below bound; where that is 0, up to the
// largest seen, and some beyond.
func (a *arena[T]) all(bound int32) func(func(int32, *T) bool) {
	return func(yield func(int32, *T) bool) {
		for p, page := range a.pages {
			for i := range page {
				handle := int32(p<<pageBits | i)
				if handle == bound && bound > 0 || !yield(handle, &page[i]) {
					return
				}
			}
		}
	}
}

// The bits of a worker in a state.
const (
	stateAlive = 1 << iota
	stateOwed
	stateFlying
	stateStale
	stateFresh
	stateLook    // a look is to come
	stateLookDue // Coarse: it is due
	stateRetry   // Times: a retry timer is armed
)

// blank reports that nothing depends on what the record says.
func (r *worker) blank() bool { return !r.alive && !r.flying }

// AppendState appends the state at now to b. Machines of one Config with equal
// bytes answer equal events, at equal distances from now, with equal effects. What
// can make no difference, as far as h tells, is left out: the history, which
// records lists are made of, the time of day, what the accessors say of a
// resolution that is over. Handles and the order of lists do make one.
//
// AppendState is for when the effects of a Step have been performed: it knows of
// no Send that may still fail. Load makes the machine again from the bytes, which
// is how it is checked that they say enough.
func (m *Machine) AppendState(b []byte, now Time, h Horizon) []byte {
	b = binary.AppendUvarint(b, uint64(m.calls))
	for w, r := range m.workers.all(h.Handles) {
		if !r.blank() {
			b = binary.AppendUvarint(b, uint64(w)+1)
			b = m.appendWorker(b, r, now, h)
		}
	}
	b = append(b, 0)
	for c, k := range m.conns.all(h.Handles) {
		if k.state != connEmpty {
			b = binary.AppendUvarint(b, uint64(c)+1)
			b = m.appendConn(b, k)
		}
	}
	b = append(b, 0)
	b = binary.AppendUvarint(b, uint64(m.Ready()))
	for _, w := range m.ready.q[m.ready.head:] {
		b = binary.AppendUvarint(b, uint64(w))
	}
	if h.Times != nil {
		return b
	}
	b = m.appendTimers(b, now, h)
	return m.appendWaits(b, h)
}

func (m *Machine) appendWorker(b []byte, r *worker, now Time, h Horizon) []byte {
	var bits byte
	set := func(bit byte, on bool) {
		if on {
			bits |= bit
		}
	}
	set(stateAlive, r.alive)
	set(stateOwed, r.owed)
	set(stateFlying, r.flying)
	set(stateStale, r.flying && r.stale)
	set(stateLook, m.looks(r))
	if h.Times != nil {
		set(stateRetry, r.retryAt != none)
	} else {
		set(stateFresh, r.owed && r.fresh)
		set(stateLookDue, h.Coarse && m.looks(r) && m.timers.heap[m.older.at(r.older).lookAt].due <= now)
	}
	b = append(b, bits)
	if r.alive && h.Times == nil {
		b = m.appendTimes(b, r, now, h)
	}
	for hold := range m.holds(r) {
		b = binary.AppendUvarint(b, uint64(hold.count))
		b = binary.AppendUvarint(b, uint64(hold.executor))
	}
	return append(b, 0)
}

// appendTimes appends what depends on the time and makes a difference.
func (m *Machine) appendTimes(b []byte, r *worker, now Time, h Horizon) []byte {
	if r.needsAttempt() {
		attempt := int(r.tries())
		if h.Attempt > 0 {
			attempt = min(attempt, h.Attempt)
		}
		b = binary.AppendUvarint(b, uint64(attempt))
	}
	if r.needsBegan() {
		age := now - r.began
		if h.Age > 0 {
			age = min(age, h.Age)
		}
		b = binary.AppendUvarint(b, uint64(age))
	}
	switch {
	case !r.owed || !r.flying || r.stale:
	case r.fresh: // when the trigger came
		age := now - r.due
		if h.Age > 0 {
			age = min(age, h.Age)
		}
		b = binary.AppendUvarint(b, uint64(age))
	default:
		b = binary.AppendUvarint(b, uint64(r.due-r.began))
	}
	if m.looks(r) && !h.Coarse {
		b = append(b, m.older.at(r.older).lookStep)
	}
	return b
}

// needsAttempt: a resolution that did not have to wait, and is to start next,
// resets attempt before anything looks at it.
func (r *worker) needsAttempt() bool {
	return !r.owed || !r.fresh || r.flying && !r.stale
}

// needsBegan: the start of the last resolution matters to its own answer and to
// a trigger, but an owed one is not triggered again.
func (r *worker) needsBegan() bool {
	return !r.owed || r.flying && !r.stale
}

func (m *Machine) appendConn(b []byte, k *conn) []byte {
	b = append(b, byte(k.state))
	if k.state != connSpawning {
		x := m.executors.at(k.executor)
		b = binary.AppendUvarint(b, uint64(k.executor))
		retiring := byte(0)
		if x.retiring {
			retiring = 1
		}
		b = append(b, retiring)
		for i := x.holders; i != none; i = m.hold(i).nextOf {
			b = binary.AppendUvarint(b, uint64(m.holder(i))+1)
			b = binary.AppendUvarint(b, uint64(m.indexOf(i)))
		}
		b = append(b, 0)
	}
	for w := k.first; w != none; w = m.workers.at(w).waitNext {
		b = binary.AppendUvarint(b, uint64(w)+1)
	}
	return append(b, 0)
}

// indexOf returns the place of a hold among its worker's.
func (m *Machine) indexOf(id int32) int {
	n := 0
	for i := m.worker(m.holder(id)).older; i != none && olderID(i) != id; i = m.older.at(i).next {
		n++
	}
	return n
}

// holdOf returns the hold of w that indexOf says n of.
func (m *Machine) holdOf(w Worker, n int) int32 {
	i := m.worker(w).older
	for ; i != none && n > 0; n-- {
		i = m.older.at(i).next
	}
	if i == none {
		return int32(w)
	}
	return olderID(i)
}

// appendTimers appends the timers in the order in which they will fire.
func (m *Machine) appendTimers(b []byte, now Time, h Horizon) []byte {
	var few [16]timer
	order := append(few[:0], m.timers.heap...)
	slices.SortFunc(order, func(x, y timer) int {
		return cmp.Or(cmp.Compare(x.due, y.due), cmp.Compare(x.id, y.id))
	})
	for _, t := range order {
		if h.Coarse && t.id&1 == look {
			continue // said with the worker: which look comes first makes no difference
		}
		b = binary.AppendUvarint(b, uint64(t.id)+1)
		b = binary.AppendUvarint(b, uint64(max(0, t.due-now)))
	}
	return append(b, 0)
}

func (m *Machine) appendWaits(b []byte, h Horizon) []byte {
	if h.Pure {
		return b
	}
	waits := slices.Clone(m.waits)
	slices.SortFunc(waits, func(x, y backoff) int { return cmp.Compare(x.attempt, y.attempt) })
	for _, w := range waits {
		b = binary.AppendUvarint(b, uint64(w.attempt))
		b = binary.AppendUvarint(b, uint64(w.wait))
	}
	return b
}

// Load puts m into the state that AppendState wrote with h, as of now. The
// bytes must be of a machine with m's Config; others may panic.
func (m *Machine) Load(state []byte, now Time, h Horizon) {
	m.workers.reset(h.Handles)
	m.executors.reset(h.Handles)
	m.conns.reset(h.Handles)
	m.older.reset(max(1, m.older.n))
	m.freeHold = none
	m.ready = fifo{q: m.ready.q[:0]}
	m.timers.heap = m.timers.heap[:0]
	m.living, m.busy = 0, 0
	m.waits, m.idle, m.out = m.waits[:0], m.idle[:0], m.out[:0]

	d := decoder(state)
	m.calls = int(d.int())
	for w := d.handle(); w != none; w = d.handle() {
		m.loadWorker(&d, w, now, h)
	}
	for c := d.handle(); c != none; c = d.handle() {
		m.loadConn(&d, c)
	}
	for range d.int() {
		w := Worker(d.int())
		m.worker(w).queued = true
		m.ready.push(w)
	}
	if h.Times != nil {
		return
	}
	var overdue []int32
	for id := d.handle(); id != none; id = d.handle() {
		if wait := Time(d.int()); wait > 0 {
			m.loadTimer(id, now+wait)
		} else {
			overdue = append(overdue, id)
		}
	}
	for i, id := range overdue {
		m.loadTimer(id, now-Time(len(overdue)-1-i)) // all are due, in this order
	}
	for len(d) > 0 {
		m.waits = append(m.waits, backoff{attempt: int32(d.int()), wait: Time(d.int())})
	}
}

func (m *Machine) loadWorker(d *decoder, w int32, now Time, h Horizon) {
	r := m.worker(Worker(w))
	bits := d.byte()
	r.alive = bits&stateAlive != 0
	r.owed = bits&stateOwed != 0
	r.flying = bits&stateFlying != 0
	r.stale = bits&stateStale != 0
	r.fresh = bits&stateFresh != 0
	r.began, r.due = now, now
	lookStep := uint8(0)
	if r.alive {
		m.living++
		if h.Times == nil {
			r.loadTimes(d, now)
			if bits&stateLook != 0 && !h.Coarse {
				lookStep = d.byte()
			}
		}
	}
	for count := int32(d.int()); count > 0; count = int32(d.int()) {
		if r.newest.count > 0 {
			m.pushOlder(Worker(w), r)
		}
		r.newest = hold{executor: int32(d.int()), count: count, prevOf: none, nextOf: none}
	}
	if r.older != none {
		m.older.at(r.older).lookStep = lookStep
	}
	switch {
	case h.Times != nil:
		m.giveTimes(Worker(w), r, bits&stateRetry != 0, h.Times(Worker(w)))
	case bits&stateLookDue != 0:
		m.timers.set(m, Worker(w), look, now)
	case bits&stateLook != 0 && h.Coarse:
		m.timers.set(m, Worker(w), look, after(now, firstLook))
	}
}

func (r *worker) loadTimes(d *decoder, now Time) {
	if r.needsAttempt() {
		r.attempt = int32(d.int())
	}
	if r.needsBegan() {
		r.began = now - Time(d.int())
	}
	switch {
	case !r.owed || !r.flying || r.stale:
	case r.fresh:
		r.due = now - Time(d.int())
	default:
		r.due = r.began + Time(d.int())
	}
}

// giveTimes makes up the times that a state has left out.
func (m *Machine) giveTimes(w Worker, r *worker, waits bool, t Times) {
	r.began = t.Began
	if waits || r.flying {
		r.due = t.Due
	}
	r.fresh = r.alive && r.stale // the first of a life
	if waits {
		m.timers.set(m, w, retry, t.Due)
	}
	if r.older != none {
		m.timers.set(m, w, look, t.Look)
	}
}

func (m *Machine) loadTimer(id int32, due Time) {
	if id&1 == retry {
		m.workers.at(id >> 1).due = due
	}
	m.timers.set(m, Worker(id>>1), id&1, due)
}

func (m *Machine) loadConn(d *decoder, c int32) {
	k := m.conn(Conn(c))
	k.state = connState(d.byte())
	m.busy++
	if k.state != connSpawning {
		k.executor = int32(d.int())
		x := m.executors.at(k.executor)
		*x = executor{conn: c, holders: none, retiring: d.byte() != 0}
		last := int32(none)
		for w := d.handle(); w != none; w = d.handle() {
			i := m.holdOf(Worker(w), int(d.int()))
			m.hold(i).prevOf = last
			if last == none {
				x.holders = i
			} else {
				m.hold(last).nextOf = i
			}
			last = i
		}
	}
	for w := d.handle(); w != none; w = d.handle() {
		m.wait(Worker(w), m.workers.at(w), Conn(c), k)
	}
}

// decoder reads what AppendState wrote.
type decoder []byte

func (d *decoder) byte() byte {
	b := (*d)[0]
	*d = (*d)[1:]
	return b
}

func (d *decoder) int() int64 {
	if b := (*d)[0]; b < 0x80 { // nearly always
		*d = (*d)[1:]
		return int64(b)
	}
	v, n := binary.Uvarint(*d)
	if n <= 0 {
		panic(fmt.Sprintf("assign: no state: %x", []byte(*d)))
	}
	*d = (*d)[n:]
	return int64(v)
}

// handle reads one that was written plus one, or none.
func (d *decoder) handle() int32 { return int32(d.int()) - 1 }
