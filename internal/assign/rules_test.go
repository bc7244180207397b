package assign

import (
	"errors"
	"slices"
)

// What a scenario's surroundings know, and the rules that can be told from it.

// broken notes in the scenario that a rule of the contract does not hold.
func (r *runner) broken(rule, format string, args ...any) {
	r.say("!"+rule+": "+format, args...)
}

// before notes what an event says, and refuses one that cannot happen: a
// scenario of those shows nothing.
func (r *runner) before(ev Event) error {
	switch ev.Kind {
	case Spawned:
		if c := r.channel(ev.Worker); !c.alive {
			*c = channel{capacity: c.capacity, using: none, alive: true}
		}
	case Stopped:
		r.channel(ev.Worker).alive = false
		delete(r.answers, ev.Worker)
		if _, flying := r.asked[ev.Worker]; flying {
			r.old[ev.Worker] = true
		}
	case Answered, Refused:
		if _, flying := r.asked[ev.Worker]; !flying {
			return errors.New("it was not asked for")
		}
		if ev.Kind == Answered && !r.old[ev.Worker] {
			r.answers[ev.Worker] = ev.Conn
		}
		delete(r.asked, ev.Worker)
		delete(r.old, ev.Worker)
	case ExecutorUp, SpawnFailed, ExecutorUnfit:
		if !r.spawning[ev.Conn] {
			return errors.New("no spawn is under way")
		}
		delete(r.spawning, ev.Conn)
		if ev.Kind == SpawnFailed {
			break
		}
		if _, exists := r.conns[ev.Executor]; exists {
			return errors.New("that executor exists")
		}
		r.conns[ev.Executor] = ev.Conn
	case BrokerFailed:
		delete(r.failed, ev.Executor)
		fallthrough
	case Unpinned:
		if _, exists := r.conns[ev.Executor]; !exists {
			return errors.New("no such executor")
		}
	case Closed:
		if !r.pinned[ev.Executor] {
			return errors.New("it was not asked to retire")
		}
		delete(r.pinned, ev.Executor)
	case ExecutorDown:
		if !r.stopping[ev.Executor] {
			return errors.New("it was not asked to stop")
		}
		delete(r.stopping, ev.Executor)
		delete(r.conns, ev.Executor)
	case SendFailed:
		if _, sent := r.sent[ev.Worker]; !sent {
			return errors.New("nothing was sent to it just now")
		}
		c := r.channel(ev.Worker)
		c.unread = c.unread[:len(c.unread)-1]
	}
	return nil
}

// effect writes f down, performs it and watches the rules.
func (r *runner) effect(f Effect) {
	switch f.Kind {
	case Ask:
		r.say("ask w%d", f.Worker+1)
		if _, flying := r.asked[f.Worker]; flying {
			r.broken("S9", "w%d is being resolved", f.Worker+1)
		}
		if !r.channel(f.Worker).alive {
			r.broken("S5", "w%d is dead", f.Worker+1)
		}
		r.asked[f.Worker] = r.now
	case Call:
		r.say("call")
	case Spawn:
		r.say("spawn c%d", f.Conn+1)
		r.checkAlone(f.Conn)
		r.spawning[f.Conn] = true
	case Send:
		r.say("send w%d e%d", f.Worker+1, f.Executor+1)
		r.checkSend(f.Worker, f.Executor)
		if c := r.channel(f.Worker); !c.gone {
			c.unread = append(slices.Clip(c.unread), f.Executor)
			r.sent[f.Worker] = f.Executor
		}
	case Full:
		r.say("full w%d", f.Worker+1)
	case Retire:
		r.say("retire e%d", f.Executor+1)
		r.pinned[f.Executor] = true
	case Resume:
		r.say("resume e%d", f.Executor+1)
		delete(r.pinned, f.Executor)
	case Stop:
		r.say("stop e%d", f.Executor+1)
		r.checkStop(f.Executor)
		r.stopping[f.Executor] = true
	case ForgetWorker:
		r.say("forget w%d", f.Worker+1)
		if r.channel(f.Worker).alive {
			r.broken("S6", "w%d lives", f.Worker+1)
		}
		if _, flying := r.asked[f.Worker]; flying {
			r.broken("S9", "w%d is forgotten, and is being resolved", f.Worker+1)
		}
	case ForgetConn:
		r.say("forget c%d", f.Conn+1)
		r.checkAlone(f.Conn)
	}
}

// checkAlone checks that nothing of c exists (S2).
func (r *runner) checkAlone(c Conn) {
	if r.spawning[c] {
		r.broken("S2", "c%d is spawning", c+1)
	}
	for e, of := range r.conns {
		if of == c {
			r.broken("S2", "c%d has e%d", c+1, e+1)
		}
	}
}

func (r *runner) checkSend(w Worker, e Executor) {
	c := r.channel(w)
	of, exists := r.conns[e]
	switch answer, answered := r.answers[w]; {
	case !c.alive:
		r.broken("S5", "w%d is dead", w+1)
	case c.gone:
	case !exists || r.stopping[e]:
		r.broken("S1", "e%d was asked to stop", e+1)
	case !answered || of != answer:
		r.broken("S4", "w%d was not resolved to c%d", w+1, of+1)
	case len(c.unread) >= c.capacity:
		r.broken("S6", "the channel of w%d is full", w+1)
	}
}

func (r *runner) checkStop(e Executor) {
	if _, exists := r.conns[e]; !exists || r.stopping[e] {
		r.broken("S3", "e%d does not exist, or is stopping", e+1)
	}
	for w, c := range r.channels {
		if c.alive && !c.gone && (c.using == e || slices.Contains(c.unread, e)) {
			r.broken("S1", "w%d holds e%d", w+1, e+1)
		}
	}
}
