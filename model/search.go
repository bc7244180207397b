package model

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options are what a Search does beyond looking at every state.
type Options struct {
	// Workers that search at a time. 0: as many as there are processors.
	Workers int
	// MaxStates ends the search with an error. The set of states takes 28 bytes for
	// each that there may be, used or not; see also Result.Bytes. 0: 4 million.
	MaxStates int
	// MaxBytes ends the search with an error where the set of states and those that
	// are to be looked at take more. 0: no bound.
	MaxBytes int
	// Visit, where set, is called for every step: from the state with the bytes
	// from, by action a, to the state that x is in, with the bytes to. It is
	// called by one goroutine at a time, and must not change or keep any of them.
	// For the first state from is nil.
	Visit func(from []byte, a Action, to []byte, x *World)
}

// Result is what a Search has found.
type Result struct {
	States, Steps, Depth int
	// Bytes is what the set of states and those to be looked at took at most.
	Bytes int
	Took  time.Duration
	Seen  Seen
}

func (r Result) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d, %v, %d MB", r.States, r.Steps, r.Depth, r.Took.Round(time.Millisecond), r.Bytes>>20)
}

// BrokenError is a broken rule and the shortest way to it.
type BrokenError struct {
	Violation *Violation
	Actions   []Action
	Scenario  string // for internal/assign/testdata
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("%v, after %d actions:\n%s", e.Violation, len(e.Actions), e.Scenario)
}

// found is a state to look at, and where its bytes are.
type found struct {
	place uint32 // in the set
	size  uint32
	begin uint64
}

// layer is the states of one depth that one searcher has found.
type layer struct {
	states []found
	bytes  []byte
}

// search goes breadth first, layer by layer: each searcher takes some states of a
// layer, and notes the new ones among their successors.
type search struct {
	cfg  Config
	opts Options

	seen   *set
	layers []layer // to look at, one of each searcher
	width  int     // states in them

	next   atomic.Int64 // of the states to look at
	steps  atomic.Int64
	failed atomic.Bool
	visit  sync.Mutex
}

// searcher is one of those who search at a time.
type searcher struct {
	*search
	x       *World
	actions []Action
	found   layer
	broken  *Violation
	where   uint32  // the place of the state where it was found
	by      *Action // what led to it from there; nil: it is in that state
}

// Search goes through every state that cfg can reach. The error is a
// *BrokenError where a rule is broken in one.
func Search(cfg Config, opts Options) (Result, error) {
	began := time.Now()
	n := opts.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	states := opts.MaxStates
	if states == 0 {
		states = 4 << 20
	}
	s := &search{cfg: cfg, opts: opts, seen: newSet(states), layers: make([]layer, n)}
	searchers := make([]*searcher, n)
	for i := range searchers {
		x, err := NewWorld(cfg)
		if err != nil {
			return Result{}, err
		}
		searchers[i] = &searcher{search: s, x: x}
	}
	searchers[0].arrive(nil, Action{}, origin)
	states, most := 0, 0
	result := func(depth int) Result {
		var seen Seen
		for _, g := range searchers {
			seen.add(g.x.seen)
		}
		return Result{Seen: seen, States: states, Steps: int(s.steps.Load()), Depth: depth, Bytes: most, Took: time.Since(began)}
	}
	for depth := 0; ; depth++ {
		most = max(most, s.collect(searchers))
		states += s.width
		for _, g := range searchers {
			if g.broken != nil {
				return result(depth), s.explain(g)
			}
		}
		switch {
		case s.width == 0:
			return result(depth - 1), s.checkFates()
		case opts.MaxStates > 0 && states > opts.MaxStates || s.seen.full.Load():
			return result(depth), fmt.Errorf("model: more than %d states", opts.MaxStates)
		case opts.MaxBytes > 0 && most > opts.MaxBytes:
			return result(depth), fmt.Errorf("model: %d states take %d bytes, more than %d", states, most, opts.MaxBytes)
		}
		s.next.Store(0)
		var wg sync.WaitGroup
		for _, g := range searchers {
			wg.Go(g.run)
		}
		wg.Wait()
	}
}

// collect makes the states that were found the next to look at, and returns how
// many bytes are in use.
func (s *search) collect(searchers []*searcher) int {
	s.width = 0
	bytes := s.seen.bytes()
	for i, g := range searchers {
		s.layers[i], g.found = g.found, layer{states: s.layers[i].states[:0], bytes: s.layers[i].bytes[:0]}
		s.width += len(s.layers[i].states)
		bytes += s.layers[i].room() + g.found.room()
	}
	return bytes
}

