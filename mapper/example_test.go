package mapper_test

import (
	"context"
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
func (c *connection) Stop()                      { _ = c.broker.Close() }

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
	m.Stop() // both connections are closed now
	// Output:
	// partition 0 is served by one:9092
	// partition 1 is served by one:9092
	// partition 2 is served by two:9092
}

func ExampleT_TriggerReassign() {
	broker := sarama.NewBroker("one:9092")
	m, _ := mapper.Spawn(mapper.Config{}, leaders{7: broker})
	f := &fetcher{7, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(f)
	first := <-f.assigned

	m.TriggerReassign(f) // the broker said that it does not lead the partition
	again := <-f.assigned
	fmt.Println("confirmed:", again == first)

	m.OnWorkerStopped(f)
	m.Stop()
	// Output: confirmed: true
}

func ExampleT_Acquire() {
	m, _ := mapper.Spawn(mapper.Config{}, leaders{7: sarama.NewBroker("one:9092")})
	f := &fetcher{7, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(f)
	<-f.assigned

	lease, ok := m.Acquire(f)
	fmt.Println(ok, lease.Executor().BrokerConn().Addr())
	m.OnWorkerStopped(f)
	// The executor has lost its last worker, but is not stopped before this:
	lease.Release()

	m.Stop()
	_, ok = m.Acquire(f)
	fmt.Println(ok)
	// Output:
	// true one:9092
	// false
}

func ExampleT_Shutdown() {
	m, _ := mapper.Spawn(mapper.Config{}, leaders{7: sarama.NewBroker("one:9092")})
	f := &fetcher{7, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(f)
	<-f.assigned

	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(m.Shutdown(ctx) != nil) // the worker still lives
	m.OnWorkerStopped(f)
	fmt.Println(m.Shutdown(context.Background()))
	// Output:
	// true
	// <nil>
}

func ExampleT_Snapshot() {
	m, _ := mapper.Spawn(mapper.Config{}, leaders{7: sarama.NewBroker("one:9092")})
	f := &fetcher{7, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(f)
	<-f.assigned

	for _, a := range m.Snapshot() {
		fmt.Println(a.Worker.(*fetcher).partition, a.BrokerConn.Addr(), a.Pending)
	}
	m.OnWorkerStopped(f)
	m.Stop()
	// Output: 7 one:9092 false
}

// metadata is a resolver that answers for many workers with one request.
type metadata struct{ leaders }

func (r metadata) ResolveBrokers(_ context.Context, workers []mapper.Worker) []mapper.Resolution {
	// One request for all of them would go here, bounded by the context.
	resolutions := make([]mapper.Resolution, len(workers))
	for i, w := range workers {
		resolutions[i].BrokerConn, resolutions[i].Err = r.ResolveBroker(w)
	}
	return resolutions
}

func ExampleBatchResolver() {
	var r mapper.BatchResolver = metadata{leaders{7: sarama.NewBroker("one:9092")}}
	m, _ := mapper.Spawn(mapper.Config{}, r)
	f := &fetcher{7, make(chan mapper.Executor, 1)}
	m.OnWorkerSpawned(f)
	fmt.Println((<-f.assigned).BrokerConn().Addr())
	m.OnWorkerStopped(f)
	m.Stop()
	// Output: one:9092
}
