package fuzz

import (
	"testing"

	"github.com/brokermap/brokermap/internal/shardmap"
)

// Keys of several types. Those of the first pointer type that a map sees have
// exact hashes, all others may share theirs.
type (
	one   struct{ _ [4]int }
	two   struct{ _ [2]int }
	point struct {
		x, y any
	}
)

type entry = shardmap.Entry[any, int]

// keys are those of a run: 256 of each kind that can be a key, or fewer.
type keys struct {
	ones [256]*one
	twos [256]*two
	few  uint64 // hashes by hand, so few that they collide; 0: the map's own
}

// key returns the one with number n of a kind. Where ok is false it is none that a
// map can have.
func (k *keys) key(kind, n int) (key any, ok bool) {
	switch kind % 8 {
	case 0, 1, 2:
		return k.ones[n], true
	case 3:
		return k.twos[n], true
	case 4:
		return n, true
	case 5:
		return string(rune('a' + n)), true
	case 6:
		return point{n, "x"}, true
	}
	switch n % 4 {
	case 0:
		return nil, false
	case 1:
		return []int{n}, false
	case 2:
		return point{x: func() {}}, false
	}
	return (*one)(nil), true
}

// FuzzMap holds the map against a Go map: the same keys lead to the same entries,
// for every type that an interface can hold, while the tables grow, shrink and
// fill up with what was removed. What is in the map all through a Range is visited,
// also where the visitor changes the map.
func FuzzMap(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		in := input(b)
		m := shardmap.New[any, int]()
		k := &keys{few: []uint64{0, 0, 1, 3, 40}[in.below(5)]}
		for i := range k.ones {
			k.ones[i], k.twos[i] = new(one), new(two)
		}
		hash := func(key any) (uint64, bool) {
			h, ok := m.Hash(key)
			if n, is := key.(int); ok && is && k.few > 0 {
				return (uint64(n)%k.few + 1) << 1, true // even: not exact
			}
			return h, ok
		}
		find := func(key any) *entry {
			if _, is := key.(int); is && k.few > 0 {
				h, _ := hash(key)
				return m.Load(key, h)
			}
			return m.Find(key)
		}
		want := map[any]*entry{}
		var removed []*entry
		insert := func(key any) {
			h, ok := hash(key)
			if !ok {
				t.Fatalf("%T is said to be no key", key)
			}
			e := shardmap.NewEntry[any, int](key)
			old, had := want[key]
			if !had {
				old = e
			}
			if actual, loaded := m.LoadOrInsert(e, h); actual != old || loaded != had {
				t.Fatalf("inserted %v: %p, %v, want %p, %v", key, actual, loaded, old, had)
			}
			want[key] = old
		}
		remove := func(key any) {
			if e := want[key]; e != nil {
				if h, _ := hash(key); !m.Remove(e, h) {
					t.Fatalf("%v was not there to remove", key)
				}
				delete(want, key)
				removed = append(removed, e)
			}
		}
		for range enough {
			if len(in) == 0 {
				break
			}
			op, kind, n := in.below(10), in.byte(), in.byte()
			key, ok := k.key(kind, n)
			if !ok {
				if _, is := m.Hash(key); is || m.Find(key) != nil {
					t.Fatalf("%T is said to be a key", key)
				}
				continue
			}
			switch op {
			case 0, 1:
				insert(key)
			case 2, 3:
				remove(key)
			case 4: // many
				for i := range n {
					key, ok := k.key(kind, i)
					if ok {
						insert(key)
					}
				}
			case 5:
				for i := range n {
					if key, ok := k.key(kind, i); ok {
						remove(key)
					}
				}
			case 6:
				if len(removed) > 0 {
					e := removed[n%len(removed)]
					if h, _ := hash(e.Key()); m.Remove(e, h) {
						t.Fatal("removed twice")
					}
				}
			case 7:
				h, _ := hash(key)
				if m.Remove(shardmap.NewEntry[any, int](key), h) {
					t.Fatalf("removed an entry of %v that was never inserted", key)
				}
			case 8:
				visit(t, m, want, func(e *entry) {
					if n > 0 { // the first of them, and others in their place
						n--
						remove(e.Key())
						if next, ok := k.key(kind, n); ok {
							insert(next)
						}
					}
				})
			case 9:
				if e := find(key); e != want[key] {
					t.Fatalf("found %p for %v, want %p", e, key, want[key])
				}
			}
			if n := m.Len(); n != len(want) {
				t.Fatalf("its length is %d, want %d", n, len(want))
			}
		}
		visit(t, m, want, nil)
		for key, e := range want {
			if find(key) != e {
				t.Fatalf("in the end it found %p for %v, want %p", find(key), key, e)
			}
			remove(key)
			if find(key) != nil {
				t.Fatalf("it found %v, which was removed", key)
			}
		}
	})
}

// visit ranges over m, with deed done to each entry, and checks that all were
// visited that were in want all the time.
func visit(t *testing.T, m *shardmap.Map[any, int], want map[any]*entry, deed func(*entry)) {
	before := map[any]*entry{}
	for key, e := range want {
		before[key] = e
	}
	seen := map[*entry]bool{}
	m.Range(func(e *entry) bool {
		seen[e] = true
		if want[e.Key()] != e {
			t.Fatalf("visited %v, which is not there", e.Key())
		}
		if deed != nil {
			deed(e)
		}
		return true
	})
	for key, e := range before {
		if want[key] == e && !seen[e] {
			t.Fatalf("did not visit %v", key)
		}
	}
}
