package model

import "fmt"

// ActionKind names what can happen. The names are those of steps of the
// specification.
type ActionKind uint8

// What can happen.
const (
	WorkerSpawned ActionKind = iota + 1
	WorkerStopped
	TriggerReassign
	Read         // the worker takes an executor from its channel
	BrokerFailed // an executor is reported, which raises its flag
	AcquireLease // on what a worker was sent last
	ReleaseLease // on an executor
	SomebodyElse // will send on a worker's channel, against the rules, just before the mapper does
	Look         // the mapper looks at a worker's slot
	TakeFlags    // the mapper looks at the flags of all executors
	CallReturns  // a call of the resolver
	SpawnReturns // with an executor
	SpawnSuspect // the same, and its failure was reported before
	SpawnNil     // without one
	SpawnUnfit   // with one of another connection
	StopReturns  // an executor has stopped
	TimePasses   //
	Tick         // the mapper fires timers and starts what is due
	endOfActions
)

// NumActionKinds is how many there are; they count from 1.
const NumActionKinds = int(endOfActions) - 1

var actionNames = [endOfActions]string{
	WorkerSpawned: "WorkerSpawned", WorkerStopped: "WorkerStopped", TriggerReassign: "TriggerReassign", Read: "Read",
	BrokerFailed: "BrokerFailed", AcquireLease: "AcquireLease", ReleaseLease: "ReleaseLease", SomebodyElse: "SomebodyElse",
	Look: "Look", TakeFlags: "TakeFlags", CallReturns: "CallReturns", SpawnReturns: "SpawnReturns",
	SpawnSuspect: "SpawnSuspect", SpawnNil: "SpawnNil", SpawnUnfit: "SpawnUnfit", StopReturns: "StopReturns",
	TimePasses: "TimePasses", Tick: "Tick",
}

func (k ActionKind) String() string { return actionNames[k] }

// Action is one step: a kind, and what it happens to.
type Action struct {
	Kind ActionKind
	// On is a worker, an executor, a connection or a call, as the kind has it.
	On uint8
	// Choice says how: see choices below.
	Choice uint16
	// Early, if Timeless, are the workers whose last resolution began so recently
	// that their next one has to wait.
	Early uint8
}

// The Choice of a CallReturns says for each worker asked the connection that it is
// resolved to, or the number of connections for an error: digits to that base plus
// one, the first worker's the lowest; twice that, plus 1 where the call has only
// just begun. The Choice of a TimePasses says how far. That of a Tick, if
// Timeless, has the workers whose retry timers fire, those whose channels are
// looked at, and whether they fire in the order of workers or backward.
const (
	tickLooks    = MaxWorkers // bits
	tickBackward = 1 << (2 * MaxWorkers)
)

func (a Action) String() string {
	on := ""
	switch a.Kind {
	case TakeFlags:
	case Tick:
		if a.Choice != 0 {
			on = fmt.Sprintf("(fired %b, looks %b", a.Choice&(1<<tickLooks-1), a.Choice>>tickLooks&(1<<tickLooks-1))
			if a.Choice&tickBackward != 0 {
				on += ", backward"
			}
			on += ")"
		}
	case CallReturns:
		on = fmt.Sprintf("(call %d, %d)", a.On+1, a.Choice)
	case BrokerFailed, ReleaseLease, StopReturns:
		on = fmt.Sprintf("(e%d)", a.On+1)
	case SpawnReturns, SpawnSuspect, SpawnNil, SpawnUnfit:
		on = fmt.Sprintf("(c%d)", a.On+1)
	case TimePasses:
		on = fmt.Sprintf("(%d)", a.Choice)
	default:
		on = fmt.Sprintf("(w%d)", a.On+1)
	}
	if a.Early != 0 {
		on += fmt.Sprintf(", early %b", a.Early)
	}
	return a.Kind.String() + on
}

// Actions appends what can happen next.
func (x *World) Actions(as []Action) []Action {
	b, u := &x.cfg.Budget, &x.used
	for w := range x.cfg.Workers {
		k := &x.workers[w]
		if !k.alive && left(b.Lives, u.lives, 1) {
			as = append(as, Action{Kind: WorkerSpawned, On: uint8(w)})
		}
		if k.alive && left(b.Stops, u.stops, 1) {
			as = append(as, Action{Kind: WorkerStopped, On: uint8(w)})
		}
		// A repeated one finds its bit set and is done.
		if k.alive && k.trigger == triggerNone && left(b.Triggers, u.triggers, 1) {
			as = append(as, Action{Kind: TriggerReassign, On: uint8(w)})
		}
		if x.worthALook(w) {
			as = x.earlyOrNot(as, Action{Kind: Look, On: uint8(w)})
		}
		if k.unread > 0 {
			as = append(as, Action{Kind: Read, On: uint8(w)})
		}
		if x.cfg.SendsFail && !k.foreign {
			as = append(as, Action{Kind: SomebodyElse, On: uint8(w)})
		}
		if e := k.last(); k.current() && e != none && left(b.Leases, u.leases, 1) && int(x.executors[e].leases) < max(1, x.cfg.MaxLeases) {
			as = append(as, Action{Kind: AcquireLease, On: uint8(w)})
		}
	}
	for e := range x.cfg.Conns {
		k := &x.executors[e]
		if k.state == up && !k.failed && left(b.Reports, u.reports, 1) {
			as = append(as, Action{Kind: BrokerFailed, On: uint8(e)})
		}
		if k.leases > 0 {
			as = append(as, Action{Kind: ReleaseLease, On: uint8(e)})
		}
		if k.state == stopping {
			as = x.earlyOrNot(as, Action{Kind: StopReturns, On: uint8(e)})
		}
	}
	if x.flagged() {
		as = x.earlyOrNot(as, Action{Kind: TakeFlags})
	}
	for i := range x.cfg.Calls {
		as = x.outcomes(as, i)
	}
	for c := range x.cfg.Conns {
		if x.conns[c] {
			as = x.spawnOutcomes(as, uint8(c))
		}
	}
	return x.passings(as)
}

