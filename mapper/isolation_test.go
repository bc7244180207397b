package mapper_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// served requires that fresh workers, and workers that have an executor, are
// served at once by the brokers given.
func served(x *world, how string, brokers ...*sarama.Broker) {
	x.t.Helper()
	for i, b := range brokers {
		w := x.worker(fmt.Sprint(how, i), b, 1)
		x.assigned(b, w)
		pass(time.Second)
		x.m.TriggerReassign(w)
		settle()
		w.takes(b)
		x.end(w)
		settle()
		w.empty()
	}
}

func TestS10_HangingResolveBrokerDelaysOnlyItsWorkers(t *testing.T) {
	for _, limit := range []int{0, 2, 7} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				x := newWorld(t, mapper.Config{MaxConcurrentResolves: limit}, kind)
				if limit == 0 {
					limit = 16
				}
				a := broker("a")
				wait, open := x.gate()
				x.onResolve = func(w *worker) (*sarama.Broker, error) {
					if w.leader.Load() == nil {
						wait()
						return a, nil
					}
					return w.leader.Load(), nil
				}
				hanging := x.workers(limit-1, nil)
				for _, w := range hanging {
					x.begin(w)
					settle() // a call of its own, with batches too
				}
				served(x, "while calls hang", a, broker("b"), a)
				for _, w := range hanging {
					w.empty()
				}
				// One more, and everybody waits, but is not forgotten.
				last, waiting := x.worker("last", nil, 1), x.workers(10, a)
				x.begin(last)
				settle()
				x.begin(waiting...)
				pass(time.Hour)
				for _, w := range waiting {
					w.empty()
				}
				open()
				settle()
				for _, w := range append(waiting, hanging...) {
					w.takes(a)
				}
			})
		})
	}
}

func TestS10_HangingSpawnExecutorDelaysOnlyItsWorkers(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{MaxConcurrentResolves: 1}, kind)
		a := broker("a")
		wait, open := x.gate()
		x.onSpawn = func(c *sarama.Broker) mapper.Executor {
			if c != a {
				wait()
			}
			return x.executor(c, c)
		}
		var hanging []*worker
		for i := range 100 {
			w := x.worker(fmt.Sprint("hanging", i), broker(fmt.Sprint("b", i)), 1)
			hanging = append(hanging, w)
		}
		x.begin(hanging...)
		pass(time.Second)
		served(x, "while spawns hang", a, a, a)
		// A worker whose executor does not come may resolve elsewhere.
		hanging[0].leader.Store(a)
		x.m.TriggerReassign(hanging[0])
		settle()
		hanging[0].takes(a)
		open()
		settle()
		for _, w := range hanging[1:] {
			w.takes(w.leader.Load())
		}
	})
}

func TestS10_HangingStopDelaysOnlyItsWorkers(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		x := newWorld(t, mapper.Config{MaxConcurrentResolves: 1}, kind)
		a := broker("a")
		wait, open := x.gate()
		x.onStop = func(e *executor) {
			if e.conn != a {
				wait()
			}
		}
		var brokers []*sarama.Broker
		for i := range 100 {
			b := broker(fmt.Sprint("b", i))
			brokers = append(brokers, b)
			w := x.worker(fmt.Sprint("w", i), b, 1)
			x.assigned(b, w)
			x.end(w)
			settle()
			w.empty()
		}
		served(x, "while stops hang", a, a, a)
		waiting := x.workers(100, nil)
		for i, w := range waiting {
			w.leader.Store(brokers[i])
		}
		x.begin(waiting...)
		pass(time.Second)
		served(x, "while workers wait", a, a, a)
		open()
		settle()
		for _, w := range waiting {
			w.takes(w.leader.Load())
		}
	})
}
