package model

import (
	"slices"

	"github.com/brokermap/brokermap/internal/assign"
)

// book is the contract's bookkeeping, plain and dumb: no lists, no timers, no
// queue. It says for each event what the effects must be and what is to be
// remembered. Where the contract leaves a choice, it follows the machine's: which
// of the workers that are due start first, and when a channel is looked at.
type book struct {
	workers [MaxWorkers]bookWorker
	conns   [MaxConns]bookConn
	calls   int
}

type bookWorker struct {
	alive, owed, fresh, flying, stale bool
	attempt, before                   int
	began, due                        assign.Time
	awaits                            int8 // a connection, or none
	holds                             [maxRoom + 2]int8
	n                                 int8 // of them; oldest first
}

type bookConn struct {
	state    bookState
	executor int8
	retiring bool
}

type bookState uint8

const (
	bookEmpty bookState = iota
	bookSpawning
	bookLive
	bookStopping
)

// read makes b say what x's machine knows.
func (b *book) read(x *World) {
	*b = book{}
	for w := range b.workers {
		b.workers[w].awaits = none
	}
	b.calls, _ = x.machine.Quiet()
	for w := range x.cfg.Workers {
		s := &x.view
		x.machine.WorkerState(assign.Worker(w), s)
		k := &b.workers[w]
		*k = bookWorker{
			alive: s.Alive, owed: s.Owed, fresh: s.Fresh, flying: s.Flying, stale: s.Stale,
			attempt: s.Attempt, began: s.Began, due: s.Due, awaits: int8(s.Awaits), n: int8(len(s.Holds)),
		}
		if len(s.Holds) > len(k.holds) {
			x.fail("S8", "w%d holds %d executors", w+1, len(s.Holds))
			k.n = int8(len(k.holds))
		}
		for i := range k.n {
			k.holds[i] = int8(s.Holds[i])
		}
	}
	for c := range x.cfg.Conns {
		s := &x.link
		x.machine.ConnState(assign.Conn(c), s)
		k := &b.conns[c]
		*k = bookConn{executor: int8(s.Executor), retiring: s.Retiring}
		switch {
		case s.Spawning:
			k.state = bookSpawning
		case s.Live:
			k.state = bookLive
		case s.Stopping:
			k.state = bookStopping
		}
	}
}

// check takes ev and complains where the effects, or what the machine remembers,
// are not what b says. Then b agrees with the machine again.
func (b *book) check(x *World, ev assign.Event, effects []assign.Effect) {
	is := &x.learned
	is.read(x)
	if x.cfg.RulesOnly {
		*b = *is
		b.checkTimer(x, ev)
		return
	}
	e := entry{book: b, x: x, is: is, now: x.now, effects: x.wanted[:0]}
	e.enter(ev)
	x.got = append(x.got[:0], effects...)
	got := x.got
	x.wanted = e.effects
	slices.SortFunc(e.effects, compareEffects)
	slices.SortFunc(got, compareEffects)
	if !slices.Equal(e.effects, got) {
		x.fail("book", "%s: the effects are %v, want %v", eventLine(ev), effectLines(effects), effectLines(e.effects))
	}
	for w := range x.cfg.Workers {
		is, want := is.workers[w].plain(x.now), b.workers[w].plain(x.now)
		if is != want {
			x.fail("book", "%s: of w%d the machine knows\n%+v, want\n%+v", eventLine(ev), w+1, is, want)
		}
	}
	if is.conns != b.conns || is.calls != b.calls {
		x.fail("book", "%s: of connections and calls the machine knows\n%+v %d, want\n%+v %d", eventLine(ev), is.conns, is.calls, b.conns, b.calls)
	}
	b.checkTimer(x, ev)
	before := b.workers
	*b = *is
	for w := range b.workers {
		b.workers[w].before = before[w].before
	}
}

// plain is k without what makes no difference.
func (k bookWorker) plain(now assign.Time) bookWorker {
	k.before = 0
	if !k.owed {
		k.fresh, k.due = false, 0
	}
	k.due = max(k.due, now)
	if !k.alive {
		return bookWorker{flying: k.flying, stale: k.stale, awaits: k.awaits, n: k.n}
	}
	if k.stale || k.owed && !k.flying {
		k.began = 0
	}
	return k
}

// checkTimer checks that the machine sleeps until something is due, and no longer
// (L6, B1), but for its looks at channels (L4).
func (b *book) checkTimer(x *World, ev assign.Event) {
	const never = assign.Time(1<<63 - 1)
	retry, look := never, never
	for w := range x.cfg.Workers {
		k := &b.workers[w]
		if k.owed && !k.flying && k.due > x.now {
			retry = min(retry, k.due)
		}
		if k.several() {
			look = x.now + assign.Time(Unit)
		}
	}
	next, armed := x.machine.Next()
	switch {
	case !armed && min(retry, look) != never:
		x.fail("L4", "%s: no timer is armed, and something is pending", eventLine(ev))
	case armed && min(retry, look) == never && next > x.now:
		x.fail("L6", "%s: a timer is armed, and nothing is pending", eventLine(ev))
	case armed && next > min(retry, look):
		x.fail("B1", "%s: the timer fires %v too late", eventLine(ev), next-min(retry, look))
	case armed && look == never && next < retry && next > x.now:
		x.fail("B1", "%s: the timer fires %v too early", eventLine(ev), retry-next)
	}
}

