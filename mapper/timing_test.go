package mapper_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// steps is a Backoff of 100 ms, 200 ms, 300 ms and so on. It keeps what it was
// asked for.
type steps struct {
	mu       sync.Mutex
	attempts []int
}

func (s *steps) backoff(attempt int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts = append(s.attempts, attempt)
	return time.Duration(attempt+1) * 100 * time.Millisecond
}

// asked returns the attempts that Backoff was asked for since the last call.
func (s *steps) asked() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.attempts
	s.attempts = nil
	return a
}

// triggers runs f with each kind of trigger: w's own, and the failure of the
// executor that it holds.
func triggers(t *testing.T, f func(t *testing.T, trigger func(w *worker))) {
	t.Helper()
	t.Run("TriggerReassign", func(t *testing.T) {
		run(t, func(t *testing.T) { f(t, func(w *worker) { w.x.m.TriggerReassign(w) }) })
	})
	t.Run("BrokerFailed", func(t *testing.T) {
		run(t, func(t *testing.T) { f(t, func(w *worker) { w.x.m.BrokerFailed(w.last, nil) }) })
	})
}

func TestB1_LateTriggerIsResolvedAtOnce(t *testing.T) {
	triggers(t, func(t *testing.T, trigger func(*worker)) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		at := ms(0, 100, 201, 5000)
		for _, d := range at[1:] {
			pass(d - x.now())
			trigger(w)
			settle()
			w.takes(a)
		}
		pass(time.Hour)
		equal(t, "resolved", x.times(w), at...)
	})
}

func TestB1_EarlyTriggerIsResolvedOnceWhenItsTimeComes(t *testing.T) {
	triggers(t, func(t *testing.T, trigger func(*worker)) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		for range 99 { // however often it is repeated
			trigger(w)
			pass(time.Millisecond)
		}
		w.empty()
		equal(t, "resolved", x.times(w), 0)
		pass(time.Millisecond)
		w.takes(a)
		pass(time.Hour)
		w.empty()
		equal(t, "resolved", x.times(w), ms(0, 100)...)
	})
}

// The wait is for what is left of Backoff since the last resolution's start,
// not for all of it since the trigger.
func TestB1_WaitIsFromTheStartOfTheLastResolution(t *testing.T) {
	for _, slow := range []int{0, 30, 90} {
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
				x := newWorld(t, mapper.Config{}, kind)
				a := broker("a")
				x.onResolve = func(w *worker) (*sarama.Broker, error) {
					time.Sleep(time.Duration(slow) * time.Millisecond)
					return w.leader.Load(), nil
				}
				w := x.worker("w", a, 1)
				x.begin(w)
				pass(95 * time.Millisecond)
				w.takes(a)
				x.m.TriggerReassign(w)
				pass(time.Hour)
				w.takes(a)
				equal(t, "resolved", x.times(w), ms(0, 100)...)
				w.leader.Store(nil) // and the same for retries
				x.forget()
				from := x.now()
				x.m.TriggerReassign(w)
				pass(299 * time.Millisecond)
				equal(t, "resolved", x.times(w), from, from+100*time.Millisecond, from+200*time.Millisecond)
			})
		})
	}
}

// The number that Backoff gets counts the resolutions in a row that had to
// wait; confirmations leave it as it is, and a late trigger ends the row.
func TestB1_AttemptCountsResolutionsThatHadToWait(t *testing.T) {
	triggers(t, func(t *testing.T, trigger func(*worker)) {
		var s steps
		x := newWorld(t, mapper.Config{Backoff: s.backoff})
		a := broker("a")
		w := x.worker("w", a, 1)
		x.assigned(a, w)
		equal(t, "attempts asked for", s.asked())
		due := []time.Duration{0}
		early := func(attempt int) { // right after a resolution
			t.Helper()
			trigger(w)
			pass(0)
			equal(t, "attempts asked for", s.asked(), attempt)
			at := x.now() + time.Duration(attempt+1)*100*time.Millisecond
			pass(at - x.now())
			w.takes(a)
			due = append(due, at)
		}
		early(0)
		early(1)
		early(2)
		// Late by the step that the row has reached, but no sooner.
		pass(399 * time.Millisecond)
		trigger(w)
		pass(time.Millisecond)
		equal(t, "attempts asked for", s.asked(), 3)
		w.takes(a)
		due = append(due, x.now())
		pass(500 * time.Millisecond)
		trigger(w) // late, at the very moment: attempt is 0 from here on
		settle()
		equal(t, "attempts asked for", s.asked(), 4)
		w.takes(a)
		due = append(due, x.now())
		early(0)
		early(1)
		equal(t, "resolved", x.times(w), due...)
	})
}

