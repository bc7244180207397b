package mapper

import (
	"slices"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/assign"
)

// loop is the mapper's goroutine: it looks at what callers and calls have left,
// steps the machine, and performs its effects, none of which waits. All its
// fields are its own.
type loop struct {
	m       *T
	machine *assign.Machine
	now     assign.Time
	async   func(func()) // runs a call that may wait: launch

	launched bool          // a call, since giveWay
	begun    chan struct{} // has room for one: a launched call has begun

	// By handle; nil where the handle is free.
	workers   []*workerEntry
	executors []*executorEntry
	conns     []*sarama.Broker

	freeWorkers   []assign.Worker
	freeExecutors []assign.Executor
	freeConns     []assign.Conn
	connHandles   map[*sarama.Broker]assign.Conn
	recent        recentConns

	fresh   *node[*workerEntry] // taken from the stack and not yet looked at
	follows []assign.Event      // what performing has led to, not yet stepped through
	asked   []assign.Worker     // since the last Call
	hints   []*workerEntry

	timer   *time.Timer
	armed   bool
	expires assign.Time

	idle  bool // what T.idle says
	stats published
}

const (
	// maxPass bounds how many hints one pass takes, so that callers who never
	// rest cannot keep due resolutions from starting.
	maxPass = 1 << 16
	// maxFresh bounds how many new entries one pass takes from the stack: what
	// they need stays in the cache until their resolution has begun.
	maxFresh = 1 << 12
)

func newLoop(m *T) *loop {
	l := &loop{
		m:           m,
		begun:       make(chan struct{}, 1),
		connHandles: make(map[*sarama.Broker]assign.Conn),
		hints:       make([]*workerEntry, 256),
		timer:       time.NewTimer(time.Hour),
		idle:        true,
	}
	l.async = l.launch
	m.idle.Store(1)
	m.trace.open(l)
	l.timer.Stop()
	l.machine = assign.New(assign.Config{
		Batch:    m.batch != nil,
		MaxCalls: m.cfg.MaxConcurrentResolves,
		Backoff:  m.cfg.Backoff,
		Room: func(w assign.Worker) (unread, capacity int) {
			ch := l.workers[w].Value.on.ch
			return m.trace.room(w, len(ch), cap(ch))
		},
		Failed: func(e assign.Executor) bool { return l.executors[e].Value.failed.Load() != 0 },
	})
	return l
}

func (l *loop) run() {
	for {
		// Before looking: once the gate is empty, all there will ever be is there.
		empty := l.m.gate.empty()
		l.pass()
		l.giveWay()
		l.m.counters.publish(l)
		if calls, quiet := l.machine.Quiet(); quiet {
			if empty {
				l.m.cancel() // of use to resolutions only, and they are all that is left
				if calls == 0 {
					break
				}
			}
			if calls == 0 && !l.idle {
				l.idle = true
				l.m.idle.Store(1)
			}
		}
		l.park(empty)
	}
	l.timer.Stop()
	l.m.trace.finished()
	l.m.calls.Wait()
	close(l.m.done)
}

// pass takes all that is there and starts what is due.
func (l *loop) pass() {
	l.now = assign.Time(l.m.now())
	l.takeResults()
	l.takeHints()
	l.m.trace.begin()
	l.takeFlags()
	l.m.trace.tookFlags()
	l.now = assign.Time(l.m.now())
	l.m.trace.begin()
	l.step(assign.Event{Kind: assign.Tick})
	l.m.trace.ticked()
}

// park waits for something to do. wasEmpty is what the gate was when the pass
// began.
func (l *loop) park(wasEmpty bool) {
	l.setTimer()
	m := l.m
	m.ring.Arm()
	n := m.ring.Drain(l.hints)
	if n > 0 || l.fresh != nil || !m.fresh.empty() || !m.results.empty() || m.overflow.Load() != 0 || m.flagged.Load() != 0 || m.gate.empty() != wasEmpty {
		m.ring.Disarm()
		l.now = assign.Time(m.now())
		l.look(l.hints[:n])
		return
	}
	var timer <-chan time.Time
	if l.armed {
		timer = l.timer.C
	}
	if !m.ring.Wait(timer) {
		l.armed = false
	}
}

func (l *loop) setTimer() {
	due, ok := l.machine.Next()
	switch {
	case !ok && l.armed:
		l.timer.Stop()
		l.armed = false
	case ok && (!l.armed || due != l.expires):
		l.timer.Reset(max(0, time.Duration(due)-time.Duration(l.m.now())))
		l.armed, l.expires = true, due
	}
}

// takeHints looks at the workers that callers pointed out.
func (l *loop) takeHints() {
	for taken := 0; taken < maxPass; {
		n := l.m.ring.Drain(l.hints)
		if n == 0 {
			break
		}
		l.look(l.hints[:n])
		taken += n
		l.now = assign.Time(l.m.now()) // a trigger is judged when it comes (B1)
	}
	if l.fresh == nil {
		l.fresh = l.m.fresh.takeAll()
	}
	for taken := 0; l.fresh != nil && taken < maxFresh; taken++ {
		l.lookAt(l.fresh.value)
		l.fresh = l.fresh.next
	}
	if !lower(&l.m.overflow) {
		return
	}
	l.stats.scans++
	if lower(&l.m.unknown) {
		l.m.workers.Range(func(e *workerEntry) bool {
			l.lookAt(e)
			return true
		})
		return
	}
	for _, e := range l.workers {
		if e != nil {
			l.lookAt(e)
		}
	}
}

func (l *loop) look(hints []*workerEntry) {
	for i, e := range hints {
		hints[i] = nil
		l.lookAt(e)
	}
}

