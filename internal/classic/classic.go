// Package classic is the mapper that brokermap replaces, as a baseline for its
// benchmarks; nothing else may use it. It is the design of 2017 without the fat:
// events go through one buffered channel to one goroutine that decides and acts,
// workers are in a map, each resolution is a goroutine, executors are counted by
// the goroutine that owns the map and spawned and stopped inline.
//
// It keeps the design's faults too: notifications block while the channel is
// full, a SpawnExecutor or Stop that hangs stalls everybody, an executor may be
// stopped while it sits unread in a channel, and N workers cost N requests.
package classic

import (
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// T is a classic mapper. It shares the roles of package mapper, so that one
// program can drive both.
type T struct {
	resolver mapper.Resolver
	backoff  time.Duration
	// events carries everything: a receive from one channel is a third of the
	// price of a select over three.
	events chan event
	done   chan struct{}

	// The mapper's goroutine's own.
	workers   map[mapper.Worker]*worker
	executors map[*sarama.Broker]*executor
	pending   int // resolutions in flight and retries to come
	stopping  bool
}

type kind uint8

const (
	spawned kind = iota
	stopped
	triggered
	resolved
	retried
	stop
)

type event struct {
	kind   kind
	worker mapper.Worker
	// Of a resolution.
	of   *worker
	conn *sarama.Broker
}

type worker struct {
	self     mapper.Worker
	ch       chan<- mapper.Executor
	executor *executor
	flying   bool // a resolution is in flight or a retry to come
	again    bool // triggered since it began
	gone     bool
}

type executor struct {
	self mapper.Executor
	conn *sarama.Broker
	refs int
}

// Spawn starts a mapper whose channel of events holds capacity of them. Failed
// resolutions are retried after backoff.
func Spawn(capacity int, backoff time.Duration, resolver mapper.Resolver) *T {
	m := &T{
		resolver:  resolver,
		backoff:   backoff,
		events:    make(chan event, capacity),
		done:      make(chan struct{}),
		workers:   make(map[mapper.Worker]*worker),
		executors: make(map[*sarama.Broker]*executor),
	}
	go m.run()
	return m
}

// OnWorkerSpawned tells the mapper that w wants an executor from now on.
func (m *T) OnWorkerSpawned(w mapper.Worker) { m.events <- event{kind: spawned, worker: w} }

// OnWorkerStopped tells the mapper that w is no more.
func (m *T) OnWorkerStopped(w mapper.Worker) { m.events <- event{kind: stopped, worker: w} }

// TriggerReassign tells the mapper that w wants to be resolved again.
func (m *T) TriggerReassign(w mapper.Worker) { m.events <- event{kind: triggered, worker: w} }

// Stop waits until all workers have stopped, and ends the mapper. It must be
// called once, and nothing may be called after it.
func (m *T) Stop() {
	m.events <- event{kind: stop}
	<-m.done
}

func (m *T) run() {
	defer close(m.done)
	for !m.stopping || len(m.workers) > 0 || m.pending > 0 {
		ev := <-m.events
		switch ev.kind {
		case spawned:
			if m.workers[ev.worker] == nil {
				w := &worker{self: ev.worker, ch: ev.worker.Assignment()}
				m.workers[ev.worker] = w
				m.resolve(w)
			}
		case stopped:
			if w := m.workers[ev.worker]; w != nil {
				delete(m.workers, ev.worker)
				w.gone = true
				m.release(w)
			}
		case triggered:
			switch w := m.workers[ev.worker]; {
			case w == nil:
			case w.flying:
				w.again = true
			default:
				m.resolve(w)
			}
		case resolved:
			m.resolved(ev.of, ev.conn)
		case retried:
			m.pending--
			if ev.of.flying = false; !ev.of.gone {
				m.resolve(ev.of)
			}
		case stop:
			m.stopping = true
		}
	}
}

func (m *T) resolve(w *worker) {
	w.flying, w.again = true, false
	m.pending++
	go m.ask(w)
}

func (m *T) ask(w *worker) {
	conn, err := m.resolver.ResolveBroker(w.self)
	if err != nil {
		conn = nil
	}
	m.events <- event{kind: resolved, of: w, conn: conn}
}

func (m *T) resolved(w *worker, conn *sarama.Broker) {
	m.pending--
	w.flying = false
	switch {
	case w.gone:
	case conn == nil || !m.assign(w, conn):
		w.flying = true
		m.pending++
		time.AfterFunc(m.backoff, func() { m.events <- event{kind: retried, of: w} })
	case w.again:
		m.resolve(w)
	}
}

// assign reports whether w was sent the executor of conn.
func (m *T) assign(w *worker, conn *sarama.Broker) bool {
	x := w.executor
	if x == nil || x.conn != conn {
		if x = m.executors[conn]; x == nil {
			e := m.resolver.SpawnExecutor(conn)
			if e == nil {
				return false
			}
			x = &executor{self: e, conn: conn}
			m.executors[conn] = x
		}
		x.refs++
		m.release(w)
		w.executor = x
	}
	select {
	case w.ch <- x.self:
		return true
	default:
		return false
	}
}

// release gives back the executor of w, if it has one.
func (m *T) release(w *worker) {
	x := w.executor
	if x == nil {
		return
	}
	w.executor = nil
	if x.refs--; x.refs == 0 {
		delete(m.executors, x.conn)
		x.self.Stop()
	}
}