func TestB1_AttemptCountsFailures(t *testing.T) {
	eachKind(t, func(t *testing.T, kind func(*world) mapper.Resolver) {
		var s steps
		x := newWorld(t, mapper.Config{Backoff: s.backoff}, kind)
		a := broker("a")
		w := x.worker("w", nil, 1)
		x.begin(w)
		pass(1550 * time.Millisecond)
		equal(t, "resolved", x.times(w), ms(0, 100, 300, 600, 1000, 1500)...)
		equal(t, "attempts asked for", s.asked(), 0, 1, 2, 3, 4, 5)
		x.m.TriggerReassign(w) // the retry that is owed already is as good
		w.leader.Store(a)
		pass(time.Hour)
		equal(t, "attempts asked for", s.asked())
		equal(t, "resolved", x.times(w)[6:], ms(2100)...)
		w.takes(a)
	})
}

// The due time is fixed when the wait begins, whatever Backoff would say later.
func TestB1_DueTimeIsFixed(t *testing.T) {
	for _, later := range []time.Duration{0, time.Hour} {
		t.Run(later.String(), func(t *testing.T) {
			triggers(t, func(t *testing.T, trigger func(*worker)) {
				now := 100 * time.Millisecond
				x := newWorld(t, mapper.Config{Backoff: func(int) time.Duration { return now }})
				a := broker("a")
				w := x.worker("w", a, 1)
				x.assigned(a, w)
				trigger(w)
				settle()
				now = later // the mapper is asleep
				pass(50 * time.Millisecond)
				trigger(w)
				x.m.TriggerReassign(w)
				pass(49 * time.Millisecond)
				equal(t, "resolved", x.times(w), 0)
				pass(time.Millisecond)
				equal(t, "resolved", x.times(w), ms(0, 100)...)
				w.takes(a)
			})
		})
	}
}

// A trigger that comes in flight leads to one more resolution, and is judged
// when it comes: an early one waits, a late one is resolved as soon as the call
// has returned, and starts a new row.
func TestB1_TriggerInFlight(t *testing.T) {
	cases := []struct {
		trigger, lands, next int // ms since the start of the resolution in flight
		attempt              int // after that next one
	}{
		{20, 50, 100, 1},
		{0, 50, 100, 1},
		{20, 250, 250, 1},
		{99, 250, 250, 1},
		{100, 250, 250, 0},
		{150, 250, 250, 0},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("at %d lands %d", c.trigger, c.lands), func(t *testing.T) {
			triggers(t, func(t *testing.T, trigger func(*worker)) {
				var s steps
				x := newWorld(t, mapper.Config{Backoff: s.backoff})
				a := broker("a")
				w := x.worker("w", a, 2)
				x.assigned(a, w)
				pass(time.Second)
				slow := time.Duration(c.lands) * time.Millisecond
				x.lock(func() {
					x.onResolve = func(*worker) (*sarama.Broker, error) {
						time.Sleep(slow)
						slow = 0
						return a, nil
					}
				})
				x.m.TriggerReassign(w) // late
				settle()
				x.forget()
				pass(time.Duration(c.trigger) * time.Millisecond)
				for range 5 {
					trigger(w)
					settle()
				}
				pass(time.Duration(c.next-c.trigger) * time.Millisecond)
				w.takes(a)
				w.takes(a)
				equal(t, "resolved", x.times(w), ms(1000+c.next)...)
				s.asked()
				x.m.TriggerReassign(w)
				settle()
				equal(t, "attempt", s.asked(), c.attempt)
				pass(time.Hour)
				if n := len(x.times(w)); n != 2 {
					t.Errorf("resolved %v, want one more only", x.times(w))
				}
			})
		})
	}
}

