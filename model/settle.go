package model

import "bytes"

// Liveness is checked in two halves. In surroundings that want nothing new and in
// which all goes well (workers drain their channels, calls return, the resolver
// is stable, time passes) each state has one next action, by a policy, which is
// one of its actions anyway. So that the system comes to rest from everywhere is
// that these actions go round no circle, see fates; and that what must happen has
// happened by then is checked of every state in which the system rests. Leases
// that are released then, and workers that stop, lead to such states again.

// A policy says what happens next where all goes well.
type policy int

// eager has the mapper look first, and resolves all workers to the first
// connection. lazy has all that is under way end first, and resolves each worker
// to a connection of its own.
const (
	eager policy = iota
	lazy
	policies
)

// orders are those in which the policies look for something to happen. Workers
// read, and the mapper looks, before it asks again: without backoff, one that has
// no room is asked for again and again.
var orders = [policies][7]func(*World) (Action, bool){
	eager: {(*World).flagsTaken, (*World).looked, (*World).wasRead, eager.callReturned, (*World).spawnReturned, (*World).stopReturned, (*World).ticked},
	lazy:  {(*World).stopReturned, lazy.callReturned, (*World).spawnReturned, (*World).wasRead, (*World).looked, (*World).flagsTaken, (*World).ticked},
}

// next returns the next thing that happens by policy p. Where nothing does, the
// system rests.
func (p policy) next(x *World) (Action, bool) {
	for _, step := range orders[p] {
		if a, ok := step(x); ok {
			if p == lazy && x.cfg.Timeless {
				a.Early = uint8(x.schedules(a))
			}
			return a, true
		}
	}
	retries, looks := x.armed()
	switch {
	case retries|looks == 0:
		return Action{}, false
	case x.cfg.Timeless:
		return Action{Kind: Tick, Choice: retries | looks<<tickLooks}, true
	}
	return Action{Kind: TimePasses, Choice: uint16(max(0, len(x.cfg.Passes)-1))}, true
}

func (x *World) flagsTaken() (Action, bool) {
	return Action{Kind: TakeFlags}, x.flagged()
}

func (x *World) looked() (Action, bool) {
	for w := range x.cfg.Workers {
		if x.worthALook(w) {
			return Action{Kind: Look, On: uint8(w)}, true
		}
	}
	return Action{}, false
}

func (x *World) wasRead() (Action, bool) {
	for w := range x.cfg.Workers {
		if x.workers[w].unread > 0 {
			return Action{Kind: Read, On: uint8(w)}, true
		}
	}
	return Action{}, false
}

func (p policy) callReturned(x *World) (Action, bool) {
	for i := range x.cfg.Calls {
		c := &x.calls[i]
		if c.n == 0 {
			continue
		}
		choice := 0
		for j := int(c.n) - 1; j >= 0; j-- {
			choice *= x.cfg.Conns + 1
			if p == lazy {
				choice += int(c.workers[j]) % x.cfg.Conns
			}
		}
		return Action{Kind: CallReturns, On: uint8(i), Choice: uint16(choice * 2)}, true
	}
	return Action{}, false
}

func (x *World) spawnReturned() (Action, bool) {
	for c := range x.cfg.Conns {
		if x.conns[c] {
			return Action{Kind: SpawnReturns, On: uint8(c)}, true
		}
	}
	return Action{}, false
}

func (x *World) stopReturned() (Action, bool) {
	for e := range x.cfg.Conns {
		if x.executors[e].state == stopping {
			return Action{Kind: StopReturns, On: uint8(e)}, true
		}
	}
	return Action{}, false
}

func (x *World) ticked() (Action, bool) { return Action{Kind: Tick}, x.due() }

// checkRest checks a state in which nothing happens any more.
func (x *World) checkRest() {
	if _, ok := x.machine.Next(); ok {
		x.fail("L6", "nothing happens any more, and a timer is armed")
	}
	living, leases := 0, 0
	for w := range x.cfg.Workers {
		x.checkServed(w)
		if x.workers[w].alive {
			living++
		}
	}
	for e := range x.cfg.Conns {
		k := &x.executors[e]
		leases += int(k.leases)
		held := false
		for w := range x.cfg.Workers {
			held = held || x.workers[w].holds(int8(e))
		}
		if k.state != gone && !held && k.leases == 0 {
			x.fail("L4", "nothing happens any more, and e%d is unused and not stopped", e+1)
		}
	}
	if living+leases > 0 {
		return
	}
	if calls, quiet := x.machine.Quiet(); calls > 0 || !quiet {
		x.fail("L5", "all have stopped, and the machine is not quiet")
	}
	var few [64]byte
	if got := x.machine.AppendState(few[:0], x.now, x.hold); !bytes.Equal(got, x.empty) {
		x.fail("S8", "all have stopped, and the machine remembers %x", got)
	}
}

// checkServed checks what has become of w.
func (x *World) checkServed(w int) {
	k, b := &x.workers[w], &x.book.workers[w]
	switch {
	case !k.alive:
		if b.alive || b.flying {
			x.fail("S5", "w%d is dead, and the machine knows of it", w+1)
		}
	case k.debt:
		x.fail("L2", "a trigger of w%d is owed a resolution, and none has started", w+1)
	case k.using == none:
		x.fail("L1", "w%d is not served", w+1)
	case x.connOf(k.using) != k.answer:
		x.fail("L3", "w%d uses e%d, and was resolved to c%d", w+1, k.using+1, k.answer+1)
	case b.several():
		x.fail("L4", "w%d uses e%d, and is taken to hold %v", w+1, k.using+1, b.holds[:b.n])
	case b.owed || b.flying || b.awaits != none:
		x.fail("L6", "of w%d something is left: %+v", w+1, *b)
	}
}

// Finish has all go well from here, by the eager policy or the lazy one, until x
// rests; then all leases are released and, when x rests again, all workers stop.
// It returns the first rule that is broken.
func (x *World) Finish(lazily bool) error {
	p := eager
	if lazily {
		p = lazy
	}
	if err := x.rest(p); err != nil {
		return err
	}
	for e := range x.cfg.Conns {
		for x.executors[e].leases > 0 {
			if err := x.Do(Action{Kind: ReleaseLease, On: uint8(e)}); err != nil {
				return err
			}
		}
	}
	if err := x.rest(p); err != nil {
		return err
	}
	for w := range x.cfg.Workers {
		if !x.workers[w].alive {
			continue
		}
		if err := x.Do(Action{Kind: WorkerStopped, On: uint8(w)}); err != nil {
			return err
		}
	}
	return x.rest(p)
}

// rest lets the system come to rest.
func (x *World) rest(p policy) error {
	const enough = 1000
	for range enough {
		a, ok := p.next(x)
		if !ok {
			if x.checkRest(); x.broken != nil {
				return x.broken
			}
			return nil
		}
		if err := x.Do(a); err != nil {
			return err
		}
	}
	return &Violation{Rule: "L6", Text: "it does not come to rest"}
}