// lookAt compares the truth about a worker with what the machine knows.
func (l *loop) lookAt(e *workerEntry) {
	l.m.trace.begin()
	l.compare(e)
	l.m.trace.looked(e)
}

func (l *loop) compare(e *workerEntry) {
	s := &e.Value
	for {
		w := s.observe()
		if w&retiredBit != 0 {
			return
		}
		alive := w&aliveBit != 0
		if s.on != nil && (!alive || s.on.epoch != epochOf(w)) {
			l.endLife(s)
			continue // that may have retired the entry
		}
		if !alive {
			l.retire(e) // nothing is to be done for lives that nobody has seen
			return
		}
		if s.on == nil {
			if l.idle {
				// Say so before it is certain that the life is on: see T.nothingLeft.
				l.idle = false
				l.m.idle.Store(0)
				continue
			}
			c := s.current.Load()
			if c.epoch != epochOf(w) {
				continue // that life has ended too
			}
			l.beginLife(e, c)
		}
		if w&triggerMask != 0 {
			l.step(assign.Event{Kind: assign.Triggered, Worker: *s.handle()})
		}
		return
	}
}

func (l *loop) beginLife(e *workerEntry, c *life) {
	s := &e.Value
	id := *s.handle()
	if id == noHandle {
		id = take(&l.freeWorkers, len(l.workers))
		if int(id) == len(l.workers) {
			if len(l.workers) == cap(l.workers) {
				// To twice as many: append's quarter leaves five times the garbage.
				l.workers = slices.Grow(l.workers, len(l.workers)+1)
			}
			l.workers = append(l.workers, nil)
		}
		l.workers[id] = e
		*s.handle() = id
	}
	s.on = c
	l.stats.workersSpawned++
	l.step(assign.Event{Kind: assign.Spawned, Worker: id})
}

func (l *loop) endLife(s *slot) {
	s.on = nil
	s.executor.Store(nil)
	l.stats.workersStopped++
	l.step(assign.Event{Kind: assign.Stopped, Worker: *s.handle()})
}

// retire lets go of a worker value that does not live and that the machine has
// forgotten. If it lives again by now, a hint says so.
func (l *loop) retire(e *workerEntry) {
	if s := &e.Value; *s.handle() == noHandle && s.retire() {
		h, _ := l.m.workers.Hash(e.Key())
		l.m.workers.Remove(e, h)
	}
}

// takeFlags looks at all executors if one of them was pointed out.
func (l *loop) takeFlags() {
	if !lower(&l.m.flagged) {
		return
	}
	for i, x := range l.executors {
		if x == nil {
			continue
		}
		if lower(&x.Value.failed) {
			l.stats.brokerFailures++
			l.logBrokerFailed(x)
			l.step(assign.Event{Kind: assign.BrokerFailed, Executor: assign.Executor(i)})
		}
		if lower(&x.Value.unpinned) {
			l.step(assign.Event{Kind: assign.Unpinned, Executor: assign.Executor(i)})
		}
	}
}

// step steps the machine and performs the effects, then does the same with the
// events that they have led to.
func (l *loop) step(ev assign.Event) {
	l.stepOnly(ev)
	for i := 0; i < len(l.follows); i++ { //nolint:intrange // these may have others follow
		l.stepOnly(l.follows[i])
	}
	l.follows = l.follows[:0]
}

func (l *loop) stepOnly(ev assign.Event) {
	for _, f := range l.machine.Step(l.now, ev) {
		l.perform(f)
	}
}

func (l *loop) perform(f assign.Effect) {
	switch f.Kind {
	case assign.Ask:
		l.m.trace.asked(f.Worker)
		l.workers[f.Worker].Value.answer()
		l.asked = append(l.asked, f.Worker)
	case assign.Call:
		l.call()
	case assign.Spawn:
		l.spawn(f.Conn)
	case assign.Send:
		l.send(f.Worker, f.Executor)
	case assign.Full:
		l.stats.fullChannels++
		l.logFull(l.workers[f.Worker])
	case assign.Retire:
		if l.executors[f.Executor].Value.leases.Drain() {
			l.follows = append(l.follows, assign.Event{Kind: assign.Closed, Executor: f.Executor})
		}
	case assign.Resume:
		l.executors[f.Executor].Value.leases.Resume()
	case assign.Stop:
		l.stop(f.Executor)
	case assign.ForgetWorker:
		e := l.workers[f.Worker]
		l.workers[f.Worker] = nil
		l.freeWorkers = append(l.freeWorkers, f.Worker)
		*e.Value.handle() = noHandle
		l.retire(e)
	case assign.ForgetConn:
		l.forgetConn(f.Conn)
	}
}

// send hands x to w. The channel has room, for nobody else sends on it; if
// somebody did against the rules, the send fails, and blocks nobody.
func (l *loop) send(w assign.Worker, x assign.Executor) {
	s, next := &l.workers[w].Value, l.executors[x]
	c := s.on
	last := s.executor.Load()
	if last != next {
		s.executor.Store(next) // first, so that who receives can acquire
	}
	if !s.markSent(c) {
		return // S5: its end is on its way to the machine
	}
	select {
	case c.ch <- next.Key():
		l.m.trace.sent(w)
		if last == next {
			l.stats.confirmations++
		}
		l.stats.assignments++
	default:
		s.executor.Store(last)
		l.stats.fullChannels++
		l.logFull(l.workers[w])
		l.follows = append(l.follows, assign.Event{Kind: assign.SendFailed, Worker: w})
	}
}

// take returns a free handle, or the next new one.
func take[H ~int32](free *[]H, next int) H {
	if n := len(*free); n > 0 {
		h := (*free)[n-1]
		*free = (*free)[:n-1]
		return h
	}
	return H(next)
}
