//go:build explore

package explore_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/explore"
)

// mustFail explores a program that breaks a rule.
func mustFail(t *testing.T, o explore.Options, want string, setup func(*explore.Program)) {
	t.Helper()
	r := explore.Explore(o, setup)
	switch {
	case r.Failure == nil:
		t.Errorf("nothing found: %v", r)
	case !strings.Contains(r.Failure.String(), want):
		t.Errorf("found %v, want %q", r.Failure, want)
	}
}

func increments(p *explore.Program, increment func(*atomicx.Uint64)) {
	var n atomicx.Uint64
	for range 3 {
		p.Go(func() { increment(&n) })
	}
	p.Check(func() error {
		if n.Load() != 3 {
			return errors.New("lost an increment")
		}
		return nil
	})
}

func TestFindsLostIncrement(t *testing.T) {
	for _, o := range []explore.Options{{}, {Exhaustive: true}, {Preemptions: 1}} {
		mustFail(t, o, "lost an increment", func(p *explore.Program) {
			increments(p, func(n *atomicx.Uint64) { n.Store(n.Load() + 1) })
		})
	}
}

func TestAcceptsAtomicIncrement(t *testing.T) {
	explore.Verify(t, explore.Options{}, func(p *explore.Program) {
		increments(p, func(n *atomicx.Uint64) { n.Inc() })
	})
	explore.Verify(t, explore.Options{}, func(p *explore.Program) {
		increments(p, func(n *atomicx.Uint64) {
			for v := n.Load(); !n.CompareAndSwap(v, v+1); v = n.Load() {
			}
		})
	})
}

