package model

import (
	"slices"

	"github.com/brokermap/brokermap/internal/assign"
)

// Do performs a, which must be among x.Actions, and returns the first rule that
// is broken by it, or in the state that it leads to.
func (x *World) Do(a Action) error {
	x.say("# %v", a)
	if x.cfg.Timeless {
		x.load(x.appendState(nil), a)
		x.sayTimes()
	}
	return x.do(a)
}

// do is Do where the machine was loaded for a.
func (x *World) do(a Action) error {
	x.broken, x.failures = nil, 0
	x.seen.actions |= 1 << a.Kind
	on, b, u := int(a.On), &x.cfg.Budget, &x.used
	switch a.Kind {
	case WorkerSpawned:
		use(b.Lives, &u.lives)
		x.spawned(on)
	case WorkerStopped:
		use(b.Stops, &u.stops)
		x.stopped(on)
	case TriggerReassign:
		use(b.Triggers, &u.triggers)
		x.workers[on].trigger = triggerSet
		x.workers[on].debt = true
	case Read:
		x.read(on)
	case BrokerFailed:
		use(b.Reports, &u.reports)
		x.report(on)
	case AcquireLease:
		use(b.Leases, &u.leases)
		x.acquire(on)
	case ReleaseLease:
		x.release(on)
	case SomebodyElse:
		x.workers[on].foreign = true
	case Look:
		x.look(on)
	case TakeFlags:
		x.takeFlags()
	case CallReturns:
		x.callReturns(on, int(a.Choice))
	case SpawnReturns, SpawnSuspect, SpawnNil, SpawnUnfit:
		x.spawnReturns(on, a.Kind)
	case StopReturns:
		x.executors[on] = executor{}
		x.step(assign.Event{Kind: assign.ExecutorDown, Executor: assign.Executor(on)})
	case TimePasses:
		x.timePasses(int(a.Choice))
	case Tick:
		x.tick()
	}
	x.checkFailures()
	x.checkState()
	if x.broken != nil {
		return x.broken
	}
	return nil
}

// OnWorkerSpawned begins a life with a new channel.
func (x *World) spawned(w int) {
	k := &x.workers[w]
	k.alive, k.same = true, false
	k.trigger = triggerNone
	k.unread, k.using, k.channel = 0, none, unread{}
}

func (x *World) stopped(w int) {
	k := &x.workers[w]
	if k.current() {
		k.left = k.unread
		x.say("gone w%d", w+1)
	}
	k.alive, k.same = false, false
	k.trigger = triggerNone
	k.unread, k.using, k.channel = 0, none, unread{}
	k.ours, k.debt, k.answer, k.waiting = false, false, none, false
}

func (x *World) read(w int) {
	k := &x.workers[w]
	k.using = k.channel[0]
	copy(k.channel[:], k.channel[1:])
	k.unread--
	k.channel[k.unread] = 0
	x.say("read w%d\n  e%d", w+1, k.using+1)
}

// report raises the flag of e and is a trigger for all who hold it at this
// moment (L2).
func (x *World) report(e int) {
	x.executors[e].failed = true
	for w := range x.cfg.Workers {
		if k := &x.workers[w]; k.holds(int8(e)) {
			k.debt = true
		}
	}
	x.say("report e%d", e+1)
}

func (x *World) acquire(w int) {
	k := &x.executors[x.workers[w].last()]
	if k.state != up {
		x.fail("S1", "w%d was sent e%d last, and cannot pin it", w+1, x.workers[w].last()+1)
	}
	k.leases++
}

func (x *World) release(e int) {
	k := &x.executors[e]
	k.leases--
	if k.leases == 0 && k.retiring {
		k.unpinned = true
	}
}

// look compares the slot of w with what the machine knows, as the mapper's loop
// does.
func (x *World) look(w int) {
	k := &x.workers[w]
	if k.trigger == triggerSet {
		k.trigger = triggerTold
	}
	if k.seen && !k.current() {
		k.seen, k.left = false, 0
		x.step(assign.Event{Kind: assign.Stopped, Worker: assign.Worker(w)})
	}
	if !k.alive {
		return
	}
	if !k.seen {
		k.seen, k.same = true, true
		x.known.workers |= 1 << w
		x.step(assign.Event{Kind: assign.Spawned, Worker: assign.Worker(w)})
	}
	if k.trigger != triggerNone {
		x.step(assign.Event{Kind: assign.Triggered, Worker: assign.Worker(w)})
	}
}

func (x *World) takeFlags() {
	for e := range x.cfg.Conns {
		k := &x.executors[e]
		if k.failed {
			k.failed = false
			x.step(assign.Event{Kind: assign.BrokerFailed, Executor: assign.Executor(e)})
		}
		if k.unpinned {
			k.unpinned = false
			x.step(assign.Event{Kind: assign.Unpinned, Executor: assign.Executor(e)})
		}
	}
}

