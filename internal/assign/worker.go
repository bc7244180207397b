package assign

import "math"

// worker is the record of one worker value. Its life, its resolutions and its
// holds are three independent affairs.
//
// Resolutions: owed says that one more is to start (the first, a trigger, a
// retry), however often that was asked for (B1); flying that one is under way.
// One at a time (S9): where both are set, the owed one follows when the other
// ends. A worker that is owed one and not flying is either in the ready list or
// has a retry timer.
//
// Holds: the executors sent, from the one that the worker took last to the
// newest. At most the unread ones and one more are held. See holds.go.
//
// It fills a cache line.
type worker struct {
	began Time // start of the last resolution
	due   Time // earliest start of the owed one

	newest hold  // its count is 0 where the worker holds nothing
	older  int32 // list of those before it, oldest first, or none

	attempt int32 // resolutions in a row that had to wait (B1); see tries

	awaits             int32 // the connection whose executor the worker waits for, or none
	waitPrev, waitNext int32 // its neighbors in that connection's list

	retryAt int32 // place among the timers, or none

	initiated bool // the links above are set
	alive     bool // a life is on
	owed      bool
	flying    bool
	stale     bool // flying for a life that has ended: its answer is void (S5)
	fresh     bool // the owed one did not have to wait: its start sets attempt to 0
	queued    bool // stands in the ready list, perhaps for an earlier life
	renewed   bool // the last Send was of another executor: attempt is 0 unless it fails
}

// tries returns how many resolutions in a row had to wait, as far as it counts.
func (r *worker) tries() int32 {
	if r.renewed {
		return 0 // B2
	}
	return r.attempt
}

func (m *Machine) worker(w Worker) *worker {
	r := m.workers.at(int32(w))
	if !r.initiated {
		r.initiated = true
		r.awaits, r.older, r.retryAt = none, none, none
	}
	return r
}

func (m *Machine) spawned(w Worker, now Time) {
	r := m.worker(w)
	if r.alive {
		return
	}
	m.living++
	r.alive = true
	r.attempt, r.renewed = 0, false
	r.owed, r.fresh, r.due = true, true, now // B2
	if !r.flying {
		m.schedule(w, r, now)
	}
}

func (m *Machine) stopped(w Worker) {
	r := m.worker(w)
	if !r.alive {
		return
	}
	m.living--
	r.alive = false
	r.owed = false
	m.timers.remove(m, w, retry)
	m.leave(r)
	for r.newest.count > 0 {
		m.dropOldest(w, r)
	}
	if r.flying {
		r.stale = true
		return
	}
	m.emit(Effect{Kind: ForgetWorker, Worker: w})
}

// trigger notes that w wants a resolution that starts after now (L2, B1).
func (m *Machine) trigger(w Worker, now Time) {
	r := m.worker(w)
	if !r.alive || r.owed {
		return
	}
	r.owed = true
	m.judge(r, now)
	if !r.flying {
		m.schedule(w, r, now)
	}
}

// judge says when the resolution that a trigger at time at asks for may start,
// and whether that is a wait (B1).
func (m *Machine) judge(r *worker, at Time) {
	if wait := m.backoff(r.tries()); at-r.began >= wait {
		r.fresh, r.due = true, at
	} else {
		r.fresh, r.due = false, after(r.began, wait)
	}
}

// schedule puts a worker that is owed a resolution, and not flying, where its
// time comes.
func (m *Machine) schedule(w Worker, r *worker, now Time) {
	if r.due > now {
		m.timers.set(m, w, retry, r.due)
		return
	}
	if !r.queued {
		r.queued = true
		m.ready.push(w)
	}
}

// tick fires the timers and starts resolutions as far as calls are free (B4).
func (m *Machine) tick(now Time) {
	m.waits = m.waits[:0]
	for {
		w, kind, ok := m.timers.pop(m, now)
		if !ok {
			break
		}
		r := m.worker(w)
		switch kind {
		case retry:
			m.schedule(w, r, now)
		case look:
			o := m.older.at(r.older)
			o.lookStep = min(o.lookStep+1, lastLookStep)
			m.look(w, r, now)
		}
	}
	for m.calls < m.cfg.MaxCalls {
		asked := false
		for !asked || m.cfg.Batch {
			w, ok := m.ready.pop()
			if !ok {
				break
			}
			r := m.worker(w)
			r.queued = false
			if !r.alive || !r.owed || r.flying {
				continue // its life has ended since
			}
			asked = true
			m.start(w, r, now)
		}
		if !asked {
			return
		}
		m.calls++
		m.emit(Effect{Kind: Call})
	}
}

func (m *Machine) start(w Worker, r *worker, now Time) {
	r.owed, r.flying, r.began = false, true, now
	r.attempt, r.renewed = r.tries(), false
	if r.fresh {
		r.attempt = 0
	} else if r.attempt < math.MaxInt32 {
		r.attempt++
	}
	m.emit(Effect{Kind: Ask, Worker: w})
}

// landed notes the end of a resolution that began at began, and reports whether
// its answer counts.
func (m *Machine) landed(w Worker, r *worker, began, now Time) bool {
	r.flying = false
	if r.stale {
		r.stale = false
		if r.alive {
			m.schedule(w, r, now) // the new life has waited for this (S9)
		} else {
			m.emit(Effect{Kind: ForgetWorker, Worker: w})
		}
		return false
	}
	// The call began a little after it was asked for. What waits, waits from
	// its true beginning.
	if began > r.began {
		if r.owed && !r.fresh {
			r.due = after(r.due, began-r.began)
		}
		r.began = began
		if r.owed && r.fresh {
			m.judge(r, r.due) // when the trigger came
		}
	}
	return true
}

