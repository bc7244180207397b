package mapper_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// many is a number of notifications that would need a lot of memory, did each
// leave something behind.
func many() int {
	if testing.Short() || raced {
		return 50_000
	}
	return 1_000_000
}

// grows runs f, which notifies n times, and requires that the heap has not
// grown by even one byte for each four of them (and never less than 256 KiB, so
// that the runtime's own affairs do not count).
func grows(t *testing.T, what string, n int, f func()) {
	t.Helper()
	before := heap()
	f()
	if after := heap(); after > before && after-before > max(uint64(n/4), 256<<10) {
		t.Errorf("%s: the heap has grown from %d to %d KiB by %d notifications", what, before>>10, after>>10, n)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// simple is a mapper without a world, which would remember everything.
func simple(t *testing.T, cfg mapper.Config, resolve func(mapper.Worker) (*sarama.Broker, error)) *mapper.T {
	t.Helper()
	m, err := mapper.Spawn(cfg, funcs{
		resolve: resolve,
		spawn:   func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestS8_TriggersAndBrokerFailures(t *testing.T) {
	n := many()
	for _, size := range []int{0, 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			run(t, func(t *testing.T) {
				f, a := newFreezer(t), broker("a")
				m := simple(t, mapper.Config{RingSize: size, Backoff: f.backoff}, func(mapper.Worker) (*sarama.Broker, error) { return a, nil })
				ws := make([]chanWorker, 100)
				var e mapper.Executor
				for i := range ws {
					ws[i] = make(chanWorker, 1)
					m.OnWorkerSpawned(ws[i])
					e = <-ws[i]
				}
				notify := func() {
					for i := range n / 2 {
						m.TriggerReassign(ws[i%100])
						m.BrokerFailed(e, errNoLeader)
					}
				}
				grows(t, "running", n, func() { notify(); settle() })
				pass(time.Second)
				f.freeze(m, ws[0])
				grows(t, "while the mapper does not move", n, notify)
				grows(t, "unknown executors", n, func() {
					for range n {
						m.BrokerFailed(&rigExecutor{a}, errNoLeader)
					}
				})
				grows(t, "unknown workers", n, func() {
					for range n / 2 {
						m.TriggerReassign(make(chanWorker))
						m.OnWorkerStopped(make(chanWorker))
					}
				})
				f.melt()
				for _, w := range ws {
					m.OnWorkerStopped(w)
				}
				m.Stop()
				grows(t, "after Stop", n, func() {
					for range n / 4 {
						m.OnWorkerSpawned(make(chanWorker, 1))
						m.TriggerReassign(ws[0])
						m.OnWorkerStopped(ws[0])
						m.BrokerFailed(e, errNoLeader)
					}
				})
			})
		})
	}
}

func TestS8_LivesOfOneWorker(t *testing.T) {
	n := many()
	for _, size := range []int{0, 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			run(t, func(t *testing.T) {
				f, a := newFreezer(t), broker("a")
				hang := make(chan struct{})
				asked := 0
				m := simple(t, mapper.Config{RingSize: size, Backoff: f.backoff}, func(mapper.Worker) (*sarama.Broker, error) {
					if asked++; asked == 2 { // only one worker, so one call at a time
						<-hang
					}
					return a, nil
				})
				w := &worker{ch: make(chan mapper.Executor, n)}
				lives := func() {
					for range n {
						m.OnWorkerSpawned(w)
						m.OnWorkerStopped(w)
					}
				}
				m.OnWorkerSpawned(w)
				settle()
				f.freeze(m, w)
				m.OnWorkerStopped(w)
				grows(t, "while the mapper does not move", n, lives)
				f.melt()
				settle()
				m.OnWorkerSpawned(w)
				settle()
				m.OnWorkerStopped(w)
				grows(t, "while a resolution hangs", n, lives)
				close(hang)
				settle()
				grows(t, "running", n, func() { lives(); settle() })
				m.Stop()
				if s := m.Stats(); s.Workers+s.Executors != 0 {
					t.Errorf("left: %+v", s)
				}
			})
		})
	}
}

// Workers come and go, a few at a time: what is left depends on how many live
// at once, not on how many ever lived. The connections are new ones each time,
// too.
func TestS8_ManyWorkersOneAfterTheOther(t *testing.T) {
	for _, how := range []string{"served", "never served"} {
		t.Run(how, func(t *testing.T) {
			run(t, func(t *testing.T) {
				const at = 50
				hang := make(chan struct{})
				m := simple(t, mapper.Config{MaxConcurrentResolves: at}, func(w mapper.Worker) (*sarama.Broker, error) {
					if how == "never served" {
						<-hang
						return nil, errNoLeader
					}
					return sarama.NewBroker("a:9092"), nil
				})
				rounds := many() / 10 / at
				churn := func() {
					for range rounds {
						var ws [at]chanWorker
						for i := range ws {
							ws[i] = make(chanWorker, 1)
							m.OnWorkerSpawned(ws[i])
						}
						settle()
						for _, w := range ws {
							m.OnWorkerStopped(w)
						}
						settle()
					}
				}
				churn() // to the high-water mark
				grows(t, how, rounds*at, churn)
				close(hang)
				m.Stop()
				s := m.Stats()
				if s.Workers+s.Executors != 0 || s.WorkersSpawned == 0 || s.WorkersSpawned != s.WorkersStopped || len(m.Snapshot()) != 0 {
					t.Errorf("left: %+v", s)
				}
			})
		})
	}
}

// A worker that never reads leaves no more behind than its channel holds, and
// one that moves for ever no more than it holds at once.
func TestS8_AssignmentsOfOneWorker(t *testing.T) {
	run(t, func(t *testing.T) {
		n := many() / 50
		var reads bool
		m := simple(t, mapper.Config{Backoff: constant(time.Millisecond)}, func(mapper.Worker) (*sarama.Broker, error) {
			return sarama.NewBroker("a:9092"), nil
		})
		w := make(chanWorker, 3)
		move := func() {
			for range n {
				m.TriggerReassign(w)
				pass(time.Millisecond)
				if reads {
					<-w
				}
			}
		}
		m.OnWorkerSpawned(w)
		settle()
		reads = true
		move() // to the high-water mark
		grows(t, "reading", n, move)
		reads = false
		move()
		grows(t, "not reading", n, move)
		m.OnWorkerStopped(w)
		m.Stop()
	})
}