func TestFailureShowsTheSchedule(t *testing.T) {
	r := explore.Explore(explore.Options{}, func(p *explore.Program) {
		var n atomicx.Uint64
		p.Go(func() { n.Store(7) })
		p.Check(func() error { return errors.New("so it goes") })
	})
	if got, want := r.Failure.String(), "so it goes\n   1  thread 0  start\n   2  thread 0  Store #1 = 7"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFindsDeadlock(t *testing.T) {
	mustFail(t, explore.Options{}, "deadlock: thread 1 at Wait #1", func(p *explore.Program) {
		s := atomicx.NewSignal()
		for range 2 {
			p.Go(func() { s.Wait(nil) })
		}
		p.Go(s.Notify)
		p.Go(s.Notify) // no second token where the first is still there
	})
}

func TestFindsLoopThatPolls(t *testing.T) {
	mustFail(t, explore.Options{MaxSteps: 100}, "no end after 100 steps", func(p *explore.Program) {
		var ready atomicx.Uint32
		p.Go(func() {
			for ready.Load() == 0 {
			}
		})
		p.Go(func() { ready.Store(1) })
	})
}

func TestFindsPanic(t *testing.T) {
	mustFail(t, explore.Options{}, "panic in thread 1: out of order", func(p *explore.Program) {
		var turn atomicx.Uint32
		p.Go(func() { turn.Store(1) })
		p.Go(func() {
			if turn.Load() == 0 {
				panic("out of order")
			}
		})
	})
}

// A program with a cell that is passed on through a word, a signal, or neither.
func TestFindsRaces(t *testing.T) {
	for name, c := range map[string]struct {
		pass func(word *atomicx.Uint32, s *atomicx.Signal)
		take func(word *atomicx.Uint32, s *atomicx.Signal) bool
		racy bool
	}{
		"store and load": {
			pass: func(w *atomicx.Uint32, _ *atomicx.Signal) { w.Store(1) },
			take: func(w *atomicx.Uint32, _ *atomicx.Signal) bool { return w.Load() == 1 },
		},
		"notify and wait": {
			pass: func(_ *atomicx.Uint32, s *atomicx.Signal) { s.Notify() },
			take: func(_ *atomicx.Uint32, s *atomicx.Signal) bool { return s.Wait(nil) },
		},
		"looks at what was not stored yet": {
			pass: func(w *atomicx.Uint32, _ *atomicx.Signal) { w.Store(1) },
			take: func(w *atomicx.Uint32, _ *atomicx.Signal) bool { return w.Load() == 0 },
			racy: true,
		},
		"takes by a swap of its own": {
			pass: func(w *atomicx.Uint32, _ *atomicx.Signal) { w.Load() },
			take: func(w *atomicx.Uint32, _ *atomicx.Signal) bool { return w.Swap(1) == 0 },
			racy: true,
		},
	} {
		setup := func(p *explore.Program) {
			var cell atomicx.Cell[string]
			var word atomicx.Uint32
			s := atomicx.NewSignal()
			p.Go(func() {
				cell.Set("passed")
				c.pass(&word, &s)
			})
			p.Go(func() {
				if c.take(&word, &s) {
					cell.Get()
				}
			})
		}
		if r := explore.Explore(explore.Options{}, setup); (r.Failure != nil) != c.racy {
			t.Errorf("%s: racy %v: %v", name, c.racy, r.Failure)
		}
	}
}

// The write comes after the store that seems to pass it on.
func TestFindsRaceAfterRelease(t *testing.T) {
	mustFail(t, explore.Options{}, "data race", func(p *explore.Program) {
		var cell atomicx.Cell[int]
		var word atomicx.Uint32
		p.Go(func() {
			word.Store(1)
			cell.Set(1)
			word.Load()
		})
		p.Go(func() {
			if word.Load() == 1 {
				cell.Get()
			}
		})
	})
}

// Which of two waits gets the token matters in the middle of a run that the
// reduction breaks off, with one of them stuck.
func TestReductionKeepsThoseStuck(t *testing.T) {
	search := func(o explore.Options) map[[3]string]bool {
		outcomes := map[[3]string]bool{}
		explore.Verify(t, o, func(p *explore.Program) {
			var seen [3]string
			var word atomicx.Uint32
			s := atomicx.NewSignal()
			s.Notify()
			p.Daemon(func() {
				word.Store(1)
				seen[0] = "stored"
			})
			p.Daemon(func() {
				s.Wait(nil)
				seen[1] = fmt.Sprint(word.Load())
			})
			p.Daemon(func() {
				s.Notify()
				s.Wait(nil)
				seen[2] = "woken"
			})
			p.Check(func() error {
				outcomes[seen] = true
				return nil
			})
		})
		return outcomes
	}
	if all, reduced := search(explore.Options{Exhaustive: true}), search(explore.Options{}); !maps.Equal(all, reduced) {
		t.Errorf("outcomes %v, reduced %v", all, reduced)
	}
}

// A lock's holder that stops for ever delays the others; that of a lock which
// they give up on, at a timer, does not.
func TestStoppedThread(t *testing.T) {
	program := func(lock func(*atomicx.Signal) (locked bool)) func(*explore.Program) {
		return func(p *explore.Program) {
			s := atomicx.NewSignal()
			s.Notify()
			section := func() {
				if lock(&s) {
					s.Notify()
				}
			}
			p.Stoppable(section)
			p.Go(section)
		}
	}
	mustFail(t, explore.Options{}, "deadlock: thread 1 at Wait", program(func(s *atomicx.Signal) bool { return s.Wait(nil) }))

	r := explore.Verify(t, explore.Options{}, program(func(s *atomicx.Signal) bool { return s.Wait(make(chan time.Time)) }))
	if r.Runs < 5 {
		t.Errorf("%v: a thread of two steps can stop before each", r)
	}
}

func TestStopsBeforeEachStep(t *testing.T) {
	seen := map[uint64]bool{}
	explore.Verify(t, explore.Options{}, func(p *explore.Program) {
		var n atomicx.Uint64
		p.Stoppable(func() {
			for range 4 {
				n.Inc()
			}
		})
		p.Check(func() error {
			seen[n.Load()] = true
			return nil
		})
	})
	if len(seen) != 5 {
		t.Errorf("stopped after %v, want each of 0 to 4 steps", seen)
	}
}

func TestLimits(t *testing.T) {
	three := func(p *explore.Program) {
		increments(p, func(n *atomicx.Uint64) { n.Inc() })
	}
	if r := explore.Explore(explore.Options{MaxRuns: 2}, three); r.Complete || r.Runs != 2 {
		t.Errorf("at most 2 runs: %v", r)
	}
	// Three threads of two steps each: (2+2+2)! / (2! 2! 2!) orders.
	if r := explore.Explore(explore.Options{Exhaustive: true}, three); !r.Complete || r.Runs != 90 {
		t.Errorf("exhaustive: %v, want 90 runs", r)
	}
	// Only the order of the increments matters.
	if r := explore.Explore(explore.Options{}, three); !r.Complete || r.Runs != 6 {
		t.Errorf("reduced: %v, want 6 runs", r)
	}
	// The threads as a whole, in any order.
	if r := explore.Explore(explore.Options{Exhaustive: true, Preemptions: 1}, three); !r.Complete || r.Runs <= 6 || r.Runs >= 90 {
		t.Errorf("bounded: %v", r)
	}
}

func TestFindsProgramsThatAreNotDeterministic(t *testing.T) {
	runs := 0
	mustFail(t, explore.Options{Exhaustive: true}, "not deterministic", func(p *explore.Program) {
		runs++
		first := runs == 1
		var n atomicx.Uint64
		for range 2 {
			p.Go(func() {
				if first {
					n.Load()
				}
				n.Store(1)
				n.Store(2)
			})
		}
	})
}
