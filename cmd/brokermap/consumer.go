package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// consumer consumes every partition of a topic through a mapper: it is the
// mapper's resolver, and owns the workers and the goroutines of the executors.
type consumer struct {
	leaders *leaders
	check   *checker
	log     *console
	mapper  *mapper.T

	workers []*worker // by partition
	running sync.WaitGroup
	stop    context.CancelFunc // ends the workers

	mu       sync.Mutex
	spawned  int64
	byBroker map[int32]*atomic.Int64 // records fetched
}

// backoff paces the resolutions of a worker: 10 ms, doubling to 50 ms. A dead
// leader is replaced within some hundred milliseconds or some seconds; the
// mapper's default, up to 5 s, would add to that.
func backoff(attempt int) time.Duration {
	return min(10*time.Millisecond<<min(attempt, 3), 50*time.Millisecond)
}

// startConsumer starts one worker for each of so many partitions.
func startConsumer(l *leaders, check *checker, log *console, partitions int) (*consumer, error) {
	c := &consumer{leaders: l, check: check, log: log, byBroker: make(map[int32]*atomic.Int64)}
	var err error
	c.mapper, err = mapper.Spawn(mapper.Config{Backoff: backoff, Logger: log.logger()}, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stop = cancel
	for p := range int32(partitions) {
		w := &worker{
			partition: p,
			consumer:  c,
			assigned:  make(chan mapper.Executor, assignmentsAhead),
			batches:   make(chan batch, batchesAhead),
		}
		c.workers = append(c.workers, w)
		c.mapper.OnWorkerSpawned(w)
		c.running.Go(func() { w.run(ctx) })
	}
	return c, nil
}

// shutdown stops the workers, then the mapper and with it the executors.
func (c *consumer) shutdown(ctx context.Context) error {
	c.stop()
	c.running.Wait()
	return c.mapper.Shutdown(ctx)
}

// ResolveBroker implements mapper.Resolver.
func (c *consumer) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	r := c.ResolveBrokers(context.Background(), []mapper.Worker{w})[0]
	return r.BrokerConn, r.Err
}

// ResolveBrokers implements mapper.BatchResolver.
func (c *consumer) ResolveBrokers(ctx context.Context, workers []mapper.Worker) []mapper.Resolution {
	partitions := make([]int32, len(workers))
	for i, w := range workers {
		partitions[i] = w.(*worker).partition
	}
	resolutions := make([]mapper.Resolution, len(workers))
	for i, lead := range c.leaders.resolve(ctx, partitions) {
		if lead.err == nil {
			workers[i].(*worker).epoch.Store(lead.epoch)
		}
		resolutions[i] = mapper.Resolution{BrokerConn: lead.conn, Err: lead.err}
	}
	return resolutions
}

// SpawnExecutor implements mapper.Resolver. The fetcher's goroutine ends with
// its Stop.
func (c *consumer) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	f := newFetcher(conn)
	f.topic = c.leaders.metadata.topic
	f.broker = c.leaders.brokerOf(conn)
	f.notify = c.mapper
	f.broken = c.leaders.broken
	f.log = c.log
	f.fetched = c.counter(f.broker)
	c.mu.Lock()
	c.spawned++
	f.serial = c.spawned
	c.mu.Unlock()
	go f.run()
	return f
}

// counter returns the count of records fetched from a broker.
func (c *consumer) counter(broker int32) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.byBroker[broker]
	if n == nil {
		n = new(atomic.Int64)
		c.byBroker[broker] = n
	}
	return n
}

const (
	// assignmentsAhead is how many assignments a worker may be behind.
	assignmentsAhead = 4
	// batchesAhead is how many batches wait for a worker before its partition is
	// left out of the fetches.
	batchesAhead = 2
)

// worker consumes one partition.
type worker struct {
	partition int32
	consumer  *consumer
	assigned  chan mapper.Executor
	batches   chan batch
	// epoch is the leader epoch that belongs to the last resolution. It may be
	// ahead of the executor that the worker holds; that one's broker then rejects
	// the fetch, and the assignment that follows is on its way anyway.
	epoch atomic.Int32
}

// String names the worker in the mapper's log.
func (w *worker) String() string { return fmt.Sprintf("partition %d", w.partition) }

// Assignment implements mapper.Worker.
func (w *worker) Assignment() chan<- mapper.Executor { return w.assigned }

// run is the worker's life, until ctx ends. Its last act is to let go of the
// executor, so that the mapper may stop it.
func (w *worker) run(ctx context.Context) {
	defer w.consumer.mapper.OnWorkerStopped(w)
	var (
		held *fetcher
		sub  *subscription // with held, nil before the first
		at   position
	)
	defer func() {
		if sub != nil {
			held.release(w, sub)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.assigned:
			next, epoch := e.(*fetcher), w.epoch.Load()
			if next == held && held.renew(w, sub, epoch) {
				continue // a confirmation that changes nothing
			}
			if sub != nil {
				at = held.release(w, sub)
			}
			if next != held {
				w.consumer.log.verbose("partition %d: %v of broker %d, leader epoch %d, from offset %d",
					w.partition, next, next.broker, epoch, at.offset)
			}
			held, sub = next, next.subscribe(w, at, epoch)
		case b := <-w.batches:
			w.consumer.check.received(w.partition, b)
			held.nudge() // the partition may have been left out
		}
	}
}
