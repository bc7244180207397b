package classic_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/classic"
	"github.com/brokermap/brokermap/mapper"
)

type worker struct{ ch chan mapper.Executor }

func (w *worker) Assignment() chan<- mapper.Executor { return w.ch }

type executor struct {
	conn    *sarama.Broker
	stopped atomic.Bool
}

func (e *executor) BrokerConn() *sarama.Broker { return e.conn }
func (e *executor) Stop()                      { e.stopped.Store(true) }

type resolver struct {
	mu   sync.Mutex
	conn *sarama.Broker
	err  error
	all  []*executor
}

func (r *resolver) set(conn *sarama.Broker, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.err = conn, err
}

func (r *resolver) ResolveBroker(mapper.Worker) (*sarama.Broker, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.conn, r.err
}

func (r *resolver) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	e := &executor{conn: conn}
	r.all = append(r.all, e)
	return e
}

func TestServesAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := sarama.NewBroker("first:9092"), sarama.NewBroker("second:9092")
		r := &resolver{conn: first}
		m := classic.Spawn(4, time.Second, r)
		workers := make([]*worker, 20)
		expect := func(conn *sarama.Broker) {
			t.Helper()
			synctest.Wait()
			for i, w := range workers {
				if len(w.ch) != 1 {
					t.Fatalf("worker %d was sent %d executors, want 1", i, len(w.ch))
				}
				if got := (<-w.ch).BrokerConn(); got != conn {
					t.Errorf("worker %d was sent an executor of %s, want %s", i, got.Addr(), conn.Addr())
				}
			}
		}
		trigger := func() {
			for _, w := range workers {
				m.TriggerReassign(w)
			}
		}

		for i := range workers {
			workers[i] = &worker{make(chan mapper.Executor, 1)}
			m.OnWorkerSpawned(workers[i])
		}
		expect(first)

		r.set(second, nil)
		trigger()
		expect(second)

		trigger()
		expect(second) // a confirmation

		r.set(nil, errors.New("no leader"))
		trigger()
		synctest.Wait()
		r.set(first, nil)
		time.Sleep(time.Second)
		expect(first) // the retry

		for _, w := range workers {
			m.OnWorkerStopped(w)
		}
		m.Stop()
		if len(r.all) != 3 {
			t.Errorf("%d executors were spawned, want 3", len(r.all))
		}
		for i, e := range r.all {
			if !e.stopped.Load() {
				t.Errorf("executor %d was not stopped", i)
			}
		}
	})
}

// TestBlocks shows what the benchmarks cannot: a measurement that never ends.
func TestBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowSpawner{release: make(chan struct{})}
		m := classic.Spawn(4, time.Second, r)
		w := &worker{make(chan mapper.Executor, 1)}
		m.OnWorkerSpawned(w)
		synctest.Wait()
		returned := 0
		go func() {
			for range 10 {
				m.TriggerReassign(w)
				returned++
			}
		}()
		synctest.Wait()
		if returned != 4 {
			t.Errorf("%d triggers returned while SpawnExecutor hung, want 4", returned)
		}
		close(r.release)
		synctest.Wait()
		<-w.ch
		m.OnWorkerStopped(w)
		m.Stop()
	})
}

type slowSpawner struct {
	resolver
	release chan struct{}
}

func (r *slowSpawner) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	<-r.release
	return r.resolver.SpawnExecutor(conn)
}

func (r *slowSpawner) ResolveBroker(mapper.Worker) (*sarama.Broker, error) {
	return sarama.NewBroker("only:9092"), nil
}
