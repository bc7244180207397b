package mapper_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// fetcher is a worker: it fetches one partition.
type fetcher struct {
	partition int32
	assigned  chan mapper.Executor
}

func (f *fetcher) Assignment() chan<- mapper.Executor { return f.assigned }

// connection is an executor: it serves many fetchers over one connection.
type connection struct{ broker *sarama.Broker }

func (c *connection) BrokerConn() *sarama.Broker { return c.broker }
func (c *connection) Stop()                      { fmt.Println(c.broker.Addr(), "is not needed any more") }

// leaders is a resolver: it knows the leader of each partition.
type leaders map[int32]*sarama.Broker

func (l leaders) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	return l[w.(*fetcher).partition], nil
}

func (l leaders) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	return &connection{conn}
}

func Example() {
	one, two := sarama.NewBroker("one:9092"), sarama.NewBroker("two:9092")
	m, err := mapper.Spawn(mapper.Config{}, leaders{0: one, 1: one, 2: two})
	if err != nil {
		log.Fatal(err)
	}
	var fetchers []*fetcher
	for partition := range int32(3) {
		f := &fetcher{partition, make(chan mapper.Executor, 1)}
		fetchers = append(fetchers, f)
		m.OnWorkerSpawned(f)
	}
	for _, f := range fetchers {
		executor := <-f.assigned // and whenever there is another: use that one from then on
		fmt.Println("partition", f.partition, "is served by", executor.BrokerConn().Addr())
	}
	for _, f := range fetchers {
		m.OnWorkerStopped(f)
	}
	m.Stop()
	// Unordered output:
	// partition 0 is served by one:9092
	// partition 1 is served by one:9092
	// partition 2 is served by two:9092
	// one:9092 is not needed any more
	// two:9092 is not needed any more
}

// A worker whose broker says that it does not lead the partition asks for a new
// assignment. It is sent one in any case: here, the same.
func ExampleT_TriggerReassign() {
	m, f := assigned()
	m.TriggerReassign(f)
	executor := <-f.assigned
	fmt.Println("partition", f.partition, "is served by", executor.BrokerConn().Addr())
	m.OnWorkerStopped(f)
	m.Stop()
	// Output:
	// partition 0 is served by one:9092
	// one:9092 is not needed any more
}

// assigned returns a mapper and a worker that has its first assignment.
func assigned() (*mapper.T, *fetcher) {
	m, err := mapper.Spawn(mapper.Config{}, leaders{0: sarama.NewBroker("one:9092")})
	if err != nil {
		log.Fatal(err)
	}
	f := &fetcher{0, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(f)
	<-f.assigned
	return m, f
}

// A goroutine that is not the one that reads a worker's assignments pins the
// executor while it uses it.
func ExampleT_Acquire() {
	m, f := assigned()

	lease, ok := m.Acquire(f)
	m.OnWorkerStopped(f)
	fmt.Println(ok, lease.Executor().BrokerConn().Addr(), "can be used until the lease is released")
	_, ok = m.Acquire(f)
	fmt.Println(ok, "for a worker that has stopped")
	lease.Release()
	m.Stop()
	// Output:
	// true one:9092 can be used until the lease is released
	// false for a worker that has stopped
	// one:9092 is not needed any more
}

// committer is a worker that has room for what the mapper keeps of it.
type committer struct {
	mapper.Slot
	group    string
	assigned chan mapper.Executor
}

func (c *committer) Assignment() chan<- mapper.Executor { return c.assigned }

// coordinators is a resolver: it knows the coordinator of each group.
type coordinators map[string]*sarama.Broker

func (c coordinators) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	return c[w.(*committer).group], nil
}

func (c coordinators) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	return &connection{conn}
}

// A worker that embeds a Slot is used like any other.
func ExampleSlot() {
	m, err := mapper.Spawn(mapper.Config{}, coordinators{"billing": sarama.NewBroker("one:9092")})
	if err != nil {
		log.Fatal(err)
	}
	c := &committer{group: "billing", assigned: make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(c)
	executor := <-c.assigned
	fmt.Println("group", c.group, "is served by", executor.BrokerConn().Addr())
	m.OnWorkerStopped(c)
	m.Stop()
	// Output:
	// group billing is served by one:9092
	// one:9092 is not needed any more
}

func ExampleT_Shutdown() {
	m, f := assigned()

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	err := m.Shutdown(ctx)
	fmt.Println(errors.Is(err, context.DeadlineExceeded), "while a worker lives")
	m.OnWorkerStopped(f)
	fmt.Println(m.Shutdown(context.Background()))
	// Output:
	// true while a worker lives
	// one:9092 is not needed any more
	// <nil>
}

// metadata is a resolver that asks for many partitions in one request.
type metadata struct{ leaders }

func (d metadata) ResolveBrokers(_ context.Context, workers []mapper.Worker) []mapper.Resolution {
	resolutions := make([]mapper.Resolution, len(workers)) // out of one response
	for i, w := range workers {
		conn, err := d.ResolveBroker(w)
		if conn == nil {
			err = sarama.ErrLeaderNotAvailable
		}
		resolutions[i] = mapper.Resolution{BrokerConn: conn, Err: err}
	}
	return resolutions
}

func ExampleBatchResolver() {
	m, err := mapper.Spawn(mapper.Config{}, metadata{leaders{0: sarama.NewBroker("one:9092")}})
	if err != nil {
		log.Fatal(err)
	}
	led, orphan := &fetcher{0, make(chan mapper.Executor, 1)}, &fetcher{1, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(orphan) // is tried again and again
	m.OnWorkerSpawned(led)
	executor := <-led.assigned
	fmt.Println("partition", led.partition, "is served by", executor.BrokerConn().Addr())
	m.OnWorkerStopped(led)
	m.OnWorkerStopped(orphan)
	m.Stop()
	// Output:
	// partition 0 is served by one:9092
	// one:9092 is not needed any more
}

func ExampleT_Snapshot() {
	m, f := assigned()
	for _, row := range m.Snapshot() {
		fmt.Println(row.Worker == f, row.BrokerConn.Addr(), row.Pending)
	}
	m.OnWorkerStopped(f)
	m.Stop()
	// Output:
	// true one:9092 false
	// one:9092 is not needed any more
}
