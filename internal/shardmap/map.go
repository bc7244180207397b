// Package shardmap is a sharded hash map whose readers, inserters and removers
// are all lock-free: a goroutine that stops for ever between any two
// instructions of any call delays no other goroutine's call.
//
// The map stores entries that the inserter allocates and that never move, so
// that an *Entry serves as a handle for as long as anyone holds it. A table of
// cells in each shard finds them; see table.go for the life of a cell.
package shardmap

import (
	"hash/maphash"
	"reflect"
	"unsafe"

	"github.com/brokermap/brokermap/internal/atomicx"
)

const (
	shardBits = 7
	// numShards bounds the work of one resize, which the insert that starts it
	// does on its own when nobody else inserts into the shard: at a million
	// entries it moves 8192 cells. Look-ups and churn cost the same with 64, 128
	// and 256 shards; an empty map takes 8 bytes for each.
	numShards  = 1 << shardBits
	shardShift = 64 - shardBits
)

// Entry is one key's place in the map and the value beside it. The inserter
// allocates it and offers it to one LoadOrInsert; once that has stored it the
// map never writes to it, and its Value is the caller's to synchronize. An
// entry that was removed is not inserted again.
type Entry[K comparable, V any] struct {
	Value V
	key   K
}

// Key returns the key.
func (e *Entry[K, V]) Key() K { return e.key }

// NewEntry returns an entry for k that is in no map yet.
func NewEntry[K comparable, V any](k K) *Entry[K, V] {
	return &Entry[K, V]{key: k}
}

// Map maps keys to entries. Keys are equal as by ==.
type Map[K comparable, V any] struct {
	// home is the interface word of the one dynamic type whose keys have exact
	// hashes, or noHome. Set once, by the first hash of a key whose dynamic type is a
	// pointer: every key of that type is hashed in the one way for ever.
	home  atomicx.Uint64
	iface bool // K is an interface type
	seed  maphash.Seed
	// shards point at the current table of each shard, nil until the first
	// insert. A table becomes current once every cell of its predecessor has
	// been moved, and only a current table is claimed from or replaced.
	shards [numShards]atomicx.Pointer[table]
}

// New returns an empty map.
func New[K comparable, V any]() *Map[K, V] {
	m := &Map[K, V]{
		iface: reflect.TypeFor[K]().Kind() == reflect.Interface,
		seed:  maphash.MakeSeed(),
	}
	m.home.Store(noHome)
	return m
}

// Find returns the entry of k, or nil if there is none. It is Hash and Load in
// one call: calls are half of what it takes to find a pointer in a small map.
func (m *Map[K, V]) Find(k K) *Entry[K, V] {
	h := m.hashExact(k)
	if h == 0 {
		var ok bool
		if h, ok = m.hashSlow(k); !ok {
			return nil
		}
	} else if t := m.shards[h>>shardShift].Load(); t != nil {
		if c := &t.cells[t.home(h)]; c.h.Load() == h {
			if p := c.e.Load(); tagOf(p) == tagLive {
				return entryOf[K, V](p)
			}
		}
	}
	return m.Load(k, h)
}

// Load returns the entry of k, whose hash is h, or nil if there is none.
func (m *Map[K, V]) Load(k K, h uint64) *Entry[K, V] {
	t := m.shards[h>>shardShift].Load()
	if t == nil {
		return nil
	}
	if h&exact == 0 {
		return m.loadKeyed(t, k, h)
	}
	// An exact hash belongs to one key, and a table has at most one cell of it:
	// neither the key nor the entry needs to be looked at.
	for i := t.home(h); ; i++ {
		c := &t.cells[i&t.mask]
		ch := c.h.Load()
		if ch != h {
			if ch <= cellClosed {
				return nil
			}
			continue
		}
		p := c.e.Load()
		switch tagOf(p) {
		case tagLive, tagFrozen:
			return entryOf[K, V](p)
		case tagDead:
			return nil
		}
		t = t.next.Load()
		i = t.home(h) - 1
	}
}

// loadKeyed is Load for hashes that several keys may share.
func (m *Map[K, V]) loadKeyed(t *table, k K, h uint64) *Entry[K, V] {
	for moved := true; moved; t = t.next.Load() {
		moved = false
		for i := t.home(h); ; i++ {
			c := &t.cells[i&t.mask]
			ch := c.h.Load()
			if ch <= cellClosed {
				break
			}
			if ch != h {
				continue
			}
			p := c.e.Load()
			if p == nil {
				break
			}
			tag := tagOf(p)
			if tag == tagMoved {
				moved = true // perhaps k's cell: if no other is, k is in the next table
				continue
			}
			if e := entryOf[K, V](p); e.key == k {
				if tag == tagDead {
					return nil
				}
				return e
			}
		}
	}
	return nil
}

