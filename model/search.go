package model

import (
	"encoding/binary"
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
	// are to be looked at take more, but for some 100 KB. 0: no bound.
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

// chunk is states to look at, one after the other: the place in the set, the size,
// the bytes. A state has far fewer bytes than a chunk has room for.
type chunk []byte

const chunkSize = 8 << 10

// next takes the first state.
func (c *chunk) next() (place uint32, state []byte) {
	p, n := binary.Uvarint(*c)
	size, m := binary.Uvarint((*c)[n:])
	begin, end := n+m, n+m+int(size)
	state, *c = (*c)[begin:end], (*c)[end:]
	return uint32(p), state
}

// chunks are those in use and those to be used again. What was looked at makes room
// for what is found.
type chunks struct {
	sync.Mutex
	free []chunk
	made atomic.Int64
}

func (p *chunks) take() chunk {
	p.Lock()
	defer p.Unlock()
	n := len(p.free)
	if n == 0 {
		p.made.Add(1)
		return make(chunk, 0, chunkSize)
	}
	c := p.free[n-1]
	p.free = p.free[:n-1]
	return c[:0]
}

func (p *chunks) give(c chunk) {
	p.Lock()
	p.free = append(p.free, c)
	p.Unlock()
}

// search goes breadth first, layer by layer: each searcher takes some states of a
// layer, and notes the new ones among their successors.
type search struct {
	cfg  Config
	opts Options

	seen  *set
	room  chunks
	todo  []chunk // the layer to look at
	width int     // states in it

	next   atomic.Int64 // of the chunks to look at
	steps  atomic.Int64
	failed atomic.Bool
	visit  sync.Mutex
}

// searcher is one of those who search at a time.
type searcher struct {
	*search
	x       *World
	actions []Action
	state   []byte  // that x is in
	found   []chunk // the last one may have room
	count   int     // of states in them
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
	room := opts.MaxStates
	if room == 0 {
		room = 4 << 20
	}
	s := &search{cfg: cfg, opts: opts, seen: newSet(room)}
	searchers := make([]*searcher, n)
	for i := range searchers {
		x, err := NewWorld(cfg)
		if err != nil {
			return Result{}, err
		}
		searchers[i] = &searcher{search: s, x: x}
	}
	searchers[0].arrive(nil, Action{}, origin)
	states := 0
	result := func(depth int) Result {
		var seen Seen
		for _, g := range searchers {
			seen.add(g.x.seen)
		}
		return Result{Seen: seen, States: states, Steps: int(s.steps.Load()), Depth: depth, Bytes: s.bytes(), Took: time.Since(began)}
	}
	for depth := 0; ; depth++ {
		s.collect(searchers)
		states += s.width
		for _, g := range searchers {
			if g.broken != nil {
				return result(depth), s.explain(g)
			}
		}
		switch {
		case opts.MaxStates > 0 && states > opts.MaxStates || s.seen.full.Load():
			return result(depth), fmt.Errorf("model: more than %d states", opts.MaxStates)
		case s.tooLarge():
			return result(depth), fmt.Errorf("model: %d states take %d bytes, more than %d", states, s.bytes(), opts.MaxBytes)
		case s.width == 0:
			return result(depth - 1), s.checkFates()
		}
		s.next.Store(0)
		var wg sync.WaitGroup
		for _, g := range searchers {
			wg.Go(g.run)
		}
		wg.Wait()
	}
}

// collect makes the states that were found the next to look at.
func (s *search) collect(searchers []*searcher) {
	s.todo, s.width = s.todo[:0], 0
	for _, g := range searchers {
		s.todo = append(s.todo, g.found...)
		s.width += g.count
		g.found, g.count = g.found[:0], 0
	}
}

// bytes returns how many are in use. They only become more.
func (s *search) bytes() int { return s.seen.bytes() + int(s.room.made.Load())*chunkSize }

func (s *search) tooLarge() bool { return s.opts.MaxBytes > 0 && s.bytes() > s.opts.MaxBytes }

// run looks at states until none is left.
func (g *searcher) run() {
	for !g.failed.Load() && !g.tooLarge() {
		i := int(g.next.Add(1)) - 1
		if i >= len(g.todo) {
			return
		}
		for rest := g.todo[i]; len(rest) > 0; {
			place, state := rest.next()
			if !g.expand(place, state) {
				g.failed.Store(true)
				return
			}
		}
		g.room.give(g.todo[i])
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
	g.state = g.x.appendState(g.state[:0])
	if g.opts.Visit != nil {
		g.visit.Lock()
		g.opts.Visit(from, a, g.state, g.x)
		g.visit.Unlock()
	}
	to, isNew := g.seen.add(g.state, place)
	if isNew {
		g.note(to)
	}
	return to
}

// note has the state that g.x is in looked at next.
func (g *searcher) note(place uint32) {
	last := len(g.found) - 1
	if last < 0 || cap(g.found[last])-len(g.found[last]) < len(g.state)+2*binary.MaxVarintLen32 {
		g.found = append(g.found, g.room.take())
		last++
	}
	c := binary.AppendUvarint(g.found[last], uint64(place))
	c = binary.AppendUvarint(c, uint64(len(g.state)))
	g.found[last] = append(c, g.state...)
	g.count++
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
