package mapper

import (
	"fmt"

	"github.com/brokermap/brokermap/internal/shardmap"
)

// OnWorkerSpawned tells the mapper that w lives from now on and wants an
// assignment. It reads w's Assignment.
//
// It panics where w is nil or no map key, or where its channel is nil or
// unbuffered: nothing has changed then. For a worker that lives already, and
// after Stop or Shutdown, it is a no-op that Stats counts.
//
// Like all notifications it never blocks and never waits for another caller or
// for the mapper. It is lock-free, but for the wake-up of a sleeping mapper, which
// takes the runtime's lock of a one-element channel for some instructions; and
// the 33rd notification that finds the mapper woken, but not yet running, starts an
// empty goroutine, which has an idle processor take the mapper sooner: that may take
// locks of the runtime's scheduler. It may be called from anywhere, resolver and
// executor callbacks included.
func (m *T) OnWorkerSpawned(w Worker) {
	h, ok := m.workers.Hash(w)
	if !ok {
		if w == nil {
			panic("mapper: OnWorkerSpawned(nil): a worker must not be nil")
		}
		panic(fmt.Sprintf("mapper: OnWorkerSpawned(%T): a worker must be comparable, best a pointer", w))
	}
	if same := w; same != w {
		panic(fmt.Sprintf("mapper: OnWorkerSpawned(%T): a worker must be equal to itself, and a NaN is not", w))
	}
	e := m.find(w)
	if e != nil {
		if word := e.Value.word.Load(); word&aliveBit != 0 {
			m.repeatedSpawn(e, word)
			return
		}
	}
	if m.gate.closed() {
		m.counters.spawnsAfterStop.Inc()
		return
	}
	ch := w.Assignment()
	switch {
	case ch == nil:
		panic(fmt.Sprintf("mapper: OnWorkerSpawned(%s): its Assignment() is nil: it must be a buffered channel", nameOf(w)))
	case cap(ch) == 0:
		panic(fmt.Sprintf("mapper: OnWorkerSpawned(%s): its Assignment() is unbuffered: it must be a buffered channel", nameOf(w)))
	}
	m.trace.begin()
	if !m.gate.enter() {
		m.trace.cancel()
		m.counters.spawnsAfterStop.Inc()
		return
	}
	seat := m.offered(w)
	var fresh *workerEntry
	for {
		if e == nil {
			if fresh == nil {
				fresh = shardmap.NewEntry[Worker, slot](w)
				fresh.Value.init(ch)
			}
			var loaded bool
			if e, loaded = m.workers.LoadOrInsert(fresh, h); !loaded {
				break
			}
		}
		r := e.Value.revive(ch)
		if r == revived {
			break
		}
		if r == living {
			m.trace.cancel()
			m.repeatedSpawn(e, 0)
			m.leave()
			return
		}
		m.workers.Remove(e, h) // the mapper is about to; do not wait for it
		e = nil
	}
	m.trace.did("WorkerSpawned", w)
	seat.point(m, e)
	if e == fresh {
		m.tellFresh(e)
	} else {
		m.tell(e, 0)
	}
}

// repeatedSpawn is for a worker that lives, and whose word was w. Who began that
// life may not have told the mapper yet.
func (m *T) repeatedSpawn(e *workerEntry, w uint64) {
	m.counters.repeatedSpawns.Inc()
	if w&sentBit == 0 {
		m.tell(e, w)
	}
}

// OnWorkerStopped tells the mapper that w's life has ended: it uses no executor
// any more and is sent nothing more, save by a send already under way, which is
// not held. For a worker that does not live it is a no-op that Stats counts.
func (m *T) OnWorkerStopped(w Worker) {
	e := m.find(w)
	if e == nil {
		m.counters.unknownWorkers.Inc()
		return
	}
	m.trace.begin()
	last := e.Value.end()
	m.trace.didIf(last&aliveBit != 0, "WorkerStopped", w)
	if last&aliveBit == 0 {
		m.counters.unknownWorkers.Inc()
		if last&retiredBit == 0 {
			m.tell(e, last) // who ended it may not have told the mapper yet
		}
		return
	}
	m.tell(e, last)
	m.leave()
}

// TriggerReassign tells the mapper that w wants to be resolved again, for
// instance because a broker said that it does not serve w. A resolution that
// begins later follows, at once or when Config.Backoff allows it, and then a
// send on w's channel, of the same executor where nothing has changed. It may
// be repeated at will. For a worker that does not live it is a no-op that Stats
// counts.
func (m *T) TriggerReassign(w Worker) {
	e := m.find(w)
	if e == nil {
		m.counters.unknownWorkers.Inc()
		return
	}
	m.trace.begin()
	word, tell, on := e.Value.trigger()
	m.trace.didIf(on, "TriggerReassign", w)
	switch {
	case !on:
		m.counters.unknownWorkers.Inc()
	case tell:
		m.tell(e, word)
		e.Value.told(word)
	}
}

// BrokerFailed tells the mapper that e's connection is broken; err, for the log,
// says how. It is a TriggerReassign for every worker that holds e. e itself goes
// on being used while its connection is what workers resolve to. For an executor
// that the mapper does not know (any more) it is a no-op that Stats counts; for
// one that SpawnExecutor is about to return it counts for the workers that will
// be sent it.
func (m *T) BrokerFailed(e Executor, err error) {
	h, ok := m.executors.Hash(e)
	if !ok {
		m.counters.unknownExecutors.Inc()
		return
	}
	x := m.executors.Load(e, h)
	if x == nil {
		m.early.note(h)
		if x = m.executors.Load(e, h); x == nil {
			m.counters.unknownExecutors.Inc()
			return
		}
	}
	m.trace.begin()
	x.Value.fail(err)
	m.flag()
	m.trace.failed(x)
}

// tell has the mapper's goroutine look at e, whose word was w. Where the ring is
// full it will look at all workers that it knows, in the order in which they lie
// in memory; a worker that was sent an executor is known. Where that is not
// certain it will look at all there are. All of it may be repeated, so nobody
// relies on another caller's getting to its end.
func (m *T) tell(e *workerEntry, w uint64) {
	if m.ring.Push(e) {
		return
	}
	if w&sentBit == 0 {
		raise(&m.unknown)
	}
	raise(&m.overflow)
	m.ring.Wake()
}

// tellFresh is tell for an entry that the caller has just inserted. There may be
// a million at once, more than any ring holds, and the caller has allocated
// already: so they go on a stack, and the mapper need not look for them.
func (m *T) tellFresh(e *workerEntry) {
	if !m.ring.Push(e) {
		m.fresh.push(e)
		m.ring.Wake()
	}
}

// flag has the mapper's goroutine look at the flags of all executors.
func (m *T) flag() {
	raise(&m.flagged)
	m.ring.Wake()
}

func (m *T) leave() {
	if m.gate.leave() {
		m.ring.Wake()
	}
}
