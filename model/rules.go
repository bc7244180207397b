package model

// checkState checks the rules that hold in every state between two actions, and
// that what the machine remembers is what has happened.
func (x *World) checkState() {
	if err := x.machine.Check(x.hold); err != nil {
		x.fail("machine", "%v", err)
	}
	holds, timers, ready := x.machine.Records()
	if w := x.cfg.Workers; holds > w*(x.cfg.Room+1) || timers > 4*w || ready > 4*w {
		x.fail("S8", "%d records of holds, %d of timers, %d of workers that are due", holds, timers, ready)
	}
	for w := range x.cfg.Workers {
		x.checkWorker(w)
	}
	for e := range x.cfg.Conns {
		x.checkExecutor(e)
	}
	if workers, conns := x.inUse(); x.known.workers != workers || x.known.conns != conns {
		x.fail("S8", "handles of workers %b and connections %b are in use, and %b and %b not forgotten", workers, conns, x.known.workers, x.known.conns)
	}
	for c := range x.cfg.Conns {
		if spawning := x.book.conns[c].state == bookSpawning; spawning != x.conns[c] {
			x.fail("machine", "c%d is spawning: %v, the machine says %v", c+1, x.conns[c], spawning)
		}
	}
}

func (x *World) checkWorker(w int) {
	k, b := &x.workers[w], &x.book.workers[w]
	if k.seen != b.alive || k.inCall != b.flying {
		x.fail("machine", "w%d is seen: %v, in a call: %v; the machine says %v, %v", w+1, k.seen, k.inCall, b.alive, b.flying)
	}
	if int(b.n) > x.cfg.Room+1 {
		x.fail("S8", "the machine remembers %d holds of w%d", b.n, w+1)
	}
	if b.awaits != none && b.awaits < MaxConns {
		if s := x.book.conns[b.awaits].state; s != bookSpawning && s != bookStopping {
			x.fail("L1", "w%d awaits c%d, of which nothing is to come", w+1, b.awaits+1)
		}
	}
	if !k.current() {
		return // a look at it is to come, and will end all that the machine knows
	}

	// What it holds, the machine must take it to hold; more for as long as it has
	// not looked.
	var held [maxRoom + 1]int8
	n := 0
	if k.using != none {
		held[n] = k.using
		n++
	}
	n += copy(held[n:], k.channel[:k.unread])
	if n > int(b.n) {
		x.fail("S1", "w%d holds %v, the machine knows of %v", w+1, held[:n], b.holds[:b.n])
		return
	}
	for i, e := range b.holds[int(b.n)-n : b.n] {
		if e != held[i] {
			x.fail("S1", "w%d holds %v, the machine knows of %v", w+1, held[:n], b.holds[:b.n])
		}
	}

	// Nothing that is owed can be forgotten: something that leads to it is there.
	if k.debt && !b.owed && k.trigger != triggerSet && !x.reportsTo(b) {
		x.fail("L2", "a trigger of w%d is owed a resolution, and none is to come", w+1)
	}
	if k.trigger == triggerTold && !b.owed {
		x.fail("L2", "the mapper was told of the trigger of w%d, and a resolution is not owed", w+1)
	}
	if n == 0 && !b.owed && !b.flying && b.awaits == none {
		x.fail("L1", "w%d holds nothing, and nothing is to come", w+1)
	}
	if k.waiting && b.awaits != k.answer {
		x.fail("L1", "w%d was resolved to c%d, and awaits %d", w+1, k.answer+1, b.awaits+1)
	}
}

// reportsTo: a report that is not yet taken is of an executor that the machine
// takes the worker to hold.
func (x *World) reportsTo(b *bookWorker) bool {
	for _, e := range b.holds[:b.n] {
		if x.executors[e].failed {
			return true
		}
	}
	return false
}

func (x *World) checkExecutor(e int) {
	k := &x.executors[e]
	if k.state == gone {
		return
	}
	b := &x.book.conns[x.connOf(int8(e))]
	want := bookLive
	if k.state == stopping {
		want = bookStopping
	}
	if b.state != want || int(b.executor) != e {
		x.fail("machine", "e%d is in state %d, the machine knows of e%d in state %d", e+1, want, b.executor+1, b.state)
	}
	if k.state == stopping && k.leases > 0 {
		x.fail("S1", "a lease is out on e%d, which was stopped", e+1)
	}
	if k.retiring && k.leases == 0 && !k.unpinned {
		x.fail("L4", "e%d retires, no lease is out, and nobody says so", e+1)
	}
}
