package shardmap

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

func TestModel(t *testing.T) { rapid.Check(t, checkModel) }

// checkModel drives one goroutine against a Go map. A hash function with few
// values puts several keys in one probe and makes keyed hashes collide.
func checkModel(t *rapid.T) {
	m := New[int, int]()
	keys := rapid.SampledFrom([]int{4, 20, 200}).Draw(t, "keys")
	hashes := rapid.SampledFrom([]uint64{1, 3, 1000}).Draw(t, "hashes")
	isExact := rapid.Bool().Draw(t, "exact")
	shift := rapid.SampledFrom([]uint{0, 57, 62}).Draw(t, "shift")
	hash := func(k int) uint64 {
		if isExact {
			return uint64(k+1)<<shift<<1 | exact
		}
		return (uint64(k)%hashes + 1) << 1
	}
	if isExact && shift > 0 {
		keys = min(keys, 1<<(63-shift)-1)
	}
	ref := map[int]*Entry[int, int]{}
	var gone []*Entry[int, int]
	key := rapid.IntRange(0, keys-1)
	find := func(k int) *Entry[int, int] { return m.Load(k, hash(k)) }
	t.Repeat(map[string]func(*rapid.T){
		"insert": func(t *rapid.T) {
			k := key.Draw(t, "k")
			e := NewEntry[int, int](k)
			actual, loaded := m.LoadOrInsert(e, hash(k))
			old, had := ref[k]
			if loaded != had || had && actual != old || !had && actual != e {
				t.Fatalf("insert %d: got %p, %v; had %p, %v", k, actual, loaded, old, had)
			}
			ref[k] = actual
		},
		"remove": func(t *rapid.T) {
			k := key.Draw(t, "k")
			if e := ref[k]; e != nil {
				if !m.Remove(e, hash(k)) {
					t.Fatalf("remove %d: not there", k)
				}
				delete(ref, k)
				gone = append(gone, e)
			}
		},
		"insertMany": func(t *rapid.T) {
			for k, last := key.Draw(t, "from"), key.Draw(t, "to"); k <= last; k++ {
				actual, loaded := m.LoadOrInsert(NewEntry[int, int](k), hash(k))
				if old, had := ref[k]; loaded != had || had && actual != old {
					t.Fatalf("insert %d: got %p, %v; had %p, %v", k, actual, loaded, old, had)
				}
				ref[k] = actual
			}
		},
		"removeMany": func(t *rapid.T) {
			for k, last := key.Draw(t, "from"), key.Draw(t, "to"); k <= last; k++ {
				if e := ref[k]; e != nil && !m.Remove(e, hash(k)) {
					t.Fatalf("remove %d: not there", k)
				}
				delete(ref, k)
			}
		},
		"removeAgain": func(t *rapid.T) {
			if len(gone) > 0 {
				if e := rapid.SampledFrom(gone).Draw(t, "e"); m.Remove(e, hash(e.Key())) {
					t.Fatal("removed twice")
				}
			}
		},
		"removeStranger": func(t *rapid.T) {
			k := key.Draw(t, "k")
			if m.Remove(NewEntry[int, int](k), hash(k)) {
				t.Fatal("removed an entry that was never inserted")
			}
		},
		"": func(t *rapid.T) {
			k := key.Draw(t, "k")
			if find(k) != ref[k] {
				t.Fatalf("load %d: %p, want %p", k, find(k), ref[k])
			}
			if m.Len() != len(ref) {
				t.Fatalf("length %d, want %d", m.Len(), len(ref))
			}
		},
	})
	if err := m.Audit(true); err != nil {
		t.Fatal(err)
	}
	for k := range keys {
		if find(k) != ref[k] {
			t.Fatalf("in the end, load %d: %p, want %p", k, find(k), ref[k])
		}
	}
	seen := map[int]int{}
	m.Range(func(e *Entry[int, int]) bool {
		if ref[e.Key()] != e {
			t.Fatalf("visited %d, which is not there", e.Key())
		}
		seen[e.Key()]++
		return true
	})
	if len(seen) != len(ref) {
		t.Fatalf("visited %d of %d", len(seen), len(ref))
	}
}

// TestStress has goroutines own disjoint keys and share others. What a goroutine
// does to its own keys must be there when it looks; of an insert into a shared
// key one wins, and of a removal one.
func TestStress(t *testing.T) {
	for _, c := range []struct {
		name string
		hash func(k int) uint64
	}{
		{"exact", func(k int) uint64 { return mix(uint64(k+1) << 6) }},
		{"exact one shard", func(k int) uint64 { return uint64(k+1)<<1 | exact }},
		{"keyed", func(k int) uint64 { return mix(uint64(k+1)) - 1 }},
		{"keyed collisions", func(k int) uint64 { return uint64(k)%7<<1 + 2 }},
	} {
		t.Run(c.name, func(t *testing.T) { stress(t, c.hash) })
	}
}

