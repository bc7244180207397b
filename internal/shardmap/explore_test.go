//go:build explore

package shardmap

import (
	"fmt"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/explore"
)

// place is how the keys of a program hash. All are in shard 0.
type place func(k int) uint64

var (
	// side by side: each key has its own cell, in tables of four cells and more.
	apart place = func(k int) uint64 { return uint64(k)<<(64-shardBits-2) | exact | 2 }
	// one probe: all keys have the same home, and hashes of their own.
	together place = func(k int) uint64 { return uint64(k+1)<<1 | exact }
	// one hash for all keys.
	alike place = func(int) uint64 { return 2 }
)

// script is a program: what is in the map at first, and what threads do then.
type script struct {
	hash    place
	cells   int   // of the first table; 0: none yet
	there   []int // keys in the map
	dead    []int // keys that were
	threads []func(*actor)
	// stops says that the first thread may stop for ever anywhere.
	stops bool
	// preemptions bounds the search where there is too much to see all of it.
	preemptions int
}

// actor is a thread of a script.
type actor struct {
	m     *Map[int, int]
	hash  place
	calls []call
	given map[int]*Entry[int, int] // what is there at first
	flag  *atomicx.Uint32
}

func (a *actor) begin(c call) *call {
	a.calls = append(a.calls, c)
	return &a.calls[len(a.calls)-1]
}

func (a *actor) insert(k int) *Entry[int, int] {
	c := a.begin(call{what: inserts, key: k, entry: NewEntry[int, int](k)})
	c.actual, c.ok = a.m.LoadOrInsert(c.entry, a.hash(k))
	c.done = true
	return c.actual
}

func (a *actor) remove(k int, e *Entry[int, int]) bool {
	c := a.begin(call{what: removes, key: k, entry: e})
	c.ok = a.m.Remove(e, a.hash(k))
	c.done = true
	return c.ok
}

func (a *actor) load(k int) *Entry[int, int] {
	c := a.begin(call{what: loads, key: k})
	c.entry = a.m.Load(k, a.hash(k))
	c.done = true
	return c.entry
}

// visit walks over the shard, which has had e all the time.
func (a *actor) visit(e *Entry[int, int]) {
	seen := false
	a.m.rangeShard(0, func(x *Entry[int, int]) bool {
		seen = seen || x == e
		return true
	})
	if !seen {
		explore.Failf("rangeShard did not visit %d", e.key)
	}
}

func (a *actor) raise() {
	c := a.begin(call{what: raises, key: flagKey})
	a.flag.Store(1)
	c.done = true
}

func (a *actor) sees() bool {
	c := a.begin(call{what: sees, key: flagKey})
	c.ok = a.flag.Load() == 1
	c.done = true
	return c.ok
}

// program builds the script's program: every run must be explained by a plain
// map, and the map must be whole afterwards.
func (s script) program(p *explore.Program) {
	m := New[int, int]()
	if s.cells > 0 {
		m.Preset(0, s.cells)
	}
	before := map[int]*Entry[int, int]{}
	for _, k := range append(append([]int{}, s.dead...), s.there...) {
		before[k], _ = m.LoadOrInsert(NewEntry[int, int](k), s.hash(k))
	}
	for _, k := range s.dead {
		m.Remove(before[k], s.hash(k))
		delete(before, k)
	}
	flag := new(atomicx.Uint32)
	actors := make([]*actor, len(s.threads))
	for i, body := range s.threads {
		a := &actor{m: m, hash: s.hash, given: before, flag: flag}
		actors[i] = a
		if i == 0 && s.stops {
			p.Stoppable(func() { body(a) })
		} else {
			p.Go(func() { body(a) })
		}
	}
	p.Check(func() error { return s.check(m, actors, before) })
}

func (s script) check(m *Map[int, int], actors []*actor, before map[int]*Entry[int, int]) error {
	var h history
	keys, quiet := map[int]bool{}, true
	for k := range before {
		keys[k] = true
	}
	for _, a := range actors {
		h = append(h, a.calls)
		for _, c := range a.calls {
			if c.key != flagKey {
				keys[c.key] = true
			}
			quiet = quiet && c.done
		}
	}
	if err := m.Audit(quiet); err != nil {
		return err
	}
	after := map[int]*Entry[int, int]{}
	for k := range keys {
		if e := m.Load(k, s.hash(k)); e != nil {
			after[k] = e
		}
	}
	if err := h.explain(before, after); err != nil {
		return err
	}
	if n := m.Len(); quiet && n != len(after) {
		return fmt.Errorf("length %d with %d entries", n, len(after))
	}
	seen := map[int]*Entry[int, int]{}
	m.Range(func(e *Entry[int, int]) bool { seen[e.key] = e; return true })
	if fmt.Sprint(seen) != fmt.Sprint(after) {
		return fmt.Errorf("Range visits %v, Load finds %v", seen, after)
	}
	// Whatever was left half done, the map goes on working.
	for k := range 5 {
		e := NewEntry[int, int](k)
		if actual, loaded := m.LoadOrInsert(e, s.hash(k)); loaded != (after[k] != nil) || loaded && actual != after[k] {
			return fmt.Errorf("insert %d afterwards: %p, %v", k, actual, loaded)
		} else if err := m.Audit(false); err != nil {
			return err
		} else if m.Load(k, s.hash(k)) != actual || !m.Remove(actual, s.hash(k)) || m.Load(k, s.hash(k)) != nil || m.Remove(actual, s.hash(k)) {
			return fmt.Errorf("key %d is broken afterwards", k)
		}
	}
	return nil
}