// several: it holds more than one executor.
func (k *bookWorker) several() bool {
	for _, e := range k.holds[:k.n] {
		if e != k.holds[0] {
			return true
		}
	}
	return false
}

// entry is the taking of one event.
type entry struct {
	*book
	x       *World
	is      *book // what the machine has made of it
	now     assign.Time
	effects []assign.Effect
}

func (e *entry) add(f assign.Effect) { e.effects = append(e.effects, f) }

func (e *entry) enter(ev assign.Event) {
	w, c, x := int(ev.Worker), int8(ev.Conn), int8(ev.Executor)
	switch ev.Kind {
	case assign.Spawned:
		if k := &e.workers[w]; !k.alive {
			k.alive, k.attempt = true, 0
			k.owed, k.fresh, k.due = true, true, e.now
		}
	case assign.Stopped:
		e.stopped(w)
	case assign.Triggered:
		e.trigger(w)
	case assign.Answered:
		e.answered(w, c, ev.At)
	case assign.Refused:
		if e.landed(w, ev.At) {
			e.retry(w)
		}
	case assign.CallReturned:
		e.calls--
	case assign.ExecutorUp:
		e.conns[c] = bookConn{state: bookLive, executor: x}
		e.executorUp(c, x, ev.Suspect)
	case assign.SpawnFailed:
		e.failWaiters(c)
		e.conns[c] = bookConn{executor: none}
		e.add(assign.Effect{Kind: assign.ForgetConn, Conn: ev.Conn})
	case assign.ExecutorUnfit:
		e.failWaiters(c)
		e.conns[c] = bookConn{state: bookStopping, executor: x}
		e.add(assign.Effect{Kind: assign.Stop, Executor: ev.Executor})
	case assign.BrokerFailed:
		for w := range e.workers {
			if e.holds(w, x) {
				e.trigger(w)
			}
		}
	case assign.Unpinned:
		for c := range e.conns {
			if k := &e.conns[c]; k.state == bookLive && k.executor == x && k.retiring {
				e.add(assign.Effect{Kind: assign.Retire, Executor: ev.Executor})
			}
		}
	case assign.Closed:
		for c := range e.conns {
			if k := &e.conns[c]; k.state == bookLive && k.executor == x {
				k.state, k.retiring = bookStopping, false
			}
		}
		e.add(assign.Effect{Kind: assign.Stop, Executor: ev.Executor})
	case assign.ExecutorDown:
		e.executorDown(x)
	case assign.SendFailed:
		e.sendFailed(w)
	case assign.Tick:
		e.tick()
	}
	e.retireUnheld()
}

// held says which executors are held.
func (b *book) held() (held [MaxConns]bool) {
	for w := range b.workers {
		for _, x := range b.workers[w].holds[:b.workers[w].n] {
			held[x] = true
		}
	}
	return held
}

func (b *book) holds(w int, x int8) bool {
	return slices.Contains(b.workers[w].holds[:b.workers[w].n], x)
}

// retireUnheld: an executor that nobody holds is to be closed, once; one that is
// held again is not.
func (e *entry) retireUnheld() {
	held := e.held()
	for c := range e.conns {
		k := &e.conns[c]
		if k.state != bookLive {
			continue
		}
		if held[k.executor] == k.retiring {
			kind := assign.Resume
			if !k.retiring {
				kind = assign.Retire
			}
			k.retiring = !k.retiring
			e.add(assign.Effect{Kind: kind, Executor: assign.Executor(k.executor)})
		}
	}
}

func (e *entry) stopped(w int) {
	k := &e.workers[w]
	if !k.alive {
		return
	}
	k.alive, k.owed, k.awaits, k.n = false, false, none, 0
	k.holds = [len(k.holds)]int8{}
	if k.flying {
		k.stale = true
	} else {
		e.add(assign.Effect{Kind: assign.ForgetWorker, Worker: assign.Worker(w)})
	}
}

// trigger judges a trigger that comes now (B1).
func (e *entry) trigger(w int) {
	if k := &e.workers[w]; k.alive && !k.owed {
		k.owed = true
		e.judge(k, e.now)
	}
}

func (e *entry) judge(k *bookWorker, at assign.Time) {
	wait := e.backoff(k)
	k.fresh, k.due = at-k.began >= wait, at
	if !k.fresh {
		k.due = k.began + wait
	}
}

func (e *entry) backoff(k *bookWorker) assign.Time {
	return assign.Time(e.x.cfg.backoff(k.attempt, e.x.ticks))
}