func (x *World) callReturns(i, choice int) {
	c := x.calls[i]
	copy(x.calls[i:], x.calls[i+1:])
	x.calls[maxCalls-1] = call{}
	late := choice%2 == 1
	choice /= 2
	base := x.cfg.Conns + 1
	for _, w := range c.workers[:c.n] {
		k := &x.workers[w]
		ev := assign.Event{Kind: assign.Answered, Worker: assign.Worker(w), Conn: assign.Conn(choice % base), At: x.book.workers[w].began}
		if late {
			ev.At = x.now
		}
		if int(ev.Conn) == x.cfg.Conns {
			use(x.cfg.Budget.Refusals, &x.used.refusals)
			ev.Kind, ev.Conn = assign.Refused, 0
		}
		choice /= base
		if ev.Kind == assign.Answered {
			x.known.conns |= 1 << ev.Conn
		}
		if k.ours {
			k.ours = false
			if ev.Kind == assign.Answered {
				k.answer, k.waiting = int8(ev.Conn), true
			} else {
				x.failures |= 1 << w
			}
		}
		k.inCall = false
		x.step(ev)
	}
	x.step(assign.Event{Kind: assign.CallReturned})
}

func (x *World) spawnReturns(c int, kind ActionKind) {
	b, u := &x.cfg.Budget, &x.used
	x.conns[c] = false
	e := x.executorOf(c)
	ev := assign.Event{Kind: assign.ExecutorUp, Conn: assign.Conn(c), Executor: assign.Executor(e)}
	switch kind {
	case SpawnNil:
		use(b.Nils, &u.nils)
		ev.Kind, ev.Executor = assign.SpawnFailed, 0
	case SpawnUnfit:
		use(b.Unfits, &u.unfits)
		ev.Kind = assign.ExecutorUnfit
	case SpawnSuspect:
		use(b.Reports, &u.reports)
		ev.Suspect = true
	}
	if ev.Kind != assign.SpawnFailed {
		x.executors[e] = executor{state: up}
	}
	if ev.Kind != assign.ExecutorUp {
		for w := range x.cfg.Workers {
			if k := &x.workers[w]; k.waiting && int(k.answer) == c {
				x.failed(w)
			}
		}
	}
	x.step(ev)
	if ev.Suspect {
		for w := range x.cfg.Workers {
			if k := &x.workers[w]; k.last() == int8(e) {
				k.debt = true // L2
			}
		}
	}
}

// failed notes that the resolution of w that was answered last has failed.
func (x *World) failed(w int) {
	x.workers[w].waiting = false
	x.failures |= 1 << w
}

// checkFailures checks that each failed resolution is followed by another, if only
// by one that is under way (S6).
func (x *World) checkFailures() {
	for w := range x.cfg.Workers {
		if b := &x.book.workers[w]; x.failures>>w&1 != 0 && x.workers[w].current() && !b.owed && !b.flying {
			x.fail("S6", "the resolution of w%d has failed, and no other will follow", w+1)
		}
	}
}

func (x *World) timePasses(i int) {
	d := Unit
	if len(x.cfg.Passes) > 0 {
		d = x.cfg.Passes[i]
	}
	x.now += assign.Time(d)
	x.say("advance %v", d)
}

func (x *World) tick() {
	before, _ := x.machine.Quiet()
	x.ticks++
	x.step(assign.Event{Kind: assign.Tick})
	after, _ := x.machine.Quiet()
	for w := range x.cfg.Workers {
		if k := &x.book.workers[w]; !k.owed || k.flying || k.due > x.now {
			continue
		}
		switch {
		case after < x.cfg.Calls:
			x.fail("B4", "w%d is due, and a call is free", w+1)
		case x.cfg.Batch && after > before:
			x.fail("B4", "w%d is due, and not part of the call that was made", w+1)
		}
	}
}

// step steps the machine and performs the effects, as the mapper's loop does.
func (x *World) step(ev assign.Event) {
	first := len(x.effects) == 0
	x.sayEvent(ev)
	x.seen.events |= 1 << ev.Kind
	effects := x.machine.Step(x.now, ev)
	for _, f := range effects {
		x.sayEffect(f)
	}
	x.book.check(x, ev, effects)
	x.effects = append(x.effects, effects...)
	if !first {
		return // an effect led to ev; the outer step goes on with its effects
	}
	done := 0
	for done < len(x.effects) { // an effect may add more
		x.perform(x.effects[done])
		done++
	}
	x.effects = x.effects[:0]
}