func stress(t *testing.T, hash func(k int) uint64) {
	const (
		workers = 4
		shared  = 16
		own     = 40
		rounds  = 40
	)
	m := New[int, int]()
	var net [shared]atomic.Int64 // inserts won minus removals won
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for w := range workers {
		wg.Go(func() {
			if err := stressOne(m, hash, &net, w, shared, own, rounds); err != nil {
				errs <- err
			}
		})
	}
	// One entry that is never removed must be visited by every Range.
	anchor, _ := m.LoadOrInsert(NewEntry[int, int](1_000_000), hash(1_000_000))
	stop := make(chan struct{})
	var rg sync.WaitGroup
	rg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			seen := 0
			m.Range(func(e *Entry[int, int]) bool {
				if e == anchor {
					seen++
				}
				return true
			})
			if seen == 0 {
				t.Error("Range missed an entry")
				return
			}
			runtime.Gosched()
		}
	})
	wg.Wait()
	close(stop)
	rg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	want := 1
	for k := range shared {
		n := net[k].Load()
		if e := m.Load(k, hash(k)); n != 0 && n != 1 || (e != nil) != (n == 1) {
			t.Errorf("shared key %d: %d inserted, found %v", k, n, e)
		}
		want += int(n)
	}
	if m.Len() != want {
		t.Errorf("length %d, want %d", m.Len(), want)
	}
	if err := m.Audit(true); err != nil {
		t.Error(err)
	}
}

func stressOne(m *Map[int, int], hash func(int) uint64, net *[16]atomic.Int64, w, shared, own, rounds int) error {
	fresh := 1000 * (w + 1)
	for r := range rounds {
		mine := make([]*Entry[int, int], 0, own)
		for i := range own {
			k := fresh + i
			if r%2 == 0 {
				k = fresh + r*own + i
			}
			e := NewEntry[int, int](k)
			e.Value = k
			if actual, loaded := m.LoadOrInsert(e, hash(k)); loaded || actual != e {
				return fmt.Errorf("worker %d: key %d is there already", w, k)
			}
			mine = append(mine, e)

			s := (i*7 + r) % shared
			actual, loaded := m.LoadOrInsert(NewEntry[int, int](s), hash(s))
			if !loaded {
				net[s].Add(1)
			}
			if actual.Key() != s {
				return fmt.Errorf("key %d for %d", actual.Key(), s)
			}
			if i%2 == 0 && m.Remove(actual, hash(s)) {
				net[s].Add(-1)
			}
		}
		for _, e := range mine {
			if got := m.Load(e.Key(), hash(e.Key())); got != e || got.Value != e.Key() {
				return fmt.Errorf("worker %d: key %d lost: %v", w, e.Key(), got)
			}
		}
		for _, e := range mine {
			if !m.Remove(e, hash(e.Key())) || m.Remove(e, hash(e.Key())) {
				return fmt.Errorf("worker %d: key %d not removed once", w, e.Key())
			}
			if m.Load(e.Key(), hash(e.Key())) != nil {
				return fmt.Errorf("worker %d: key %d still there", w, e.Key())
			}
		}
	}
	return nil
}

type named interface{ Name() string }

type (
	byPointer struct{ name string }
	byOther   struct{ name string }
	byValue   struct{ name string }
	bySlice   struct{ names []string }
	byNested  struct{ of any }
	byString  string
	byEmpty   struct{}
)

func (x *byPointer) Name() string { return x.name }
func (x *byOther) Name() string   { return x.name }
func (x byValue) Name() string    { return x.name }
func (x bySlice) Name() string    { return x.names[0] }
func (x byNested) Name() string   { return "nested" }
func (x byString) Name() string   { return string(x) }
func (x *byEmpty) Name() string   { return "" }

