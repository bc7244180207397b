package mapper

import (
	"fmt"
	"strings"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/atomicx"
)

// Stats counts what a mapper has done since it was spawned. Counters only grow.
// The mapper's goroutine publishes them when it has taken in a run of events, so
// they may be some moments behind, and are not of one instant.
type Stats struct {
	// Workers and Executors are how many live now; Calls is how many calls of
	// the resolver's Resolve methods are in flight. They are no counters.
	Workers, Executors, Calls uint64

	// WorkersSpawned and WorkersStopped count lives that the mapper took notice
	// of. A life that ended before it could is in neither.
	WorkersSpawned, WorkersStopped uint64
	// Resolutions counts workers asked for, ResolveCalls the calls that it took.
	Resolutions, ResolveCalls uint64
	// FailedResolutions counts answers that were an error or no connection.
	FailedResolutions uint64
	// WrongLengths counts calls of ResolveBrokers that did not return one
	// Resolution for each worker. Their workers are in FailedResolutions.
	WrongLengths uint64
	// Assignments counts executors sent to workers; Confirmations those among
	// them that were the same as the worker's last.
	Assignments, Confirmations uint64
	// FullChannels counts assignments that failed because the worker had not
	// drained its channel.
	FullChannels uint64
	// ExecutorsSpawned and ExecutorsStopped count executors that SpawnExecutor
	// gave and that have stopped. When all is over they are equal.
	ExecutorsSpawned, ExecutorsStopped uint64
	// FailedSpawns counts calls of SpawnExecutor that gave nil, an executor of
	// another connection, or one that had been returned before. One of another
	// connection is in ExecutorsSpawned too: it has to be stopped.
	FailedSpawns uint64
	// BrokerFailures counts reports of BrokerFailed; reports that came in short
	// order for one executor count once.
	BrokerFailures uint64
	// Scans counts how often the mapper had to look through workers because the
	// ring was full. Many per second call for a larger Config.RingSize.
	Scans uint64

	// RepeatedSpawns counts OnWorkerSpawned for a worker that lived;
	// SpawnsAfterStop those that came after Stop or Shutdown.
	RepeatedSpawns, SpawnsAfterStop uint64
	// UnknownWorkers counts OnWorkerStopped and TriggerReassign for a worker
	// that did not live, nil included; UnknownExecutors counts BrokerFailed for
	// an executor that did not exist, or not yet.
	UnknownWorkers, UnknownExecutors uint64
}

// counters is what Stats reads: some counted where they happen, the rest a copy
// of what the mapper's goroutine has counted.
type counters struct {
	_ atomicx.Align64

	repeatedSpawns, spawnsAfterStop  atomicx.Uint64
	unknownWorkers, unknownExecutors atomicx.Uint64
	wrongLengths                     atomicx.Uint64

	copies [publishedFields]atomicx.Uint64
}

// published is what the mapper's goroutine counts.
type published struct {
	workersSpawned, workersStopped     uint64
	resolutions, calls                 uint64
	failedResolutions                  uint64
	assignments, confirmations         uint64
	fullChannels                       uint64
	executorsSpawned, executorsStopped uint64
	failedSpawns                       uint64
	brokerFailures                     uint64
	scans                              uint64
	callsInFlight                      uint64

	last [publishedFields]uint64
}

const publishedFields = 14

func (p *published) fields() [publishedFields]uint64 {
	return [publishedFields]uint64{
		p.workersSpawned, p.workersStopped, p.resolutions, p.calls, p.failedResolutions,
		p.assignments, p.confirmations, p.fullChannels, p.executorsSpawned, p.executorsStopped,
		p.failedSpawns, p.brokerFailures, p.scans, p.callsInFlight,
	}
}

// publish copies what has changed.
func (c *counters) publish(l *loop) {
	calls, _ := l.machine.Quiet()
	l.stats.callsInFlight = uint64(calls)
	now := l.stats.fields()
	for i, v := range now {
		if v != l.stats.last[i] {
			c.copies[i].Store(v)
		}
	}
	l.stats.last = now
}

// Stats returns the counters.
func (m *T) Stats() Stats {
	c := func(i int) uint64 { return m.counters.copies[i].Load() }
	s := Stats{
		WorkersSpawned: c(0), WorkersStopped: c(1), Resolutions: c(2), ResolveCalls: c(3), FailedResolutions: c(4),
		Assignments: c(5), Confirmations: c(6), FullChannels: c(7), ExecutorsSpawned: c(8), ExecutorsStopped: c(9),
		FailedSpawns: c(10), BrokerFailures: c(11), Scans: c(12), Calls: c(13),

		WrongLengths:     m.counters.wrongLengths.Load(),
		RepeatedSpawns:   m.counters.repeatedSpawns.Load(),
		SpawnsAfterStop:  m.counters.spawnsAfterStop.Load(),
		UnknownWorkers:   m.counters.unknownWorkers.Load(),
		UnknownExecutors: m.counters.unknownExecutors.Load(),
	}
	s.Workers = m.gate.count()
	s.Executors = uint64(m.executors.Len())
	return s
}

// Assignment is one row of a [T.Snapshot].
type Assignment struct {
	// Worker is a worker that lives.
	Worker Worker
	// Executor is the one that it was sent last, nil where it was sent none yet.
	Executor Executor
	// BrokerConn is the connection of Executor.
	BrokerConn *sarama.Broker
	// Pending says that the worker has asked for a new assignment, and no
	// resolution has begun since.
	Pending bool
}

// Snapshot returns who is assigned to what, in no order. Each row is of one
// moment during the call, not all rows of the same. It takes time and memory in
// proportion to the number of workers, and delays nobody.
func (m *T) Snapshot() []Assignment {
	rows := make([]Assignment, 0, m.workers.Len())
	seen := make(map[*workerEntry]struct{}, cap(rows))
	m.workers.Range(func(e *workerEntry) bool {
		s := &e.Value
		before := s.word.Load()
		x := s.executor.Load()
		w := s.word.Load()
		if _, twice := seen[e]; twice || w&aliveBit == 0 {
			return true
		}
		seen[e] = struct{}{}
		row := Assignment{Worker: e.Key(), Pending: w&triggerMask != 0}
		if x != nil && w&sentBit != 0 && sameLife(before, w) {
			row.Executor, row.BrokerConn = x.Key(), x.Value.conn
		}
		rows = append(rows, row)
		return true
	})
	return rows
}

// remaining says who keeps the mapper from stopping.
func (m *T) remaining() string {
	var parts []string
	add := func(n int, what string, names []string) {
		if n == 0 {
			return
		}
		part := fmt.Sprintf("%d %s", n, what)
		if len(names) > 0 {
			part += " (" + strings.Join(names, ", ")
			if n > len(names) {
				part += ", ..."
			}
			part += ")"
		}
		parts = append(parts, part)
	}
	const few = 3
	var names []string
	rows := m.Snapshot()
	for _, row := range rows[:min(few, len(rows))] {
		names = append(names, nameOf(row.Worker))
	}
	add(len(rows), "living workers", names)

	executors, leases := 0, 0
	names = nil
	m.executors.Range(func(x *executorEntry) bool {
		executors++
		leases += x.Value.leases.Refs()
		if len(names) < few {
			names = append(names, nameOf(x.Key()))
		}
		return true
	})
	add(executors, "executors", names)
	add(leases, "leases", nil)
	add(int(m.Stats().Calls), "resolver calls", nil)
	if parts == nil {
		return "calls that are about to return"
	}
	return strings.Join(parts, ", ")
}
