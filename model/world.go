package model

import (
	"fmt"
	"strings"
	"time"

	"github.com/brokermap/brokermap/internal/assign"
)

// World is the machine and its surroundings, in one state.
type World struct {
	cfg     *Config
	machine *assign.Machine
	now     assign.Time
	surroundings

	broken   *Violation      // the first broken rule since the last action began
	effects  []assign.Effect // not yet performed
	asked    []int8          // since the last Call
	empty    []byte          // the machine's state when it knows nothing
	book     book            // what the reference says
	learned  book            // what the machine has made of the last event
	wanted   []assign.Effect // the effects that the last event must have
	got      []assign.Effect // those that it had
	ticks    int             // for jitter
	seen     Seen
	cast     Action                         // the one that the machine was loaded for, if Timeless
	failures uint8                          // workers whose resolution has failed in this action
	known    struct{ workers, conns uint8 } // handles in use
	log      *strings.Builder
	hold     assign.Horizon
	view     assign.WorkerState
	link     assign.ConnState
}

// Seen are the kinds of what has happened, as bits.
type Seen struct{ actions, events, effects uint32 }

func (s *Seen) add(t Seen) {
	s.actions |= t.actions
	s.events |= t.events
	s.effects |= t.effects
}

// surroundings is all but the machine.
type surroundings struct {
	workers   [MaxWorkers]worker
	conns     [MaxConns]bool // its executor is being spawned
	executors [MaxConns]executor
	calls     [maxCalls]call // those that are in flight, in the order of their first workers
	used      used
}

// worker is a worker as it is and, where it says so, as the mapper has seen it.
type worker struct {
	alive   bool   // what the slot says
	trigger uint8  // in the slot
	seen    bool   // the mapper takes a life for on
	same    bool   // that life is the one that is on
	left    uint8  // unread in the channel of the life seen, where that has ended
	unread  uint8  // in the channel of the life that is on
	using   int8   // the executor taken last in that life, or none
	channel unread // first to last

	foreign bool // the next send fails, for somebody else was first

	inCall bool // a call that asks for it is in flight
	// What has become of the life that is on. None of it steers anything.
	ours    bool // that call is for that life
	debt    bool // a trigger is owed a resolution that starts later (L2)
	answer  int8 // the connection of the last answer, or none
	waiting bool // it is not yet sent that connection's executor
}

type unread [maxRoom]int8

// The states of a slot's trigger.
const (
	triggerNone = iota
	triggerSet
	triggerTold // the mapper has seen it
)

// executor is the one of a connection: by S2 there is at most one. Its handle is
// another number than that of its connection, and always the same.
type executor struct {
	state    executorState
	leases   uint8
	retiring bool // the count of leases drains
	failed   bool // reported, and the report not yet taken
	unpinned bool // the last lease is released, which is not yet taken
}

type executorState uint8

const (
	gone executorState = iota
	up
	stopping
)

// call is a call of the resolver in flight.
type call struct {
	workers [MaxWorkers]int8 // in the order asked
	n       int8             // 0: none
}

// Violation is a broken rule.
type Violation struct {
	Rule string // of the contract, or "machine" or "book"
	Text string
}

func (v *Violation) Error() string { return v.Rule + ": " + v.Text }

// NewWorld returns the first state of cfg.
func NewWorld(cfg Config) (*World, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	x := &World{cfg: &cfg, now: assign.Time(time.Hour)}
	for w := range x.workers {
		x.workers[w].using, x.workers[w].answer = none, none
	}
	x.machine = assign.New(assign.Config{
		Batch:    cfg.Batch,
		MaxCalls: cfg.Calls,
		Backoff:  func(attempt int) time.Duration { return cfg.backoff(attempt, x.ticks) },
		Room:     func(w assign.Worker) (int, int) { return x.room(int(w)) },
		Failed:   func(e assign.Executor) bool { return x.executors[e].failed },
	})
	x.hold = x.horizon()
	x.empty = x.machine.AppendState(nil, x.now, x.hold)
	x.book.read(x)
	return x, nil
}

// connOf and executorOf map handles.
func (x *World) connOf(e int8) int8   { return int8((int(e) + 1) % x.cfg.Conns) }
func (x *World) executorOf(c int) int { return (c + x.cfg.Conns - 1) % x.cfg.Conns }

// room is what the mapper sees of a worker's channel: that of the life it has
// seen.
func (x *World) room(w int) (unread, capacity int) {
	k := &x.workers[w]
	if k.current() {
		return int(k.unread), x.cfg.Room
	}
	return int(k.left), x.cfg.Room
}

// current: the life that the mapper has seen is on.
func (k *worker) current() bool { return k.alive && k.seen && k.same }

// inUse says which workers and connections there is something to know of.
func (x *World) inUse() (workers, conns uint8) {
	for w := range x.cfg.Workers {
		if x.workers[w].seen || x.workers[w].inCall {
			workers |= 1 << w
		}
	}
	for c := range x.cfg.Conns {
		if x.conns[c] || x.executors[x.executorOf(c)].state != gone {
			conns |= 1 << c
		}
	}
	return workers, conns
}

