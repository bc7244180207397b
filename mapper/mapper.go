package mapper

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/ringbuf"
	"github.com/brokermap/brokermap/internal/shardmap"
)

// Worker makes requests that a broker must serve: a partition fetcher, a
// group's offset committer, a partition producer.
//
// A Worker must be comparable; it is normally a pointer. A life of a worker
// begins with [T.OnWorkerSpawned] and ends with [T.OnWorkerStopped]. The same
// value may live again, as a new worker, with a new channel, or with the old
// one if that is empty and nothing of the old life was pending when it stopped.
type Worker interface {
	// Assignment returns the channel on which the mapper sends the executors
	// that serve the worker. It must be buffered. It is called once per life, in
	// the OnWorkerSpawned that begins it, by the goroutine that called that. Of
	// several that are called at once for one worker only one begins the life, but
	// each may have called it: it should return the same channel to all.
	// Nobody but the mapper sends on the channel; the mapper never closes it.
	//
	// The worker should use the executor that it received last, and may go on
	// using it until it takes another one from the channel or has stopped. It
	// should keep the channel drained: one that is full when the next executor
	// is to be sent is a failed resolution, which is tried again later.
	Assignment() chan<- Executor
}

// Executor serves the requests of many workers over one broker connection. It
// must be comparable; it is normally a pointer. A [Resolver] spawns executors,
// the mapper stops them. One whose Stop has returned may be spawned again.
type Executor interface {
	// BrokerConn returns the connection that the executor was spawned for. It is
	// called once, before the executor is sent to anybody.
	BrokerConn() *sarama.Broker
	// Stop stops the executor and returns when it has stopped. The mapper calls
	// it exactly once, on a goroutine of its own, when no living worker holds
	// the executor and no lease on it is out. It may take long; meanwhile no
	// other executor is spawned for the connection.
	Stop()
}

// Resolver says which broker serves a worker, and makes executors.
//
// Its methods are called by goroutines of the mapper, concurrently, but never
// for one worker twice at the same time. They may take long: that delays
// only the workers that need the answer, as long as fewer than
// Config.MaxConcurrentResolves calls of ResolveBroker are hanging. A panic in
// them is not recovered. They may call the mapper's notifications, but must not
// wait for its Stop.
type Resolver interface {
	// ResolveBroker returns the connection to the broker that serves worker.
	// To the mapper a connection is its pointer: return the same pointer for the
	// same connection, and a new one where a fresh start is wanted. An error or
	// a nil connection leaves the worker with what it has; it is asked again
	// after Config.Backoff.
	ResolveBroker(worker Worker) (*sarama.Broker, error)
	// SpawnExecutor returns a new executor for brokerConn: one that it has not
	// returned before, or whose Stop has returned, and whose BrokerConn is
	// brokerConn. Anything else, nil included, is a failed resolution for the
	// workers that were to get it.
	SpawnExecutor(brokerConn *sarama.Broker) Executor
}

// BatchResolver is a [Resolver] that is asked for many workers in one call, for
// instance to answer them all with one metadata request. Its ResolveBroker is
// not called.
type BatchResolver interface {
	Resolver
	// ResolveBrokers returns one Resolution for each worker, in the order of
	// workers, which it must not change; what it returns is the mapper's from
	// then on. ctx ends when the mapper was asked to
	// stop and nothing but resolutions is left.
	ResolveBrokers(ctx context.Context, workers []Worker) []Resolution
}

// Resolution is the answer of a [BatchResolver] for one worker.
type Resolution struct {
	BrokerConn *sarama.Broker
	Err        error
}

// Config configures a mapper. The zero value is a good one.
type Config struct {
	// Backoff returns the least time from the start of one resolution of a
	// worker to the start of its next; attempt counts the resolutions in a row
	// that had to wait for it: 0, 1, 2, ... It is called on the mapper's
	// goroutine and must neither block nor call the mapper. A negative time is
	// taken for 0. nil: 10 ms, doubling to 5 s, then times a random factor
	// between 0.8 and 1.2 (KIP-580).
	Backoff func(attempt int) time.Duration
	// MaxConcurrentResolves bounds the calls of ResolveBroker, or of
	// ResolveBrokers, that are in flight. 0: 16.
	MaxConcurrentResolves int
	// RingSize is how many notifications may wait for the mapper before it has
	// to look through its workers for more; rounded up to a power of two. More
	// are never lost and never make their callers wait: a ring as large as the
	// number of workers that may notify at once merely saves the mapper work. It
	// takes 16 bytes for each. 0: 16384.
	RingSize int
	// Logger receives what goes wrong, at level Warn, and the life of executors,
	// at level Debug, with the keys worker (the first, where workers says how
	// many), broker, executor, attempt and err.
	// Its handler, and the String methods of the workers and executors that it is
	// told of, are called on goroutines of the mapper and should not block.
	// nil: nothing is logged.
	Logger *slog.Logger
}

const (
	defaultMaxConcurrentResolves = 16
	defaultRingSize              = 1 << 14
	maxRingSize                  = 1 << 24

	minBackoff = 10 * time.Millisecond
	maxBackoff = 5 * time.Second
)