func (m *Machine) answered(w Worker, c Conn, began, now Time) {
	r := m.worker(w)
	if m.landed(w, r, began, now) {
		m.leave(r) // the newer answer counts (L3)
		if !m.assign(w, r, c, now) {
			m.retry(w, r, now)
		} else if r.owed {
			m.schedule(w, r, now)
		}
	}
	m.forgetConn(c)
}

func (m *Machine) refused(w Worker, began, now Time) {
	r := m.worker(w)
	if m.landed(w, r, began, now) {
		m.retry(w, r, now)
	}
}

// retry follows a resolution that has just failed; a trigger that came while it
// was under way is the same as its retry (B1).
func (m *Machine) retry(w Worker, r *worker, now Time) {
	if !r.owed {
		r.owed = true
		r.due = after(r.began, m.backoff(r.tries()))
	}
	r.fresh = false
	m.schedule(w, r, now)
}

// lateFailure follows a resolution whose answer was accepted, but whose
// executor could not be had or sent in the end. Where another resolution is
// under way or owed, that one is the retry.
func (m *Machine) lateFailure(w Worker, now Time) {
	if r := m.worker(w); !r.flying && !r.owed {
		m.retry(w, r, now)
	}
}

// assign gives w the executor of c, or lets it wait for that; false where its
// channel is known to be full.
func (m *Machine) assign(w Worker, r *worker, c Conn, now Time) bool {
	k := m.conn(c)
	switch k.state {
	case connLive:
		return m.send(w, Executor(k.executor), now)
	case connEmpty:
		if unread, capacity := m.cfg.Room(w); unread >= capacity {
			m.emit(Effect{Kind: Full, Worker: w})
			return false // S3: do not spawn for it
		}
		m.spawnFor(c, k)
	}
	m.wait(w, r, c, k)
	return true
}

// send hands e to w; false where the channel is full.
func (m *Machine) send(w Worker, e Executor, now Time) bool {
	r := m.worker(w)
	unread, capacity := m.cfg.Room(w)
	m.release(w, r, unread, now) // the last look before the effect: it adds to unread
	if unread >= capacity {
		m.emit(Effect{Kind: Full, Worker: w})
		m.watch(w, r, now)
		return false
	}
	r.attempt, r.renewed = r.tries(), false
	if r.newest.count > 0 && r.newest.executor == int32(e) {
		r.newest.count++ // a confirmation (B3)
	} else {
		m.pushHold(w, r, e)
		r.renewed = true // B2
	}
	m.emit(Effect{Kind: Send, Worker: w, Executor: e})
	m.watch(w, r, now)
	return true
}

func (m *Machine) sendFailed(w Worker, now Time) {
	r := m.worker(w)
	if !r.alive || r.newest.count == 0 {
		return
	}
	r.renewed = false
	if r.newest.count > 1 {
		r.newest.count--
	} else {
		m.dropNewest(w, r)
	}
	m.watch(w, r, now)
	m.lateFailure(w, now)
}

// look releases what w holds no longer.
func (m *Machine) look(w Worker, r *worker, now Time) {
	unread, _ := m.cfg.Room(w)
	m.release(w, r, unread, now)
	m.watch(w, r, now)
}

// watch sees to it that w's channel is looked at while w holds more than one
// executor (L4), and only then (L6).
func (m *Machine) watch(w Worker, r *worker, now Time) {
	if r.older != none {
		m.timers.set(m, w, look, after(now, lookInterval(m.older.at(r.older).lookStep)))
	}
}

// release drops the holds of executors that a later one, taken from the
// channel, has superseded: of all that were sent, the unread ones and the one
// before them are held. Where the failure of one is on its way, the worker may
// have held it when that was reported, and BrokerFailed will not find it: it is
// triggered here (L2).
func (m *Machine) release(w Worker, r *worker, unread int, now Time) {
	for held := m.held(r); held > unread+1; held-- {
		h := m.oldest(r)
		if h.count > 1 {
			h.count--
			continue
		}
		e := Executor(h.executor)
		m.dropOldest(w, r)
		if m.cfg.Failed(e) {
			m.trigger(w, now)
		}
	}
}

// backoff returns the wait after attempt, at least 0. Between two Ticks it asks
// once for each attempt: workers that were resolved together and fail together
// are then due together, whatever is random in it (B4).
func (m *Machine) backoff(attempt int32) Time {
	for _, w := range m.waits {
		if w.attempt == attempt {
			return w.wait
		}
	}
	wait := max(0, Time(m.cfg.Backoff(int(attempt))))
	if len(m.waits) < maxWaits {
		m.waits = append(m.waits, backoff{attempt, wait})
	}
	return wait
}

// backoff is a wait that was asked for since the last Tick.
type backoff struct {
	attempt int32
	wait    Time
}

const maxWaits = 16 // beyond, Backoff is asked anew

// after returns t+d, or the end of time.
func after(t, d Time) Time {
	if d > math.MaxInt64-t {
		return math.MaxInt64
	}
	return t + d
}
