package mapper

import (
	"fmt"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/assign"
	"github.com/brokermap/brokermap/internal/shardmap"
)

// A result is what a call of the resolver, or of an executor's Stop, has come
// to. Calls run on goroutines of their own, where waiting hurts nobody; each
// posts its result as the last thing it does.
type result struct {
	call *call // of a resolution
	// Of a spawn or a stop.
	event assign.Event
	entry *executorEntry
	since uint64 // of a spawn: the early failures counted before it began
}

// call is one call of the resolver for some workers.
type call struct {
	workers []Worker
	asked   []asked
	answers []Resolution
	began   assign.Time
}

type asked struct {
	id      assign.Worker
	attempt int32 // for the log
}

// launch runs a call on a goroutine of its own.
func (l *loop) launch(call func()) {
	if !l.launched {
		l.launched = true
		select {
		case <-l.begun: // of a call that was launched before
		default:
		}
	}
	l.m.calls.Go(func() {
		select {
		case l.begun <- struct{}{}:
		default:
		}
		call()
	})
}

// giveWay has a call begin that was launched since the last time. The latest is
// next in line on this processor, and as long as callers give the mapper's goroutine
// no rest and the other processors are busy, it would stay there. This is no yield,
// which would put the mapper's goroutine behind all that can run: the call that
// begins makes it the next in line, so it goes on when that call waits for something,
// or an idle processor takes it, or with the next time slice, in 10 ms.
func (l *loop) giveWay() {
	if l.launched {
		l.launched = false
		<-l.begun // of those launched each has left it, or found it there, or is going to
	}
}

func (m *T) post(r *result) {
	m.results.push(r)
	m.ring.Wake()
}

const keepAsked = 1024

// call starts one resolver call for the workers asked since the last.
func (l *loop) call() {
	m, n := l.m, len(l.asked)
	c := &call{workers: make([]Worker, n), asked: make([]asked, n)}
	for i, w := range l.asked {
		c.workers[i] = l.workers[w].Key()
		c.asked[i] = asked{w, int32(l.machine.Attempt(w))}
	}
	l.asked = l.asked[:0]
	if n > keepAsked {
		l.asked = nil // it was a burst; do not keep its memory
	}
	l.stats.calls++
	l.stats.resolutions += uint64(n)
	l.async(func() {
		// Also where the resolver ends the goroutine: the call is over then.
		defer m.post(&result{call: c})
		m.resolve(c)
	})
}

func (m *T) resolve(c *call) {
	c.began = assign.Time(m.now())
	if m.batch == nil {
		b, err := m.resolver.ResolveBroker(c.workers[0])
		c.answers = []Resolution{{BrokerConn: b, Err: err}}
	} else {
		n := len(c.workers)
		answers := m.batch.ResolveBrokers(m.ctx, c.workers)
		if len(answers) != n {
			m.counters.wrongLengths.Inc()
			m.warn("resolution failed", "worker", nameOf(c.workers[0]), "workers", n, "attempt", c.asked[0].attempt,
				"err", fmt.Errorf("ResolveBrokers returned %d resolutions for %d workers: it must return one for each", len(answers), n))
			return
		}
		c.answers = answers
	}
	m.logFailed(c)
}

// takeResults tells the machine what calls have come to.
func (l *loop) takeResults() {
	for n := l.m.results.takeAll(); n != nil; n = n.next {
		r := n.value
		l.m.trace.beginResult(r)
		switch {
		case r.call != nil:
			l.resolved(r.call)
		case r.event.Kind == assign.ExecutorDown:
			l.executors[r.event.Executor] = nil
			l.freeExecutors = append(l.freeExecutors, r.event.Executor)
			l.stats.executorsStopped++
			l.step(r.event)
		default:
			l.spawned(r)
		}
		l.m.trace.tookResult(r)
	}
}

func (l *loop) resolved(c *call) {
	for i, w := range c.asked {
		ev := assign.Event{Kind: assign.Refused, Worker: w.id, At: c.began}
		if i < len(c.answers) && c.answers[i].Err == nil && c.answers[i].BrokerConn != nil {
			ev.Kind, ev.Conn = assign.Answered, l.connHandle(c.answers[i].BrokerConn)
		} else {
			l.stats.failedResolutions++
		}
		l.m.trace.answered(ev)
		l.step(ev)
	}
	l.step(assign.Event{Kind: assign.CallReturned})
}

// spawn starts the spawning of an executor.
func (l *loop) spawn(c assign.Conn) {
	m, conn := l.m, l.conns[c]
	r := &result{event: assign.Event{Kind: assign.SpawnFailed, Conn: c}, since: m.early.count()}
	l.async(func() {
		defer m.post(r)
		m.spawnExecutor(conn, r)
	})
}

func (m *T) spawnExecutor(conn *sarama.Broker, r *result) {
	e := m.resolver.SpawnExecutor(conn)
	if e == nil {
		m.warn("spawn failed", "broker", conn.Addr(), "err", "SpawnExecutor returned nil")
		return
	}
	_, hashable := m.executors.Hash(e)
	r.entry = shardmap.NewEntry[Executor, executor](e)
	r.entry.Value.conn = conn
	r.event.Kind = assign.ExecutorUnfit // also where BrokerConn ends the goroutine: it must be stopped
	if !hashable {
		m.warn("spawn failed", "broker", conn.Addr(), "executor", nameOf(e), "err", "SpawnExecutor returned an executor that is not comparable")
		return
	}
	if e.BrokerConn() != conn {
		m.warn("spawn failed", "broker", conn.Addr(), "executor", nameOf(e), "err", "SpawnExecutor returned an executor of another connection")
		return
	}
	r.event.Kind = assign.ExecutorUp
	m.debug("spawned executor", "broker", conn.Addr(), "executor", nameOf(e))
}

// spawned takes in what SpawnExecutor has come to.
func (l *loop) spawned(r *result) {
	m, x := l.m, r.entry
	if x != nil {
		if h, hashable := m.executors.Hash(x.Key()); hashable {
			x.Value.known = true
			if _, loaded := m.executors.LoadOrInsert(x, h); loaded {
				if m.warns() {
					m.warn("spawn failed", "broker", x.Value.conn.Addr(), "executor", nameOf(x.Key()), "err", "SpawnExecutor returned an executor that it has returned before and that has not stopped")
				}
				r.event.Kind = assign.SpawnFailed
				x = nil
			} else {
				r.event.Suspect = m.early.since(r.since, h)
			}
		}
	}
	if x == nil {
		l.stats.failedSpawns++
		l.step(r.event)
		return
	}
	id := take(&l.freeExecutors, len(l.executors))
	if int(id) == len(l.executors) {
		l.executors = append(l.executors, nil)
	}
	l.executors[id] = x
	r.event.Executor = id
	l.stats.executorsSpawned++
	if r.event.Kind == assign.ExecutorUnfit {
		l.stats.failedSpawns++
	}
	l.step(r.event)
}

// stop starts the stopping of an executor.
func (l *loop) stop(id assign.Executor) {
	m, x := l.m, l.executors[id]
	r := &result{event: assign.Event{Kind: assign.ExecutorDown, Executor: id}}
	l.async(func() {
		defer m.post(r)
		m.stopExecutor(x)
	})
}

func (m *T) stopExecutor(x *executorEntry) {
	e := x.Key()
	m.debug("stopping executor", "broker", x.Value.conn.Addr(), "executor", nameOf(e))
	if x.Value.known {
		h, _ := m.executors.Hash(e)
		defer m.executors.Remove(x, h) // before the result is posted: it may be returned again
	}
	e.Stop()
}