func TestHash(t *testing.T) {
	m := New[named, int]()
	for _, k := range []named{nil, bySlice{}, byNested{[]int{1}}, byNested{map[int]int{}}, byNested{func() {}}} {
		for range 2 {
			if _, ok := m.Hash(k); ok || m.Find(k) != nil {
				t.Errorf("%#v has a hash", k)
			}
		}
	}
	p, q := &byPointer{"p"}, &byPointer{"q"}
	keys := []named{
		byString("first"), (*byPointer)(nil), p, q, &byPointer{"p"}, &byOther{"o"}, byValue{"p"}, byValue{"q"}, byString("p"),
		byNested{1}, byNested{p}, byNested{"p"}, &byOther{"p"}, (*byOther)(nil), &byEmpty{},
	}
	for round := range 2 {
		for i, k := range keys {
			h, ok := m.Hash(k)
			if h2, _ := m.Hash(k); !ok || h2 != h || h <= cellClosed {
				t.Fatalf("%#v hashes to %d, %d, %v", k, h, h2, ok)
			}
			if round == 0 {
				if m.Load(k, h) != nil {
					t.Fatalf("%#v is there already", k)
				}
				e := NewEntry[named, int](k)
				e.Value = i
				if _, loaded := m.LoadOrInsert(e, h); loaded {
					t.Fatalf("%#v is there already", k)
				}
			}
			if e := m.Load(k, h); e == nil || e.Value != i || e.Key() != k || e != m.Find(k) {
				t.Fatalf("%#v not found: %v", k, e)
			}
		}
	}
	if h, _ := m.Hash(p); h&exact == 0 {
		t.Error("a pointer of the first type has no exact hash")
	}
	if h, _ := m.Hash(keys[5]); h&exact != 0 {
		t.Error("a pointer of a second type has an exact hash")
	}
	if h, ok := m.Hash(byValue{"q"}); !ok || m.Load(byValue{"q"}, h) == nil {
		t.Error("an equal value was not found")
	}
}

// TestMix undoes mix: two addresses never have one hash.
func TestMix(t *testing.T) {
	inverse := uint64(1) // of mix's factor, by Newton
	for range 6 {
		inverse *= 2 - 0xd6e8feb86659fd93*inverse
	}
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Uint64Range(1, 1<<63-1).Draw(t, "x")
		h := mix(x)
		if h&exact == 0 || h == exact {
			t.Fatalf("%#x hashes to %#x", x, h)
		}
		y := h >> 1 * inverse << 1 >> 1
		if y ^= y >> 26; y^y>>52 != x {
			t.Fatalf("%#x is not what %#x is the hash of", y^y>>52, h)
		}
	})
}

func TestHashOfPlainTypes(t *testing.T) {
	ints, strs, ptrs := New[int, int](), New[string, int](), New[*byPointer, int]()
	if h, ok := ints.Hash(0); !ok || h&exact != 0 || h == 0 {
		t.Error(h, ok)
	}
	if h, ok := strs.Hash(""); !ok || h&exact != 0 || h == 0 {
		t.Error(h, ok)
	}
	if h, ok := ptrs.Hash(nil); !ok || h&exact != 0 || h == 0 {
		t.Error(h, ok)
	}
	anys := New[any, int]()
	if _, ok := anys.Hash(nil); ok {
		t.Error("nil has a hash")
	}
	if h, ok := anys.Hash(&byPointer{}); !ok || h&exact == 0 {
		t.Error(h, ok)
	}
}

func TestNoAllocation(t *testing.T) {
	m := New[named, int]()
	ks := []named{&byPointer{"a"}, &byOther{"b"}, byString("c"), byValue{"d"}}
	var es []*Entry[named, int]
	for range 100 {
		for _, k := range ks {
			es = append(es, NewEntry[named, int](k))
		}
	}
	n := 0
	if a := testing.AllocsPerRun(90, func() {
		for _, k := range ks {
			h, _ := m.Hash(k)
			if m.Load(k, h) != nil {
				t.Error("there already")
			}
			e, _ := m.LoadOrInsert(es[n], h)
			if m.Find(k) != e || !m.Remove(e, h) || m.Remove(e, h) || m.Load(k, h) != nil {
				t.Error("not found, or not removed once")
			}
			n++
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// TestGarbageIsBounded churns: the cells of removed keys must not pile up.
func TestGarbageIsBounded(t *testing.T) {
	const living, turns = 3000, 200_000
	for _, c := range []struct {
		name  string
		fresh bool
		odd   uint64
	}{{"fresh keys", true, exact}, {"fresh keyed", true, 0}, {"same keys", false, exact}, {"same keyed", false, 0}} {
		t.Run(c.name, func(t *testing.T) {
			m := New[int, int]()
			es := make([]*Entry[int, int], living)
			for i := range turns {
				j := i % living
				hash := func(k int) uint64 { return mix(uint64(k+1)<<6)&^exact | c.odd }
				if es[j] != nil && !m.Remove(es[j], hash(es[j].Key())) {
					t.Fatal("lost")
				}
				k := j
				if c.fresh {
					k = i
				}
				es[j], _ = m.LoadOrInsert(NewEntry[int, int](k), hash(k))
			}
			cells := 0
			for i := range m.shards {
				cells += len(m.shards[i].Load().cells)
			}
			t.Logf("%.2f cells an entry", float64(cells)/living)
			if cells > 6*living {
				t.Errorf("%d cells for %d entries", cells, living)
			}
			if m.Len() != living {
				t.Errorf("length %d", m.Len())
			}
		})
	}
}