func defaultBackoff(attempt int) time.Duration {
	d := maxBackoff
	if attempt < 9 { // 10 ms << 9 is more than 5 s
		d = minBackoff << max(attempt, 0)
	}
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

func (c Config) withDefaults() (Config, error) {
	for _, n := range []struct {
		name       string
		value, max int
	}{
		{"MaxConcurrentResolves", c.MaxConcurrentResolves, 1 << 30},
		{"RingSize", c.RingSize, maxRingSize},
	} {
		if n.value < 0 || n.value > n.max {
			return c, fmt.Errorf("mapper: Config.%s is %d: it must be between 0 (the default) and %d", n.name, n.value, n.max)
		}
	}
	if c.MaxConcurrentResolves == 0 {
		c.MaxConcurrentResolves = defaultMaxConcurrentResolves
	}
	if c.RingSize == 0 {
		c.RingSize = defaultRingSize
	}
	if c.Backoff == nil {
		c.Backoff = defaultBackoff
	}
	return c, nil
}

// T is a mapper: it keeps each living worker assigned to the executor of the
// connection that its resolver returns. Its methods may be called by any
// goroutine. Make one with [Spawn] and end it with [T.Stop] or [T.Shutdown].
type T struct {
	cfg      Config
	resolver Resolver
	batch    BatchResolver // resolver, where it is one
	start    time.Time

	// What callers and the mapper's goroutine share. Truth is in the entries;
	// ring and flags only say where to look.
	workers   *shardmap.Map[Worker, slot]
	home      home
	token     *token
	executors *shardmap.Map[Executor, executor]
	ring      *ringbuf.Ring[*workerEntry]
	overflow  atomicx.Uint32 // a worker was changed when the ring was full
	unknown   atomicx.Uint32 // it may be one that the mapper does not know; raised before overflow
	flagged   atomicx.Uint32 // some executor has a flag set
	early     earlyFailures
	fresh     stack[*workerEntry] // new entries that found the ring full
	results   stack[*result]
	gate      gate
	idle      atomicx.Uint32 // 1: no life that the machine knows of is on, nor anything left of one

	counters counters
	trace    tracer

	// Of the calls in flight.
	ctx    context.Context
	cancel context.CancelFunc
	calls  sync.WaitGroup
	done   chan struct{} // closed when nothing is left
}

type (
	workerEntry   = shardmap.Entry[Worker, slot]
	executorEntry = shardmap.Entry[Executor, executor]
)

// Spawn starts a mapper that asks resolver. It returns an error where cfg has a
// number out of range, or resolver is nil.
func Spawn(cfg Config, resolver Resolver) (*T, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if resolver == nil {
		return nil, fmt.Errorf("mapper: the Resolver is nil: it must say which broker serves a worker")
	}
	m := newMapper(cfg, resolver)
	l := newLoop(m)
	go l.run()
	return m, nil
}

// newMapper returns a mapper whose loop is still to run. cfg is complete.
func newMapper(cfg Config, resolver Resolver) *T {
	m := &T{
		cfg:       cfg,
		resolver:  resolver,
		start:     time.Now(),
		workers:   shardmap.New[Worker, slot](),
		executors: shardmap.New[Executor, executor](),
		ring:      ringbuf.New[*workerEntry](cfg.RingSize),
		token:     new(token),
		done:      make(chan struct{}),
	}
	m.batch, _ = resolver.(BatchResolver)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Stop asks the mapper to stop, and waits until every worker and every executor
// has stopped.
//
// From then on no new life begins: an OnWorkerSpawned is a counted no-op, as is
// the OnWorkerStopped that follows it. Workers that live go on being served
// until they stop, so Stop returns only after OnWorkerStopped was called for
// each, every Lease is released, and every call of the Resolver and of
// Executor.Stop has returned. Then no goroutine and no timer of the mapper is
// left, and every method is a no-op.
//
// Stop may be called repeatedly and concurrently, but not by a callback that
// the mapper waits for.
func (m *T) Stop() {
	m.close()
	<-m.done
}

// Shutdown is [T.Stop], bounded by ctx. When ctx ends first it returns an error
// that wraps ctx.Err() and says who is still there; the mapper goes on stopping,
// and Shutdown or Stop may be called again. It returns nil where everything has
// stopped, whatever ctx says.
func (m *T) Shutdown(ctx context.Context) error {
	m.close()
	select {
	case <-m.done:
		return nil
	default:
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		if m.nothingLeft() {
			m.ring.Wake() // who left last may not have come to that yet
			<-m.done
			return nil
		}
		return fmt.Errorf("mapper: shutdown: %w; still there: %s", ctx.Err(), m.remaining())
	}
}

// nothingLeft reports that the mapper's goroutine is about to end, or has, and
// waits for nobody before. The gate is looked at first: once it is empty all
// lives have ended, and no life that has ended begins for the machine after the
// machine's owner has said that it is not idle.
func (m *T) nothingLeft() bool { return m.gate.empty() && m.idle.Load() != 0 }

// close closes the gate and has the mapper's goroutine see it, whoever closed it
// first: he may not have come to that yet.
func (m *T) close() {
	m.trace.begin()
	m.trace.didIf(m.gate.close(), "StopRequested", nil)
	m.ring.Wake()
}

// now returns the nanoseconds since the mapper was spawned.
func (m *T) now() int64 { return int64(time.Since(m.start)) }