var scripts = []struct {
	name string
	script
}{
	{"first insert", script{hash: apart, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.load(1) },
	}}},
	{"same key", script{hash: apart, cells: 4, threads: []func(*actor){
		func(a *actor) { a.remove(1, a.insert(1)) },
		func(a *actor) { a.remove(1, a.insert(1)) },
		func(a *actor) { a.load(1); a.load(1) },
	}}},
	{"remove and insert again", script{hash: apart, cells: 4, there: []int{1}, threads: []func(*actor){
		func(a *actor) { a.remove(1, a.given[1]); a.insert(1) },
		func(a *actor) { a.remove(1, a.given[1]); a.load(1) },
		func(a *actor) { a.insert(1); a.load(1) },
	}}},
	{"neighbors", script{hash: together, cells: 4, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1); a.load(2) },
		func(a *actor) { a.insert(2); a.load(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.insert(0) },
	}}},
	{"grow, load", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.load(0); a.load(1) },
	}}},
	{"grow, range", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.visit(a.given[0]) },
	}}},
	{"grow, remove", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.load(0) },
	}}},
	{"grow, remove, load", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]) },
		func(a *actor) { a.load(0); a.load(0) },
	}}},
	{"grow, replace", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.insert(0) },
	}}},
	{"grow, grow", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(2) },
	}}},
	{"grow, revive", script{hash: apart, cells: 2, dead: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(0) },
		func(a *actor) { a.load(0) },
	}}},
	{"alike", script{hash: alike, cells: 8, threads: []func(*actor){
		func(a *actor) { a.remove(0, a.insert(0)) },
		func(a *actor) { a.insert(1); a.load(0) },
		func(a *actor) { a.insert(1) },
	}}},
	{"alike, behind a dead one", script{hash: alike, cells: 4, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.remove(0, a.given[0]) },
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(1); a.load(1) },
	}}},
	{"alike, grow, load", script{hash: alike, cells: 4, there: []int{0, 1, 2}, threads: []func(*actor){
		func(a *actor) { a.insert(3) },
		func(a *actor) { a.load(1); a.load(2) },
	}}},
	{"alike, grow, remove", script{hash: alike, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.load(1) },
	}}},
	{"alike, grow, replace", script{hash: alike, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.insert(0) },
	}}},
	{"removed is removed", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.raise() },
		func(a *actor) { a.sees(); a.load(0); a.load(0) },
	}}},
	{"inserted is inserted", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1); a.raise() },
		func(a *actor) { a.insert(2) },
		func(a *actor) { a.sees(); a.load(1) },
	}}},
	{"late helper", script{hash: apart, cells: 2, preemptions: 3, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(2); a.remove(0, a.given[0]); a.insert(3); a.insert(4); a.load(0) },
	}}},
	{"late helper, alike", script{hash: alike, cells: 2, preemptions: 3, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(2); a.remove(0, a.given[0]); a.insert(3); a.load(0) },
	}}},
	{"grow, grow, range", script{hash: apart, cells: 2, preemptions: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.visit(a.given[0]) },
		func(a *actor) { a.insert(2) },
	}}},
	{"grow twice, range", script{hash: apart, cells: 2, there: []int{0}, threads: []func(*actor){
		func(a *actor) { a.insert(1); a.insert(2); a.remove(2, a.insert(2)); a.insert(3) },
		func(a *actor) { a.visit(a.given[0]) },
	}}},
	{"stopped insert", script{hash: apart, stops: true, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(1, a.insert(1)); a.load(1) },
	}}},
	{"stopped remove", script{hash: apart, cells: 2, preemptions: 2, there: []int{0}, stops: true, threads: []func(*actor){
		func(a *actor) { a.remove(0, a.given[0]) },
		func(a *actor) { a.insert(1); a.load(0) },
		func(a *actor) { a.load(0); a.insert(0) },
	}}},
	{"stopped helper", script{hash: apart, cells: 2, there: []int{0}, stops: true, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(2); a.load(0) },
	}}},
	{"stopped helper, remove", script{hash: apart, cells: 2, there: []int{0}, stops: true, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.load(0) },
		func(a *actor) { a.load(0) },
	}}},
	{"stopped helper, alike", script{hash: alike, cells: 2, preemptions: 2, there: []int{0}, stops: true, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.remove(0, a.given[0]); a.insert(0) },
	}}},
	{"stopped helper, three", script{hash: apart, cells: 2, preemptions: 1, there: []int{0}, stops: true, threads: []func(*actor){
		func(a *actor) { a.insert(1) },
		func(a *actor) { a.insert(2) },
		func(a *actor) { a.remove(0, a.given[0]) },
	}}},
}

// TestExploreHash has the first keys hashed by several goroutines at once: a key
// has one hash for ever, whoever settled on which type.
func TestExploreHash(t *testing.T) {
	p, q := &byPointer{"p"}, &byOther{"q"}
	explore.Verify(t, explore.Options{}, func(prog *explore.Program) {
		m := New[named, int]()
		keys := []named{p, q, p}
		var got [3]uint64
		for i, k := range keys {
			prog.Go(func() {
				h, ok := m.Hash(k)
				if again, _ := m.Hash(k); !ok || again != h {
					explore.Failf("%v hashes to %d, then to %d", k, h, again)
				}
				got[i] = h
			})
		}
		prog.Check(func() error {
			for i, k := range keys {
				if h, _ := m.Hash(k); h != got[i] {
					return fmt.Errorf("%v hashed to %d, now to %d", k, got[i], h)
				}
			}
			return nil
		})
	})
}

func TestExplore(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			// Several times what any of them takes.
			explore.Verify(t, explore.Options{Preemptions: s.preemptions, MaxTime: 2 * time.Minute}, s.program)
		})
	}
}