func (l layer) room() int { return cap(l.states)*16 + cap(l.bytes) }

// run looks at states until none is left.
func (g *searcher) run() {
	const some = 64
	for !g.failed.Load() {
		end := int(g.next.Add(some))
		i := end - some
		if i >= g.width {
			return
		}
		for _, l := range g.layers {
			for ; i < min(end, len(l.states)); i++ {
				f := l.states[i]
				if !g.expand(f.place, l.bytes[f.begin:f.begin+uint64(f.size)]) {
					g.failed.Store(true)
					return
				}
			}
			if i -= len(l.states); i < 0 {
				break
			}
			end -= len(l.states)
		}
	}
}

// expand takes every step from the state at place; false where a rule is broken.
func (g *searcher) expand(place uint32, from []byte) bool {
	g.x.load(from, Action{})
	g.actions = g.x.Actions(g.actions[:0])
	var fate [policies]Action
	for p := range policies {
		var moves bool
		if fate[p], moves = p.next(g.x); !moves {
			g.x.checkRest()
		}
	}
	if g.x.broken != nil {
		g.broken, g.where = g.x.broken, place
		return false
	}
	for j, a := range g.actions {
		if j > 0 || g.cfg.Timeless {
			g.x.load(from, a)
		}
		if g.x.do(a) != nil {
			g.broken, g.where, g.by = g.x.broken, place, &g.actions[j]
			return false
		}
		to := g.arrive(from, a, place)
		for p, next := range fate {
			if next == a {
				g.seen.fates[p][place] = to
			}
		}
	}
	g.steps.Add(int64(len(g.actions)))
	return true
}

// arrive takes note of the state that g.x is in, and returns its place.
func (g *searcher) arrive(from []byte, a Action, place uint32) uint32 {
	l := &g.found
	begin := len(l.bytes)
	l.bytes = g.x.appendState(l.bytes)
	state := l.bytes[begin:]
	if g.opts.Visit != nil {
		g.visit.Lock()
		g.opts.Visit(from, a, state, g.x)
		g.visit.Unlock()
	}
	to, isNew := g.seen.add(state, place)
	if isNew {
		l.states = append(l.states, found{place: to, size: uint32(len(state)), begin: uint64(begin)})
	} else {
		l.bytes = l.bytes[:begin]
	}
	return to
}

// way returns the actions that lead to the state at a place. The set knows where
// each state was reached from; by what, is found by trying.
func (s *search) way(place uint32) ([]Action, error) {
	var places []uint32
	for ; place != origin; place = s.seen.from[place] {
		places = append(places, place)
	}
	slices.Reverse(places)
	x, err := NewWorld(s.cfg)
	if err != nil {
		return nil, err
	}
	var way []Action
	state := x.appendState(nil)
	for _, to := range places[1:] {
		x.load(state, Action{})
		found := false
		for _, a := range x.Actions(nil) {
			x.load(state, a)
			if x.do(a) != nil {
				continue
			}
			next := x.appendState(nil)
			if at, known := s.seen.find(next); known && at == to {
				way, state, found = append(way, a), next, true
				break
			}
		}
		if !found {
			return way, errors.New("model: two states have the same fingerprint")
		}
	}
	return way, nil
}

// explain returns the way to what g has found broken.
func (s *search) explain(g *searcher) error {
	actions, err := s.way(g.where)
	if err != nil {
		return errors.Join(g.broken, err)
	}
	if g.by != nil {
		actions = append(actions, *g.by)
	}
	text, _ := Scenario(s.cfg, actions)
	return &BrokenError{Violation: g.broken, Actions: actions, Scenario: text}
}

// checkFates checks that the system comes to rest from everywhere (L1-L6).
func (s *search) checkFates() error {
	place, p, found := s.seen.circle()
	if !found {
		return nil
	}
	actions, err := s.way(place)
	if err != nil {
		return err
	}
	x, err := NewWorld(s.cfg)
	if err != nil {
		return err
	}
	for _, a := range actions {
		_ = x.Do(a) // no rule is broken on the way
	}
	const round = 50
	for range round {
		a, _ := p.next(x)
		actions = append(actions, a)
		_ = x.Do(a)
	}
	text, _ := Scenario(s.cfg, actions)
	return &BrokenError{Violation: &Violation{Rule: "L6", Text: "it does not come to rest"}, Actions: actions, Scenario: text}
}