// LoadOrInsert stores e, whose key has the hash h, unless the key has an entry
// already. It returns the key's entry and whether that was there before.
func (m *Map[K, V]) LoadOrInsert(e *Entry[K, V], h uint64) (actual *Entry[K, V], loaded bool) {
	s := &m.shards[h>>shardShift]
	for {
		t := s.Load()
		if t == nil {
			s.CompareAndSwap(nil, newTable(minCells))
			continue
		}
		p, res := m.insert(t, e, h)
		switch res {
		case inserted:
			return e, false
		case present:
			return entryOf[K, V](p), true
		case full:
			t.grow()
		}
		if s.Load() == t {
			m.move(t, h)
			s.CompareAndSwap(t, t.next.Load())
		}
	}
}

type outcome uint8

const (
	inserted outcome = iota
	present          // the key has an entry
	full             // the table has no room for another cell
	closed           // the key's place is in the next table
)

// insert tries to store e in t, which is or was current.
func (m *Map[K, V]) insert(t *table, e *Entry[K, V], h uint64) (*byte, outcome) {
	reserved := false
	res := closed
	var found *byte
probe:
	for i := t.home(h); ; {
		c := &t.cells[i&t.mask]
		ch := c.h.Load()
		if ch == cellEmpty {
			if !reserved {
				if !t.reserve() {
					return nil, full // and so t is replaced, reservation and all
				}
				reserved = true
			}
			if !c.h.CompareAndSwap(cellEmpty, h) {
				continue
			}
			ch, reserved = h, false
		}
		if ch == cellClosed {
			break
		}
		if ch != h {
			i++
			continue
		}
		p := c.e.Load()
		switch tag := tagOf(p); {
		case tag == tagMoved:
			break probe
		case p != nil && h&exact == 0 && entryOf[K, V](p).key != e.key:
			i++
		case p == nil || tag == tagDead:
			if c.e.CompareAndSwap(p, live(e)) {
				if p != nil {
					t.dead.Dec()
				}
				res = inserted
				break probe
			}
		default:
			res, found = present, p
			break probe
		}
	}
	if reserved {
		t.used.Dec()
	}
	return found, res
}

// Remove takes e, whose key has the hash h, out of the map. It reports whether
// this call did so: false means that e was removed before or never inserted.
func (m *Map[K, V]) Remove(e *Entry[K, V], h uint64) bool {
	t := m.shards[h>>shardShift].Load()
	for moved := t != nil; moved; t = t.next.Load() {
		moved = false
	probe:
		for i := t.home(h); ; {
			c := &t.cells[i&t.mask]
			ch := c.h.Load()
			if ch <= cellClosed {
				break
			}
			if ch != h {
				i++
				continue
			}
			p := c.e.Load()
			switch tag := tagOf(p); {
			case p == live(e):
				if c.e.CompareAndSwap(p, deadOf(p, h)) {
					t.dead.Inc()
					return true
				}
				continue
			case tag == tagFrozen && entryOf[K, V](p) == e:
				m.moveCell(t, c)
				moved = true
				break probe
			case tag == tagMoved:
				moved = true // perhaps e's cell
			}
			if h&exact != 0 {
				break // there is no other cell of this hash
			}
			i++
		}
	}
	return false
}

// Len returns the number of entries: exact while no other call is under way.
func (m *Map[K, V]) Len() int {
	n := 0
	for i := range m.shards {
		if t := m.shards[i].Load(); t != nil {
			n += t.entries()
		}
	}
	return max(n, 0)
}

// Range calls f for the entries until it returns false. An entry that was
// inserted before the call began and is not removed before it ends is visited,
// perhaps twice; others may be visited or not.
func (m *Map[K, V]) Range(f func(*Entry[K, V]) bool) {
	for i := range m.shards {
		if !m.rangeShard(i, f) {
			return
		}
	}
}

// rangeShard is Range for one shard, and reports whether f never returned false.
func (m *Map[K, V]) rangeShard(i int, f func(*Entry[K, V]) bool) bool {
	for t := m.shards[i].Load(); t != nil; {
		moved := false
		for j := range t.cells {
			p := t.cells[j].e.Load()
			switch tagOf(p) {
			case tagLive, tagFrozen:
				if p != nil && !f(entryOf[K, V](p)) {
					return false
				}
			case tagMoved:
				moved = true // its entry is in the next table
			}
		}
		if !moved {
			break
		}
		t = t.next.Load()
	}
	return true
}

// live returns the state of a cell that holds e.
func live[K comparable, V any](e *Entry[K, V]) *byte { return (*byte)(unsafe.Pointer(e)) }

// entryOf returns the entry of a live, frozen or keyed dead state.
func entryOf[K comparable, V any](p *byte) *Entry[K, V] {
	return (*Entry[K, V])(untag(p))
}