// landed ends a resolution and reports whether its outcome counts.
func (e *entry) landed(w int, began assign.Time) bool {
	k := &e.workers[w]
	k.flying = false
	if k.stale {
		k.stale = false
		if !k.alive {
			e.add(assign.Effect{Kind: assign.ForgetWorker, Worker: assign.Worker(w)})
		}
		return false
	}
	if late := began - k.began; late > 0 {
		k.began = began
		if k.owed && k.fresh {
			e.judge(k, k.due)
		} else if k.owed {
			k.due += late
		}
	}
	return true
}

func (e *entry) retry(w int) {
	k := &e.workers[w]
	if !k.owed {
		k.owed, k.due = true, k.began+e.backoff(k)
	}
	k.fresh = false
}

// lateFailure is that of a resolution that has ended already.
func (e *entry) lateFailure(w int) {
	if k := &e.workers[w]; !k.flying && !k.owed {
		e.retry(w)
	}
}

func (e *entry) full(w int) bool {
	unread, capacity := e.x.room(w)
	if unread < capacity {
		return false
	}
	e.add(assign.Effect{Kind: assign.Full, Worker: assign.Worker(w)})
	return true
}

func (e *entry) answered(w int, c int8, began assign.Time) {
	if e.landed(w, began) {
		k := &e.workers[w]
		k.awaits = none
		switch to := &e.conns[c]; {
		case to.state == bookLive:
			if !e.send(w, to.executor) {
				e.retry(w)
			}
		case to.state == bookEmpty && e.full(w):
			e.retry(w)
		case to.state == bookEmpty:
			*to = bookConn{state: bookSpawning, executor: none}
			e.add(assign.Effect{Kind: assign.Spawn, Conn: assign.Conn(c)})
			k.awaits = c
		default:
			k.awaits = c
		}
	}
	if e.conns[c].state == bookEmpty {
		e.add(assign.Effect{Kind: assign.ForgetConn, Conn: assign.Conn(c)})
	}
}

// trim lets go of what w has superseded by a read.
func (e *entry) trim(w int) {
	k := &e.workers[w]
	unread, _ := e.x.room(w)
	for int(k.n) > unread+1 {
		x := k.holds[0]
		copy(k.holds[:], k.holds[1:])
		k.n--
		k.holds[k.n] = 0
		if (k.n == 0 || k.holds[0] != x) && e.x.executors[x].failed {
			e.trigger(w) // L2: the report will not find it
		}
	}
}

func (e *entry) send(w int, x int8) bool {
	k := &e.workers[w]
	e.trim(w)
	if e.full(w) {
		return false
	}
	k.before = k.attempt
	if k.n == 0 || k.holds[k.n-1] != x {
		k.attempt = 0 // B2
	}
	k.holds[k.n] = x
	k.n++
	e.add(assign.Effect{Kind: assign.Send, Worker: assign.Worker(w), Executor: assign.Executor(x)})
	return true
}

func (e *entry) sendFailed(w int) {
	k := &e.workers[w]
	k.n--
	k.holds[k.n] = 0
	k.attempt = k.before
	e.lateFailure(w)
}

func (e *entry) executorUp(c, x int8, suspect bool) {
	for w := range e.workers {
		if e.workers[w].awaits != c {
			continue
		}
		e.workers[w].awaits = none
		if !e.send(w, x) {
			e.lateFailure(w)
		} else if suspect {
			e.trigger(w)
		}
	}
}

func (e *entry) failWaiters(c int8) {
	for w := range e.workers {
		if e.workers[w].awaits == c {
			e.workers[w].awaits = none
			e.lateFailure(w)
		}
	}
}

func (e *entry) executorDown(x int8) {
	for c := range e.conns {
		k := &e.conns[c]
		if k.state != bookStopping || k.executor != x {
			continue
		}
		*k = bookConn{executor: none}
		for w := range e.workers {
			if int(e.workers[w].awaits) != c {
				continue
			}
			if e.full(w) { // S3: do not spawn for it
				e.workers[w].awaits = none
				e.lateFailure(w)
			} else {
				k.state = bookSpawning
			}
		}
		kind := assign.ForgetConn
		if k.state == bookSpawning {
			kind = assign.Spawn
		}
		e.add(assign.Effect{Kind: kind, Conn: assign.Conn(c)})
	}
}

func (e *entry) tick() {
	for w := range e.workers {
		unread, _ := e.x.room(w)
		if int(e.workers[w].n) > unread+1 && int(e.is.workers[w].n) == unread+1 {
			e.trim(w) // the machine has looked
		}
	}
	asked := 0
	for w := range e.workers {
		k := &e.workers[w]
		if !k.owed || k.flying || k.due > e.now || !e.is.workers[w].flying {
			continue
		}
		k.owed, k.flying, k.began = false, true, e.now
		if k.attempt++; k.fresh {
			k.attempt = 0
		}
		e.add(assign.Effect{Kind: assign.Ask, Worker: assign.Worker(w)})
		asked++
	}
	calls := asked
	if e.x.cfg.Batch {
		calls = min(1, asked)
	}
	for range calls {
		e.calls++
		e.add(assign.Effect{Kind: assign.Call})
	}
}
