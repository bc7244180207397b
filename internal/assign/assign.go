// Package assign decides which worker is assigned to which executor. It is a
// pure, deterministic, single-owner state machine: it knows no goroutine,
// channel, clock or network. Whoever owns a Machine tells it what happened with
// Step and performs the effects that Step returns, in order, before the next
// event. Time is an argument; workers, executors and connections are handles.
//
// The rules that it keeps (S1, L2, B1, ...) are those of the mapper's contract;
// package mapper is the shell that performs its effects.
package assign

import (
	"fmt"
	"time"
)

// Workers, executors and connections go by handles. They are small and dense:
// the machine keeps a record for each up to the largest that it has seen. The
// owner chooses them and may use one again after the effect that forgets it
// (ForgetWorker, ForgetConn), an Executor's after the ExecutorDown event.
type (
	// Worker is one worker value, in all of its lives.
	Worker int32
	// Executor is one executor, from ExecutorUp to ExecutorDown.
	Executor int32
	// Conn is one broker connection.
	Conn int32
)

const none = -1

// Time is the nanoseconds since a moment of the owner's choice. It never goes
// back.
type Time int64

// EventKind says what happened.
type EventKind uint8

// The events, with the fields that each one uses.
const (
	Spawned       EventKind = iota + 1 // Worker: a life began; an earlier life has ended
	Stopped                            // Worker: its life ended
	Triggered                          // Worker: it wants a new assignment
	Answered                           // Worker, Conn, At: its resolution, begun at At, gave Conn
	Refused                            // Worker, At: its resolution, begun at At, failed
	CallReturned                       // a call ended; Answered or Refused came before, for each worker asked
	ExecutorUp                         // Conn, Executor, Suspect: the Spawn of Conn gave Executor
	SpawnFailed                        // Conn: the Spawn of Conn gave no executor
	ExecutorUnfit                      // Conn, Executor: the Spawn of Conn gave an executor that must not be used
	BrokerFailed                       // Executor: its connection is broken
	Unpinned                           // Executor: the last lease on it is released; comes only after Retire
	Closed                             // Executor: Retire has succeeded, no lease is out and none can be had
	ExecutorDown                       // Executor: it has stopped
	SendFailed                         // Worker: the Send just returned could not be performed
	Tick                               // time has passed, or a run of events is complete: start what is due
)

// Event is something that happened.
type Event struct {
	Kind     EventKind
	Worker   Worker
	Executor Executor
	Conn     Conn
	At       Time
	Suspect  bool // BrokerFailed may have come before ExecutorUp
}

// EffectKind says what is to be done.
type EffectKind uint8

// The effects, with the fields that each one uses.
const (
	Ask          EffectKind = iota + 1 // Worker: its resolution starts now, as part of the next Call
	Call                               // start one resolver call for the workers asked since the last Call
	Spawn                              // Conn: spawn an executor; ExecutorUp, SpawnFailed or ExecutorUnfit will follow
	Send                               // Worker, Executor: send it on the worker's channel, now
	Full                               // Worker: its channel is full, so its resolution failed; for the log
	Retire                             // Executor: nobody holds it; close it for leases, then Closed (at once, or after Unpinned)
	Resume                             // Executor: a worker holds it again, take back a Retire that has not closed it
	Stop                               // Executor: stop it; ExecutorDown will follow
	ForgetWorker                       // Worker: nothing is known of it any more
	ForgetConn                         // Conn: nothing is known of it any more
)

// Effect is something to do.
type Effect struct {
	Kind     EffectKind
	Worker   Worker
	Executor Executor
	Conn     Conn
}

// Config is what a Machine needs to know of its surroundings.
type Config struct {
	// Batch: one call resolves all workers that are due, not one.
	Batch bool
	// MaxCalls bounds the calls in flight; at least 1.
	MaxCalls int
	// Backoff returns the least time between the starts of two resolutions of a
	// worker, after attempt resolutions in a row that had to wait (B1).
	Backoff func(attempt int) time.Duration
	// Room returns how many executors sit unread in a living worker's channel,
	// and how many it can hold. Nobody but the owner sends on it, so the first
	// only falls between two effects.
	Room func(Worker) (unread, capacity int)
	// Failed reports that the failure of an executor's connection was reported,
	// and the BrokerFailed event is still to come.
	Failed func(Executor) bool
}

// Machine is the state. Its methods are for one goroutine.
type Machine struct {
	cfg Config

	workers   arena[worker]
	executors arena[executor]
	conns     arena[conn]
	older     arena[olderHold]
	freeHold  int32 // list of unused ones, linked by next

	ready  fifo   // workers whose resolution is due and waits for a call
	timers timers // retries that are not yet due, looks at channels
	calls  int    // calls in flight

	living int // workers alive
	busy   int // connections whose executor is spawning, live or stopping

	waits []backoff // asked for since the last Tick

	idle []Executor // lost their last holder in this step
	out  []Effect
}

// New returns an empty Machine.
func New(cfg Config) *Machine {
	if cfg.MaxCalls < 1 || cfg.Backoff == nil || cfg.Room == nil || cfg.Failed == nil {
		panic(fmt.Sprintf("assign: incomplete Config %+v", cfg))
	}
	return &Machine{cfg: cfg, freeHold: none}
}

// Step takes one event at time now and returns the effects to perform, in
// order. They are valid until the next Step.
func (m *Machine) Step(now Time, ev Event) []Effect {
	m.out = m.out[:0]
	if cap(m.out) > keep {
		m.out = nil
	}
	switch ev.Kind {
	case Spawned:
		m.spawned(ev.Worker, now)
	case Stopped:
		m.stopped(ev.Worker)
	case Triggered:
		m.trigger(ev.Worker, now)
	case Answered:
		m.answered(ev.Worker, ev.Conn, ev.At, now)
	case Refused:
		m.refused(ev.Worker, ev.At, now)
	case CallReturned:
		m.calls--
	case ExecutorUp:
		m.executorUp(ev.Conn, ev.Executor, ev.Suspect, now)
	case SpawnFailed:
		m.spawnFailed(ev.Conn, now)
	case ExecutorUnfit:
		m.executorUnfit(ev.Conn, ev.Executor, now)
	case BrokerFailed:
		m.brokerFailed(ev.Executor, now)
	case Unpinned:
		m.unpinned(ev.Executor)
	case Closed:
		m.closed(ev.Executor)
	case ExecutorDown:
		m.executorDown(ev.Executor, now)
	case SendFailed:
		m.sendFailed(ev.Worker, now)
	case Tick:
		m.tick(now)
	default:
		panic(fmt.Sprintf("assign: unknown event %+v", ev))
	}
	m.retireIdle()
	return m.out
}

// Next returns when the next Tick is needed, and whether one is (L6).
func (m *Machine) Next() (Time, bool) { return m.timers.next() }

// Quiet reports that no worker lives and no executor exists or is to come, and
// how many calls are still in flight.
func (m *Machine) Quiet() (calls int, quiet bool) {
	return m.calls, m.living == 0 && m.busy == 0
}

// Living returns the number of living workers.
func (m *Machine) Living() int { return m.living }

// Busy returns the number of connections with an executor, one that is being
// spawned or stopped included.
func (m *Machine) Busy() int { return m.busy }

// Attempt returns how many resolutions in a row of w had to wait.
func (m *Machine) Attempt(w Worker) int { return int(m.workers.at(int32(w)).tries()) }

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }
