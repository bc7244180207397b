package mapper_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// otherWorker is a second type of worker, by pointer, and namedWorker one that
// is no pointer.
type otherWorker struct{ ch chan mapper.Executor }

func (w *otherWorker) Assignment() chan<- mapper.Executor { return w.ch }

type namedWorker struct {
	name string
	ch   chan mapper.Executor
}

func (w namedWorker) Assignment() chan<- mapper.Executor { return w.ch }

// The mapper's goroutine stands still while this counts, so that what is
// counted is what the callers allocate. Nothing here takes time that a bubble
// would save.
func TestS7_NotificationsDoNotAllocate(t *testing.T) {
	kinds := map[string]func(i int) (mapper.Worker, chan mapper.Executor){
		"pointer": func(int) (mapper.Worker, chan mapper.Executor) {
			ch := make(chan mapper.Executor, 1)
			return &worker{ch: ch}, ch
		},
		"second type of pointer": func(int) (mapper.Worker, chan mapper.Executor) {
			ch := make(chan mapper.Executor, 1)
			return &otherWorker{ch}, ch
		},
		"second type with a Slot": func(int) (mapper.Worker, chan mapper.Executor) {
			ch := make(chan mapper.Executor, 1)
			return &other{channel: channel{ch}}, ch
		},
		"struct": func(i int) (mapper.Worker, chan mapper.Executor) {
			ch := make(chan mapper.Executor, 1)
			return namedWorker{fmt.Sprint("w", i), ch}, ch
		},
		"channel": func(int) (mapper.Worker, chan mapper.Executor) {
			ch := make(chanWorker, 1)
			return ch, ch
		},
	}
	for name, make1 := range kinds {
		for _, size := range []int{0, 1} { // room in the ring, or not
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				f := newFreezer(t)
				a := broker("a")
				m, err := mapper.Spawn(mapper.Config{RingSize: size, Backoff: f.backoff}, funcs{
					resolve: func(mapper.Worker) (*sarama.Broker, error) { return a, nil },
					spawn:   func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
				})
				if err != nil {
					t.Fatal(err)
				}
				const n = 200
				cold := &worker{ch: make(chan mapper.Executor, 2)} // also the first type of pointer
				m.OnWorkerSpawned(cold)
				e := <-cold.ch
				ws := make([]mapper.Worker, 3*n)
				for i := range ws {
					w, ch := make1(i)
					ws[i] = w
					m.OnWorkerSpawned(w)
					if got := <-ch; got != e {
						t.Fatal("want one executor")
					}
				}
				f.freeze(m, cold)

				check := func(what string, f func(i int)) {
					t.Helper()
					i := 0
					if allocs := testing.AllocsPerRun(n-1, func() { f(i); i++ }); allocs != 0 {
						t.Errorf("%s allocates %v times", what, allocs)
					}
				}
				broken := errors.New("broken")
				stranger := &rigExecutor{a}
				check("TriggerReassign", func(i int) { m.TriggerReassign(ws[i]) })
				check("a repeated TriggerReassign", func(int) { m.TriggerReassign(ws[0]) })
				check("BrokerFailed", func(int) { m.BrokerFailed(e, broken) })
				check("BrokerFailed for an unknown executor", func(int) { m.BrokerFailed(stranger, broken) })
				check("Acquire and Release", func(i int) {
					l, ok := m.Acquire(ws[i])
					if !ok || l.Executor() != e {
						t.Fatal("no lease")
					}
					l.Release()
				})
				check("a repeated OnWorkerSpawned", func(i int) { m.OnWorkerSpawned(ws[i]) })
				check("OnWorkerStopped", func(i int) { m.OnWorkerStopped(ws[n+i]) })
				check("a repeated OnWorkerStopped", func(i int) { m.OnWorkerStopped(ws[n+i]) })
				check("TriggerReassign for an unknown worker", func(i int) { m.TriggerReassign(ws[n+i]) })
				check("Acquire for an unknown worker", func(i int) { m.Acquire(ws[n+i]) })
				check("BrokerFailed(nil)", func(int) { m.BrokerFailed(nil, broken) })
				check("TriggerReassign(nil)", func(int) { m.TriggerReassign(nil) })

				// A life that begins may allocate its slot, and does so once.
				i := 0
				if allocs := testing.AllocsPerRun(n-1, func() { m.OnWorkerSpawned(ws[n+i]); i++ }); allocs > 1 {
					t.Errorf("OnWorkerSpawned for a further life allocates %v times, want once", allocs)
				}
				f.melt()
				for _, w := range slices.Concat(ws, []mapper.Worker{cold}) {
					m.OnWorkerStopped(w)
				}
				m.Stop()
				check("OnWorkerSpawned after Stop", func(i int) { m.OnWorkerSpawned(ws[i]) })
				check("OnWorkerStopped after Stop", func(i int) { m.OnWorkerStopped(ws[i]) })
				check("TriggerReassign after Stop", func(i int) { m.TriggerReassign(ws[i]) })
				check("BrokerFailed after Stop", func(int) { m.BrokerFailed(e, broken) })
				check("Acquire after Stop", func(i int) { m.Acquire(ws[i]) })
			})
		}
	}
}