func (x *World) perform(f assign.Effect) {
	x.seen.effects |= 1 << f.Kind
	switch f.Kind {
	case assign.Ask:
		x.ask(int(f.Worker))
	case assign.Call:
		x.call()
	case assign.Spawn:
		x.alone(int(f.Conn))
		x.awaited(int(f.Conn))
		x.conns[f.Conn] = true
	case assign.Send:
		x.send(int(f.Worker), int8(f.Executor))
	case assign.Full:
		if x.workers[f.Worker].current() {
			x.failed(int(f.Worker))
		}
	case assign.Retire:
		x.retire(int(f.Executor))
	case assign.Resume:
		x.executors[f.Executor].retiring = false
	case assign.Stop:
		x.stop(int8(f.Executor))
	case assign.ForgetWorker:
		if k := &x.workers[f.Worker]; k.inCall || k.seen {
			x.fail("S9", "w%d is forgotten too early", f.Worker+1)
		}
		x.known.workers &^= 1 << f.Worker
	case assign.ForgetConn:
		x.alone(int(f.Conn))
		x.known.conns &^= 1 << f.Conn
	}
}

func (x *World) ask(w int) {
	k := &x.workers[w]
	if k.inCall || slices.Contains(x.asked, int8(w)) {
		x.fail("S9", "w%d is asked for twice", w+1)
	}
	if !k.seen {
		x.fail("S5", "w%d is dead and asked for", w+1)
	}
	k.trigger = triggerNone // also of a life not yet seen: that one is resolved anyway
	if k.current() {
		k.ours, k.debt = true, false
	}
	x.asked = append(x.asked, int8(w))
}

func (x *World) call() {
	n := 0
	for n < x.cfg.Calls && x.calls[n].n > 0 {
		n++
	}
	switch {
	case n == x.cfg.Calls:
		x.fail("S10", "more calls than %d", x.cfg.Calls)
	case len(x.asked) == 0, !x.cfg.Batch && len(x.asked) > 1:
		x.fail("B4", "a call for %d workers", len(x.asked))
	default:
		i := n
		for ; i > 0 && x.calls[i-1].workers[0] > x.asked[0]; i-- {
			x.calls[i] = x.calls[i-1]
		}
		x.calls[i] = call{n: int8(len(x.asked))}
		copy(x.calls[i].workers[:], x.asked)
		for _, w := range x.asked {
			x.workers[w].inCall = true
		}
	}
	x.asked = x.asked[:0]
}

// alone checks that no executor of c exists or is to come (S2).
func (x *World) alone(c int) {
	if x.conns[c] {
		x.fail("S2", "c%d is spawning", c+1)
	}
	if e := x.executorOf(c); x.executors[e].state != gone {
		x.fail("S2", "c%d has e%d", c+1, e+1)
	}
}

// awaited checks that somebody who waits for c has room for its executor (S3).
func (x *World) awaited(c int) {
	for w := range x.cfg.Workers {
		if unread, capacity := x.room(w); int(x.book.workers[w].awaits) == c && unread < capacity {
			return
		}
	}
	x.fail("S3", "an executor of c%d is spawned, and nobody who waits for it has room", c+1)
}

func (x *World) send(w int, e int8) {
	k := &x.workers[w]
	if !k.seen {
		x.fail("S5", "w%d is dead and is sent e%d", w+1, e+1)
	}
	if !k.current() {
		return // S5: its end is on its way to the machine
	}
	if k.unread == uint8(x.cfg.Room) {
		x.fail("S6", "w%d is sent e%d, and its channel is full", w+1, e+1)
		return
	}
	if k.foreign {
		k.foreign = false
		x.failed(w)
		x.step(assign.Event{Kind: assign.SendFailed, Worker: assign.Worker(w)})
		return
	}
	switch {
	case x.executors[e].state != up:
		x.fail("S1", "w%d is sent e%d, which was stopped", w+1, e+1)
	case !k.waiting || k.answer != x.connOf(e):
		x.fail("S4", "w%d is sent e%d, and was not resolved to c%d", w+1, e+1, x.connOf(e)+1)
	}
	k.channel[k.unread] = e
	k.unread++
	k.waiting = false
}

func (x *World) retire(e int) {
	k := &x.executors[e]
	if k.state != up {
		x.fail("S3", "e%d is retired, and is not there", e+1)
	}
	if k.retiring = k.leases > 0; !k.retiring {
		x.step(assign.Event{Kind: assign.Closed, Executor: assign.Executor(e)})
	}
}

func (x *World) stop(e int8) {
	k := &x.executors[e]
	if k.state != up {
		x.fail("S3", "e%d is stopped, and is not there", e+1)
	}
	if k.leases > 0 {
		x.fail("S1", "e%d is stopped, and a lease is out on it", e+1)
	}
	for w := range x.cfg.Workers {
		if x.workers[w].holds(e) {
			x.fail("S1", "e%d is stopped, and w%d holds it", e+1, w+1)
		}
	}
	k.state, k.failed, k.unpinned = stopping, false, false
}
