package model

import (
	"fmt"
	"hash/maphash"
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
	// MaxStates ends the search with an error; memory is about 100 bytes a state.
	// 0: no bound.
	MaxStates int
	// Visit, where set, is called for every step: from the state with the bytes
	// from, by action a, to the state that x is in, with the bytes to. It is
	// called by one goroutine at a time, and must not change or keep any of them.
	// For the first state from is nil.
	Visit func(from []byte, a Action, to []byte, x *World)
}

// Result is what a Search has found.
type Result struct {
	States, Steps, Depth int
	Took                 time.Duration
	Seen                 Seen
}

func (r Result) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d, %v", r.States, r.Steps, r.Depth, r.Took.Round(time.Millisecond))
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

// node says how a state was first reached.
type node struct {
	from   int32
	action Action
}

// found is a state that was first reached in this layer.
type found struct {
	node
	mark       uint64
	begin, end int // its bytes
}

// search goes breadth first, layer by layer: each searcher takes some states of a
// layer, and notes the new ones among their successors.
type search struct {
	cfg  Config
	opts Options

	seen  [64]shard
	seeds [2]maphash.Seed
	nodes []node
	fates fates
	layer []found // of the states to look at, with the bytes in
	bytes []byte
	base  int // number of the first

	next   atomic.Int64 // of the layer
	steps  atomic.Int64
	failed atomic.Bool
	visit  sync.Mutex
}

// shard is a part of the set of states seen, by fingerprint. Two of a billion
// states have the same one with a probability of 10^-20.
type shard struct {
	sync.Mutex
	set map[[2]uint64]struct{}
}

// searcher is one of those who search at a time.
type searcher struct {
	*search
	x       *World
	actions []Action
	found   []found
	bytes   []byte
	broken  *Violation
	where   node
}

// Search goes through every state that cfg can reach. The error is a
// *BrokenError where a rule is broken in one.
func Search(cfg Config, opts Options) (Result, error) {
	began := time.Now()
	s := &search{cfg: cfg, opts: opts, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range s.seen {
		s.seen[i].set = make(map[[2]uint64]struct{})
	}
	n := opts.Workers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	searchers := make([]*searcher, n)
	for i := range searchers {
		x, err := NewWorld(cfg)
		if err != nil {
			return Result{}, err
		}
		searchers[i] = &searcher{search: s, x: x}
	}
	first := searchers[0]
	first.arrive(nil, node{from: none})
	s.collect(searchers)

	result := func(depth int) Result {
		var seen Seen
		for _, g := range searchers {
			seen.add(g.x.seen)
		}
		return Result{Seen: seen, States: len(s.nodes), Steps: int(s.steps.Load()), Depth: depth, Took: time.Since(began)}
	}
	for depth := 0; ; depth++ {
		for _, g := range searchers {
			if g.broken != nil {
				return result(depth), s.explain(g)
			}
		}
		if len(s.layer) == 0 {
			return result(depth - 1), s.checkFates()
		}
		if opts.MaxStates > 0 && len(s.nodes) > opts.MaxStates {
			return result(depth), fmt.Errorf("model: more than %d states", opts.MaxStates)
		}
		s.next.Store(0)
		var wg sync.WaitGroup
		for _, g := range searchers {
			wg.Go(g.run)
		}
		wg.Wait()
		s.collect(searchers)
	}
}

// collect makes the states that were found the next layer.
func (s *search) collect(searchers []*searcher) {
	s.base = len(s.nodes)
	s.layer, s.bytes = s.layer[:0], s.bytes[:0]
	for _, g := range searchers {
		at := len(s.bytes)
		for _, f := range g.found {
			s.nodes = append(s.nodes, f.node)
			s.layer = append(s.layer, found{node: f.node, mark: f.mark, begin: f.begin + at, end: f.end + at})
			s.fates.states = append(s.fates.states, f.mark)
		}
		s.bytes = append(s.bytes, g.bytes...)
		g.found, g.bytes = g.found[:0], g.bytes[:0]
	}
	for p := range policies {
		s.fates.next[p] = append(s.fates.next[p], make([]uint64, len(s.layer))...)
	}
}

// run looks at states of the layer until none is left.
func (g *searcher) run() {
	const some = 64
	for !g.failed.Load() {
		end := int(g.next.Add(some))
		begin := end - some
		if begin >= len(g.layer) {
			return
		}
		for i := begin; i < min(end, len(g.layer)); i++ {
			if !g.expand(i) {
				g.failed.Store(true)
				return
			}
		}
	}
}

// expand takes every step from state i of the layer; false where a rule is
// broken.
func (g *searcher) expand(i int) bool {
	number := g.base + i
	from := g.search.bytes[g.layer[i].begin:g.layer[i].end]
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
		g.broken, g.where = g.x.broken, g.layer[i].node
		return false
	}
	for j, a := range g.actions {
		if j > 0 || g.cfg.Timeless {
			g.x.load(from, a)
		}
		n := node{from: int32(number), action: a}
		if g.x.do(a) != nil {
			g.broken, g.where = g.x.broken, n
			return false
		}
		mark := g.arrive(from, n)
		for p, next := range fate {
			if next == a {
				g.fates.next[p][number] = mark
			}
		}
	}
	g.steps.Add(int64(len(g.actions)))
	return true
}

// arrive takes note of the state that g.x is in, and returns its fingerprint.
func (g *searcher) arrive(from []byte, n node) uint64 {
	begin := len(g.bytes)
	g.bytes = g.x.appendState(g.bytes)
	state := g.bytes[begin:]
	if g.opts.Visit != nil {
		g.visit.Lock()
		g.opts.Visit(from, n.action, state, g.x)
		g.visit.Unlock()
	}
	mark, isNew := g.add(state)
	if isNew {
		g.found = append(g.found, found{node: n, mark: mark, begin: begin, end: len(g.bytes)})
	} else {
		g.bytes = g.bytes[:begin]
	}
	return mark
}

// add returns a state's fingerprint, and whether the state is new.
func (s *search) add(state []byte) (uint64, bool) {
	mark := [2]uint64{maphash.Bytes(s.seeds[0], state), maphash.Bytes(s.seeds[1], state)}
	h := &s.seen[mark[0]%uint64(len(s.seen))]
	h.Lock()
	defer h.Unlock()
	before := len(h.set)
	h.set[mark] = struct{}{}
	return mark[1], len(h.set) > before
}

// way returns the actions that lead to n.
func (s *search) way(n node) []Action {
	var actions []Action
	for ; n.from != none; n = s.nodes[n.from] {
		actions = append(actions, n.action)
	}
	slices.Reverse(actions)
	return actions
}

// explain returns the way to what g has found broken.
func (s *search) explain(g *searcher) error {
	actions := s.way(g.where)
	text, _ := Scenario(s.cfg, actions)
	return &BrokenError{Violation: g.broken, Actions: actions, Scenario: text}
}

// checkFates checks that the system comes to rest from everywhere (L1-L6).
func (s *search) checkFates() error {
	state, p, found := s.fates.circle()
	if !found {
		return nil
	}
	actions := s.way(s.nodes[state])
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
