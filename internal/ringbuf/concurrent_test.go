package ringbuf_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"go.uber.org/goleak"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// consume drains r, parking when there is nothing, until done is set and the
// ring is empty. It takes what Push accepted before the store to done, if that
// is followed by Wake.
func consume[T any](r *ringbuf.Ring[T], batch int, done *atomic.Bool, take func(T)) {
	buf := make([]T, batch)
	look := func() bool {
		n := r.Drain(buf)
		for _, v := range buf[:n] {
			take(v)
		}
		return n > 0
	}
	for {
		for look() {
		}
		r.Arm()
		last := done.Load()
		switch {
		case look():
			r.Disarm()
		case last:
			r.Disarm()
			return
		default:
			r.Wait(nil)
		}
	}
}

func TestStress(t *testing.T) {
	items := 20_000
	if raceDetector {
		items = 2000
	}
	for _, producers := range []int{1, 2, 8} {
		for _, capacity := range []int{2, 8, 256} {
			for _, slow := range []int{0, 1} {
				t.Run(fmt.Sprintf("producers=%d/capacity=%d/slow=%d", producers, capacity, slow), func(t *testing.T) {
					stress(t, producers, slow, capacity, items)
				})
			}
		}
	}
}

// stress has producers push numbers, giving up those that are refused. The last
// few producers are slow: they leave a hole for a while each time.
func stress(t *testing.T, producers, slow, capacity, items int) {
	type item struct{ producer, number int }
	r := ringbuf.NewAt[item](capacity, beforeWrap)
	var wg sync.WaitGroup
	accepted := make([]map[int]bool, producers+slow)
	for p := range accepted {
		accepted[p] = map[int]bool{}
		push := r.Push
		if p >= producers {
			push = func(v item) bool {
				publish := r.Claim()
				if publish == nil {
					return false
				}
				for range v.number % 5 {
					runtime.Gosched()
				}
				publish(v)
				return true
			}
		}
		wg.Go(func() {
			for i := range items / len(accepted) {
				if push(item{p, i}) {
					accepted[p][i] = true
				} else {
					runtime.Gosched() // so that not all of them are refused
				}
			}
		})
	}
	var done atomic.Bool
	go func() {
		wg.Wait()
		done.Store(true)
		r.Wake()
	}()
	taken := map[item]bool{}
	consume(r, 7, &done, func(v item) {
		if taken[v] {
			t.Errorf("took %v twice", v)
		}
		taken[v] = true
	})
	total := 0
	for p, numbers := range accepted {
		total += len(numbers)
		for i := range numbers {
			if !taken[item{p, i}] {
				t.Fatalf("lost item %d of producer %d", i, p)
			}
		}
	}
	if total != len(taken) {
		t.Errorf("took %d items of %d", len(taken), total)
	}
	t.Logf("accepted %d", total)
}

// A ring belongs into a synctest bubble: its consumer blocks there durably, and
// nobody spins.
func TestParkingInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ringbuf.New[int](4)
		var done atomic.Bool
		var got []int
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			consume(r, 2, &done, func(v int) { got = append(got, v) })
		}()
		for i := range 20 {
			synctest.Wait() // the consumer is parked: nothing else would let this return
			if len(got) != i {
				t.Fatalf("parked with %d items taken, want %d", len(got), i)
			}
			time.Sleep(time.Hour)
			r.Push(i)
		}
		synctest.Wait()
		done.Store(true)
		r.Wake()
		<-finished
		if len(got) != 20 {
			t.Errorf("took %v", got)
		}
	})
}

func TestWaitEndsWithTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ringbuf.New[int](4)
		begin := time.Now()
		r.Arm()
		if r.Wait(time.After(time.Minute)) {
			t.Error("no token, and yet")
		}
		if d := time.Since(begin); d != time.Minute {
			t.Errorf("waited %v", d)
		}
		r.Arm()
		time.AfterFunc(time.Second, r.Wake)
		if !r.Wait(time.After(time.Minute)) {
			t.Error("a Wake did not end Wait")
		}
	})
}

func TestTokenOnlyWhileArmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := ringbuf.New[int](8)
		token := func() bool { return r.Wait(time.After(time.Second)) }
		for name, notify := range map[string]func(){"Push": func() { r.Push(1) }, "Wake": r.Wake} {
			notify()
			if token() {
				t.Errorf("a %s before Arm left a token", name)
			}
			r.Arm()
			notify()
			if !token() {
				t.Errorf("a %s after Arm left no token", name)
			}
			notify()
			if token() {
				t.Errorf("Wait did not disarm: a %s after it left a token", name)
			}
			r.Arm()
			r.Disarm()
			notify()
			if token() {
				t.Errorf("a %s after Disarm left a token", name)
			}
		}
	})
}

// pushed and drained are operations of a history.
type pushed struct{ item int }

type drained struct{}

// bagModel is the ring as seen from outside, as long as it is large enough: a
// set of items.
var bagModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		bag := state.(uint64)
		if in, ok := input.(pushed); ok {
			return output.(bool), bag | 1<<in.item // there is always room
		}
		taken := output.(uint64)
		if taken == 0 {
			return bag == 0, bag
		}
		return bag&taken == taken, bag &^ taken
	},
}

// Histories of pushes and drains can be put in an order in which each drain
// returns something unless all pushes before it are taken.
func TestLinearizable(t *testing.T) {
	histories := 300
	if raceDetector {
		histories = 50
	}
	const producers, items = 3, 6
	for range histories {
		r := ringbuf.NewAt[int](32, beforeWrap)
		var clock atomic.Int64
		logs := make([][]porcupine.Operation, producers+1)
		record := func(client int, input any, do func() any) {
			call := clock.Add(1)
			output := do()
			logs[client] = append(logs[client], porcupine.Operation{
				ClientId: client, Input: input, Call: call, Output: output, Return: clock.Add(1),
			})
		}
		var wg sync.WaitGroup
		for p := range producers {
			wg.Go(func() {
				for i := range items {
					record(p, pushed{p*items + i}, func() any { return r.Push(p*items + i) })
				}
			})
		}
		wg.Go(func() {
			buf := make([]int, 4)
			for range 3 * items {
				record(producers, drained{}, func() any {
					var taken uint64
					for _, v := range buf[:r.Drain(buf)] {
						taken |= 1 << v
					}
					return taken
				})
			}
		})
		wg.Wait()
		var history []porcupine.Operation
		for _, log := range logs {
			history = append(history, log...)
		}
		if !porcupine.CheckOperations(bagModel, history) {
			t.Fatalf("not linearizable: %v", history)
		}
	}
}