func (x *World) spawnOutcomes(as []Action, c uint8) []Action {
	b, u := &x.cfg.Budget, &x.used
	as = x.earlyOrNot(as, Action{Kind: SpawnReturns, On: c})
	if left(b.Reports, u.reports, 1) {
		as = x.earlyOrNot(as, Action{Kind: SpawnSuspect, On: c})
	}
	if left(b.Nils, u.nils, 1) {
		as = x.earlyOrNot(as, Action{Kind: SpawnNil, On: c})
	}
	if left(b.Unfits, u.unfits, 1) {
		as = x.earlyOrNot(as, Action{Kind: SpawnUnfit, On: c})
	}
	return as
}

// passings appends what time brings about.
func (x *World) passings(as []Action) []Action {
	switch {
	case x.cfg.Timeless:
		return x.tickings(as)
	case x.due():
		return append(as, Action{Kind: Tick})
	}
	// The mapper is awake for a shorter time than any wait takes: it has fired what
	// was due before more time passes.
	for i := range max(1, len(x.cfg.Passes)) {
		as = append(as, Action{Kind: TimePasses, Choice: uint16(i)})
	}
	return as
}

// tickings appends a Tick for each set of timers that may fire.
func (x *World) tickings(as []Action) []Action {
	retries, looks := x.armed()
	for fired := range retries + 1 {
		if fired&^retries != 0 {
			continue
		}
		for looked := range looks + 1 {
			if looked&^looks != 0 || fired|looked == 0 && !x.due() {
				continue
			}
			a := Action{Kind: Tick, Choice: fired | looked<<tickLooks}
			as = x.earlyOrNot(as, a)
			if several := fired | looked; several&(several-1) != 0 {
				a.Choice |= tickBackward
				as = x.earlyOrNot(as, a)
			}
		}
	}
	return as
}

// armed returns the workers that have a retry timer, and those whose channels are
// to be looked at.
func (x *World) armed() (retries, looks uint16) {
	for w := range x.cfg.Workers {
		k := &x.book.workers[w]
		if k.owed && !k.flying && k.due > x.now {
			retries |= 1 << w
		}
		if k.several() {
			looks |= 1 << w
		}
	}
	return retries, looks
}

// earlyOrNot appends a for each way in which the workers that it may schedule have
// to wait.
func (x *World) earlyOrNot(as []Action, a Action) []Action {
	if !x.cfg.Timeless {
		return append(as, a)
	}
	all := x.schedules(a)
	for early := range all + 1 {
		if early&^all == 0 {
			a.Early = uint8(early)
			as = append(as, a)
		}
	}
	return as
}

// schedules returns the workers to which a may give something to wait for.
func (x *World) schedules(a Action) (all int) {
	for w := range x.cfg.Workers {
		k, b, may := &x.workers[w], &x.book.workers[w], false
		if !b.alive || b.stale || b.owed && !b.flying {
			continue // it has, or will be resolved at once, or not at all
		}
		switch a.Kind {
		case Look:
			may = int(a.On) == w && k.current()
		case CallReturns:
			for _, v := range x.calls[a.On].workers[:x.calls[a.On].n] {
				may = may || int(v) == w
			}
		case SpawnReturns, SpawnSuspect, SpawnNil, SpawnUnfit:
			may = int(b.awaits) == int(a.On)
		case StopReturns:
			may = b.awaits == x.connOf(int8(a.On))
		case TakeFlags:
			may = x.reportsTo(b)
		case Tick:
			may = a.Choice>>tickLooks>>w&1 != 0 && x.reportsTo(b)
		}
		if may {
			all |= 1 << w
		}
	}
	return all
}

// worthALook: there is a hint, and it says something new.
func (x *World) worthALook(w int) bool {
	k := &x.workers[w]
	if k.alive {
		return !k.current() || k.trigger == triggerSet
	}
	return k.seen
}

func (x *World) flagged() bool {
	for e := range x.cfg.Conns {
		if k := &x.executors[e]; k.failed || k.unpinned {
			return true
		}
	}
	return false
}

// due: a Tick would do something.
func (x *World) due() bool {
	if next, ok := x.machine.Next(); ok && next <= x.now {
		return true
	}
	calls, _ := x.machine.Quiet()
	return calls < x.cfg.Calls && x.machine.Ready() > 0
}

// outcomes appends all ways in which call i can return.
func (x *World) outcomes(as []Action, i int) []Action {
	c := &x.calls[i]
	if c.n == 0 {
		return as
	}
	base, all := x.cfg.Conns+1, 1
	for range c.n {
		all *= base
	}
	late := 1
	if x.cfg.Late {
		late = 2
	}
	for choice := range all {
		errors := 0
		for rest, j := choice, int8(0); j < c.n; j++ {
			if rest%base == x.cfg.Conns {
				errors++
			}
			rest /= base
		}
		if errors > 0 && !left(x.cfg.Budget.Refusals, x.used.refusals, errors) {
			continue
		}
		for l := range late {
			as = x.earlyOrNot(as, Action{Kind: CallReturns, On: uint8(i), Choice: uint16(choice*2 + l)})
		}
	}
	return as
}