// last is the executor that was sent last in the life that is on, or none.
func (k *worker) last() int8 {
	if k.unread > 0 {
		return k.channel[k.unread-1]
	}
	return k.using
}

// holds reports that w holds e: it uses it, or has it unread in its channel.
func (k *worker) holds(e int8) bool {
	if !k.alive {
		return false
	}
	for _, u := range k.channel[:k.unread] {
		if u == e {
			return true
		}
	}
	return k.using == e
}

func (x *World) fail(rule, format string, args ...any) {
	if x.broken == nil {
		x.broken = &Violation{Rule: rule, Text: fmt.Sprintf(format, args...)}
	}
}

// say writes a line of the scenario that is being recorded, if one is.
func (x *World) say(format string, args ...any) {
	if x.log != nil {
		fmt.Fprintf(x.log, format+"\n", args...)
	}
}

// appendState appends the canonical bytes of the state.
func (x *World) appendState(b []byte) []byte {
	for w := range x.cfg.Workers {
		k := &x.workers[w]
		b = append(b, bits(k.alive, k.seen, k.same, k.inCall, k.ours, k.debt), k.trigger<<4|k.left<<2|k.unread,
			byte(k.using+1)<<4|byte(k.answer+1))
		for _, e := range k.channel[:k.unread] {
			b = append(b, byte(e))
		}
	}
	for e := range x.cfg.Conns {
		k := &x.executors[e]
		b = append(b, bits(x.conns[e], k.retiring, k.failed, k.unpinned), byte(k.state)<<4|k.leases)
	}
	for i := range x.cfg.Calls {
		c := &x.calls[i]
		if c.n == 0 {
			break
		}
		b = append(b, byte(c.n))
		for _, w := range c.workers[:c.n] {
			b = append(b, byte(w))
		}
	}
	u := &x.used
	b = append(b, 0, u.lives, u.stops, u.triggers, u.refusals, u.nils, u.unfits, u.reports, u.leases)
	return x.machine.AppendState(b, x.now, x.hold)
}

// load puts x into the state with these bytes; if Timeless, as it suits a.
func (x *World) load(b []byte, a Action) {
	next := func() byte { v := b[0]; b = b[1:]; return v }
	var f [8]bool
	for w := range x.cfg.Workers {
		k := &x.workers[w]
		f = unbits(next())
		k.alive, k.seen, k.same, k.inCall, k.ours, k.debt = f[0], f[1], f[2], f[3], f[4], f[5]
		v := next()
		k.trigger, k.left, k.unread = v>>4, v>>2&3, v&3
		v = next()
		k.using, k.answer = int8(v>>4)-1, int8(v&15)-1
		k.channel = unread{}
		for i := range k.unread {
			k.channel[i] = int8(next())
		}
	}
	for e := range x.cfg.Conns {
		k := &x.executors[e]
		f = unbits(next())
		x.conns[e], k.retiring, k.failed, k.unpinned = f[0], f[1], f[2], f[3]
		v := next()
		k.state, k.leases = executorState(v>>4), v&15
	}
	clear(x.calls[:])
	for i := 0; ; i++ {
		n := next()
		if n == 0 {
			break
		}
		x.calls[i].n = int8(n)
		for j := range n {
			x.calls[i].workers[j] = int8(next())
		}
	}
	u := &x.used
	for _, n := range []*uint8{&u.lives, &u.stops, &u.triggers, &u.refusals, &u.nils, &u.unfits, &u.reports, &u.leases} {
		*n = next()
	}
	x.cast = a
	x.machine.Load(b, x.now, x.hold)
	x.broken = nil
	x.book.read(x)
	for w := range x.cfg.Workers {
		k := &x.workers[w]
		k.waiting = k.current() && x.book.workers[w].awaits != none
	}
	x.known.workers, x.known.conns = x.inUse()
}

// times are those that make the action happen which the machine is loaded for.
// All workers were resolved long ago, and timers are far from due, but for those
// that the action says.
func (x *World) times(w assign.Worker) assign.Times {
	t := assign.Times{Began: x.now - 10*assign.Time(Unit), Due: x.now + assign.Time(Unit)/2, Look: x.now + assign.Time(Unit)/2}
	a := &x.cast
	if a.Early>>w&1 != 0 {
		t.Began = x.now
	} else if x.workers[w].inCall {
		t.Due = x.now // of the one that follows
	}
	if a.Kind == Tick {
		rank := assign.Time(w)
		if a.Choice&tickBackward != 0 {
			rank = MaxWorkers - 1 - rank
		}
		if a.Choice>>w&1 != 0 {
			t.Due = x.now - 2*MaxWorkers + rank
		}
		if a.Choice>>tickLooks>>w&1 != 0 {
			t.Look = x.now - MaxWorkers + rank
		}
	}
	return t
}

func bits(flags ...bool) byte {
	var b byte
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

func unbits(b byte) (flags [8]bool) {
	for i := range flags {
		flags[i] = b>>i&1 != 0
	}
	return flags
}
