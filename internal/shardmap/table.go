package shardmap

import (
	"math/bits"
	"unsafe"

	"github.com/brokermap/brokermap/internal/atomicx"
)

// minCells is the size of a shard's first table.
const minCells = 4

// A cell's hash word is written at most once.
const (
	cellEmpty  = 0 // no key's: the probe for a key that is in no cell before ends here
	cellClosed = 1 // was empty when the table was replaced: insert into the next one
	// Any other value is the hash of the cell's key.
)

// For a look-up a closed cell is as good as an empty one. Nobody inserts into the
// next table before it is current, and for the look-up it was not: so the key
// that is in no cell before was in no table when the look-up began.

// A cell's state is a pointer whose low bits are a tag. It is always nil or a
// pointer into a live object, the entry or marks, which is all that the garbage
// collector asks for.
//
//	state      tag  pointer        then
//	unfilled   0    nil            live, moved
//	live       0    the entry      dead, frozen
//	frozen     1    the entry + 1  moved
//	moved      2    marks + 2      -
//	dead       3    marks + 3      live, moved     exact hashes
//	dead       3    the entry + 3  live, moved     other hashes
//
// A key's place is the first cell that is not moved on the way from the shard's
// current table along next; what is there (live or frozen: the entry, else
// nothing) is what the map holds. A call takes effect at its last access of that
// cell; a look-up that ends at a closed one took effect when it began.
//
// A frozen entry can be neither removed nor replaced. It is put into the next
// table first, then the cell is moved. Any number of helpers may do both: only
// the first put finds the entry's cell in the next table unfilled, and it never
// is again.
//
// A dead cell with an exact hash forgets its entry, so that the key can be
// collected. Other hashes may be shared by several keys. Their cells stay the
// key's, and the dead entry stands for it until the table is replaced:
// otherwise a key that was put behind another's could later be put before it,
// too.
const (
	tagLive = iota
	tagFrozen
	tagMoved
	tagDead
	tagMask = 3
)

// marks is what tags without an entry point into.
var marks uint64

var (
	stateMoved = (*byte)(unsafe.Add(unsafe.Pointer(&marks), tagMoved))
	stateDead  = (*byte)(unsafe.Add(unsafe.Pointer(&marks), tagDead))
)

func tagOf(p *byte) uintptr { return uintptr(unsafe.Pointer(p)) & tagMask }

func untag(p *byte) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(p), -int(tagOf(p)))
}

func frozenOf(p *byte) *byte { return (*byte)(unsafe.Add(unsafe.Pointer(p), tagFrozen)) }

func deadOf(p *byte, h uint64) *byte {
	if h&exact != 0 {
		return stateDead
	}
	return (*byte)(unsafe.Add(unsafe.Pointer(p), tagDead))
}

type cell struct {
	h atomicx.Uint64
	_ [8 - unsafe.Sizeof(uintptr(0))]byte // keeps h aligned on 32-bit machines
	e atomicx.Pointer[byte]
}

// table is one generation of a shard: open addressing, linear probing. The
// counts share a cache line with what look-ups read: with one goroutine inserting
// and another looking up, moving them away made no difference.
type table struct {
	mask  uint64
	cells []cell
	shift uint8 // 64 less the number of mask's bits
	// limit is how many cells may be claimed: some stay empty, and so every
	// probe ends.
	limit uint32
	// used is not less than the number of claimed cells: a claim is counted
	// before it is made. It passes limit only by attempts that then fail.
	used atomicx.Uint32
	// dead is the number of dead cells, off by the calls that are between their
	// change of a cell and this count; as a signed number.
	dead atomicx.Uint32
	// next is the table that replaces this one, at least as large. Set once,
	// while the table is current and before its first cell is frozen, closed or
	// moved.
	next atomicx.Pointer[table]
}

// A small table is one object with its cells: among up to some thousand entries the
// allocations are a good part of what an insert costs. On 64-bit machines the cells
// begin where the table's own cache line ends.
type (
	table4 struct {
		table
		own [4]cell
	}
	table8 struct {
		table
		own [8]cell
	}
	table16 struct {
		table
		own [16]cell
	}
)

func newTable(n int) *table {
	var t *table
	switch n {
	case 4:
		s := new(table4)
		t, s.cells = &s.table, s.own[:]
	case 8:
		s := new(table8)
		t, s.cells = &s.table, s.own[:]
	case 16:
		s := new(table16)
		t, s.cells = &s.table, s.own[:]
	default:
		t = &table{cells: make([]cell, n)}
	}
	t.mask = uint64(n - 1)
	t.shift = uint8(64 - bits.TrailingZeros(uint(n)))
	t.limit = uint32(n - (n+3)/4)
	return t
}

// home is where the probe for h begins. The bits that choose the shard are the
// top ones, these are the next: a table twice as large has the cells in the same
// order.
func (t *table) home(h uint64) uint64 { return h << shardBits >> (t.shift & 63) }

// reserve makes room for one claim.
func (t *table) reserve() bool { return t.used.Inc() <= t.limit }

// entries is the number of entries that t and the table after it stand for.
func (t *table) entries() int {
	n := min(t.used.Load(), t.limit) - t.dead.Load()
	if next := t.next.Load(); next != nil {
		// Nobody inserts into next before it is current.
		n -= next.dead.Load()
	}
	return int(int32(n))
}

// grow gives t, which is or was current, a successor, if it has none.
func (t *table) grow() {
	if t.next.Load() != nil {
		return
	}
	n := len(t.cells)
	if 2*t.entries() >= n {
		n *= 2
	}
	t.next.CompareAndSwap(nil, newTable(n))
}

// move moves every cell of t, which has a successor. Nobody waits for anybody:
// whoever needs the next table moves all the cells, or sees that they have been
// moved. Helpers begin at different cells, so that they share the work.
func (m *Map[K, V]) move(t *table, from uint64) {
	for i := range uint64(len(t.cells)) {
		m.moveCell(t, &t.cells[(t.home(from)+i)&t.mask])
	}
}

// moveCell moves one cell of t, which has a successor.
func (m *Map[K, V]) moveCell(t *table, c *cell) {
	h := c.h.Load()
	if h == cellEmpty {
		if c.h.CompareAndSwap(cellEmpty, cellClosed) {
			return
		}
		h = c.h.Load()
	}
	if h == cellClosed {
		return
	}
	for {
		p := c.e.Load()
		switch tag := tagOf(p); {
		case tag == tagMoved:
			return
		case p == nil || tag == tagDead:
			c.e.CompareAndSwap(p, stateMoved)
		case tag == tagLive:
			c.e.CompareAndSwap(p, frozenOf(p))
		default:
			m.put(t.next.Load(), h, p)
			c.e.CompareAndSwap(p, stateMoved)
		}
	}
}

// put stores the entry of the frozen state p in t, the successor of the table
// in which it is frozen, unless that has been done: then the key's cell in t is
// filled, or t is being replaced already.
func (m *Map[K, V]) put(t *table, h uint64, p *byte) {
	e := entryOf[K, V](p)
	reserved := false
	for i := t.home(h); ; {
		c := &t.cells[i&t.mask]
		ch := c.h.Load()
		if ch == cellEmpty {
			if !reserved {
				t.used.Inc() // t is not smaller: there is room for all that is frozen
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
		q := c.e.Load()
		if q == nil {
			if c.e.CompareAndSwap(nil, live(e)) {
				break
			}
			continue
		}
		if h&exact != 0 || tagOf(q) == tagMoved || entryOf[K, V](q).key == e.key {
			break
		}
		i++
	}
	if reserved {
		t.used.Dec()
	}
}