// Where the resolution in flight fails, the trigger is the same as its retry:
// one more, that counts as one that had to wait.
func TestB1_TriggerInFlightIsTheRetry(t *testing.T) {
	cases := []struct{ trigger, lands, next int }{
		{20, 50, 100},
		{20, 250, 250},
		{150, 250, 250},
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("at %d lands %d", c.trigger, c.lands), func(t *testing.T) {
			triggers(t, func(t *testing.T, trigger func(*worker)) {
				var s steps
				x := newWorld(t, mapper.Config{Backoff: s.backoff})
				a := broker("a")
				w := x.worker("w", a, 1)
				x.assigned(a, w)
				pass(time.Second)
				slow := time.Duration(c.lands) * time.Millisecond
				fail := errNoLeader
				x.lock(func() {
					x.onResolve = func(*worker) (b *sarama.Broker, err error) {
						time.Sleep(slow)
						b, err = a, fail
						slow, fail = 0, nil
						return b, err
					}
				})
				x.m.TriggerReassign(w)
				settle()
				x.forget()
				pass(time.Duration(c.trigger) * time.Millisecond)
				trigger(w)
				pass(time.Duration(c.next-c.trigger) * time.Millisecond)
				w.takes(a)
				equal(t, "resolved", x.times(w), ms(1000+c.next)...)
				s.asked()
				x.m.TriggerReassign(w)
				settle()
				equal(t, "attempt", s.asked(), 1)
			})
		})
	}
}

// A resolver that takes longer than Backoff, and fails, is asked again at once.
func TestB1_RetryOfASlowFailure(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		x.onResolve = func(*worker) (*sarama.Broker, error) {
			time.Sleep(150 * time.Millisecond)
			return nil, errNoLeader
		}
		w := x.worker("w", nil, 1)
		x.begin(w)
		pass(400 * time.Millisecond)
		equal(t, "resolved", x.times(w), ms(0, 150, 300)...)
	})
}

// The spawn of an executor that takes long, and fails, is a failed resolution
// too: it is retried by the time since that resolution began.
func TestB1_RetryOfAFailedSpawn(t *testing.T) {
	for _, slow := range []int{0, 60, 250} {
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			run(t, func(t *testing.T) {
				var s steps
				x := newWorld(t, mapper.Config{Backoff: s.backoff})
				x.onSpawn = func(*sarama.Broker) mapper.Executor {
					time.Sleep(time.Duration(slow) * time.Millisecond)
					return nil
				}
				w := x.worker("w", broker("a"), 1)
				x.begin(w)
				pass(499 * time.Millisecond)
				want := map[int][]time.Duration{0: ms(0, 100, 300), 60: ms(0, 100, 300), 250: ms(0, 250)}[slow]
				equal(t, "resolved", x.times(w), want...)
				if a := s.asked(); a[0] != 0 || len(a) > 1 && a[1] != 1 {
					t.Errorf("attempts %v", a)
				}
			})
		})
	}
}

// A trigger for a worker that waits for its executor starts another
// resolution, by the same rule as any.
func TestB1_TriggerWhileTheExecutorSpawns(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{})
		a := broker("a")
		wait, open := x.gate()
		x.onSpawn = func(c *sarama.Broker) mapper.Executor { wait(); return x.executor(c, c) }
		w := x.worker("w", a, 2)
		x.begin(w)
		pass(50 * time.Millisecond)
		x.m.TriggerReassign(w)
		pass(time.Second)
		x.m.TriggerReassign(w)
		pass(time.Second)
		open()
		settle()
		equal(t, "resolved", x.times(w), ms(0, 100, 1050)...)
		w.takes(a)
		w.empty()
	})
}

// A negative Backoff is none.
func TestB1_NegativeBackoff(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(-time.Hour)})
		a := broker("a")
		n := 0
		x.onResolve = func(*worker) (*sarama.Broker, error) {
			if n++; n < 100 {
				return nil, errNoLeader
			}
			return a, nil
		}
		w := x.worker("w", a, 1)
		x.begin(w)
		settle()
		w.takes(a)
	})
}

// Backoff may say for ever; the timer takes it.
func TestB1_EndlessBackoff(t *testing.T) {
	run(t, func(t *testing.T) {
		x := newWorld(t, mapper.Config{Backoff: constant(1<<63 - 1)})
		w := x.worker("w", nil, 1)
		x.begin(w)
		pass(24 * 365 * time.Hour)
		equal(t, "resolved", x.times(w), 0)
	})
}
