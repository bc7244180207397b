//go:build explore

package explore_test

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/explore"
)

// A reduction that leaves out too much is silent: everything it runs is right.
// So the searches are compared with the exhaustive one on random programs.

// step is one operation of a random program.
type step struct{ op, object, arg int }

const (
	load = iota
	store
	add
	swap
	cas
	guarded // load, and a store that depends on it
	notify
	wait
	pointerLoad
	pointerStore
	pointerCAS
	get // of a cell, here and below; only in programs with plain data
	set
	publish // set a cell, then a word
	consume // get the cell if the word was set
	opCount
)

// randomProgram returns the threads of a small program: short enough to run it
// exhaustively.
func randomProgram(seed uint64, plain bool) [][]step {
	rng := rand.New(rand.NewPCG(seed, 1))
	ops := get
	if plain {
		ops = opCount
	}
	lengths := [][]int{{3, 3}, {3, 2}, {4, 2}, {5, 2}, {2, 2, 1}, {2, 1, 2}, {3, 1, 1}, {2, 2, 2}}[rng.IntN(8)]
	objects := 1 + rng.IntN(2)
	var threads [][]step
	for _, n := range lengths {
		var steps []step
		for range n {
			steps = append(steps, step{rng.IntN(ops), rng.IntN(objects), rng.IntN(3)})
		}
		threads = append(threads, steps)
	}
	return threads
}

type state struct {
	words    [2]atomicx.Uint64
	half     [2]atomicx.Uint32
	signals  [2]atomicx.Signal
	pointers [2]atomicx.Pointer[int]
	cells    [2]atomicx.Cell[int]
	ready    [2]atomicx.Uint32
}

func (s *state) do(o step, thread int, observe func(uint64)) {
	word := &s.words[o.object]
	switch o.op {
	case load:
		observe(word.Load())
	case store:
		word.Store(uint64(o.arg + 4*thread))
	case add:
		observe(word.Add(uint64(o.arg)))
	case swap:
		observe(uint64(s.half[o.object].Swap(uint32(o.arg))))
	case cas:
		observe(digit(word.CompareAndSwap(uint64(o.arg), uint64(o.arg+1))))
	case guarded:
		if word.Load() == uint64(o.arg) {
			s.half[o.object].Inc()
		}
	case notify:
		s.signals[o.object].Notify()
	case wait:
		s.signals[o.object].Wait(nil)
		observe(1)
	case pointerLoad:
		if p := s.pointers[o.object].Load(); p != nil {
			observe(uint64(*p))
		} else {
			observe(9)
		}
	case pointerStore:
		v := o.arg + 4*thread
		if p := &v; o.arg > 0 {
			s.pointers[o.object].Store(p)
		} else {
			s.pointers[o.object].Store(nil)
		}
	case pointerCAS:
		old := s.pointers[o.object].Load()
		v := o.arg + 4*thread
		observe(digit(s.pointers[o.object].CompareAndSwap(old, &v)))
	case get:
		observe(uint64(s.cells[o.object].Get()))
	case set:
		s.cells[o.object].Set(o.arg)
	case publish:
		if s.ready[o.object].Load() == 0 {
			s.cells[o.object].Set(o.arg + 4*thread)
			s.ready[o.object].Store(1)
		}
	case consume:
		if s.ready[o.object].Load() == 1 {
			observe(uint64(s.cells[o.object].Get()))
		}
	}
}

func digit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// outcomes returns everything a program can do under a search.
func outcomes(threads [][]step, o explore.Options, stoppable bool) (map[string]int, explore.Result) {
	all := map[string]int{}
	o.MaxRuns = 4000
	result := explore.Explore(o, func(p *explore.Program) {
		s := &state{}
		s.signals[0].Notify()
		// What each thread observes, a letter at a time; z: it came to its end.
		seen := make([][]byte, len(threads))
		for i, steps := range threads {
			start := p.Daemon // being stuck is an outcome
			if stoppable && i == 0 {
				start = p.Stoppable
			}
			start(func() {
				for _, o := range steps {
					s.do(o, i, func(v uint64) { seen[i] = append(seen[i], byte('a'+v)) })
				}
				seen[i] = append(seen[i], 'z')
			})
		}
		p.Check(func() error {
			b := bytes.Join(seen, []byte(" "))
			for i := range s.words {
				b = append(b, ' ', byte('a'+s.words[i].Load()), byte('a'+s.half[i].Load()), byte('a'+s.cells[i].Get()))
				if p := s.pointers[i].Load(); p != nil {
					b = append(b, byte('a'+*p))
				}
			}
			all[string(b)]++
			return nil
		})
	})
	return all, result
}

// programs is how many random programs a test runs; EXPLORE_PROGRAMS overrides
// it.
func programs(n int) uint64 {
	if s := os.Getenv("EXPLORE_PROGRAMS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	return uint64(n)
}

func compare(t *testing.T, seed uint64, threads [][]step, a, b map[string]int) {
	t.Helper()
	missing := func(from, in map[string]int) []string {
		var s []string
		for k := range from {
			if in[k] == 0 {
				s = append(s, k)
			}
		}
		slices.Sort(s)
		return s[:min(3, len(s))]
	}
	if !maps.EqualFunc(a, b, func(int, int) bool { return true }) {
		t.Fatalf("program %d %v: exhaustive has %d outcomes, reduced %d; left out %v, invented %v",
			seed, threads, len(a), len(b), missing(a, b), missing(b, a))
	}
}

func testOutcomes(t *testing.T, n int, stoppable bool) {
	var exhaustive, reduced, compared int
	for seed := range programs(n) {
		threads := randomProgram(seed, false)
		want, full := outcomes(threads, explore.Options{Exhaustive: true}, stoppable)
		if full.Failure != nil {
			t.Fatalf("program %d: %v", seed, full.Failure)
		}
		if !full.Complete {
			continue // too large to compare
		}
		got, r := outcomes(threads, explore.Options{}, stoppable)
		compare(t, seed, threads, want, got)
		compared++
		exhaustive += full.Runs
		reduced += r.Runs + r.Pruned
	}
	t.Logf("%d programs; %d runs exhaustive, %d reduced", compared, exhaustive, reduced)
}

func TestReductionKeepsAllOutcomes(t *testing.T) { testOutcomes(t, 2200, false) }

func TestReductionKeepsAllOutcomesWithStops(t *testing.T) { testOutcomes(t, 300, true) }

// Programs with plain data fail in one search if they fail in another.
func TestReductionKeepsRaces(t *testing.T) {
	racy, clean := 0, 0
	for seed := range programs(1000) {
		threads := randomProgram(seed, true)
		_, full := outcomes(threads, explore.Options{Exhaustive: true}, false)
		switch {
		case full.Failure != nil:
			racy++
		case full.Complete:
			clean++
		default:
			continue
		}
		if _, r := outcomes(threads, explore.Options{}, false); (r.Failure != nil) != (full.Failure != nil) {
			t.Fatalf("program %d %v: exhaustive: %v; reduced: %v", seed, threads, full.Failure, r.Failure)
		}
	}
	t.Logf("%d programs with a race, %d without", racy, clean)
}
