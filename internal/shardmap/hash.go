package shardmap

import (
	"hash/maphash"
	"reflect"
	"unsafe"
)

// exact marks the hashes that no two keys of a map share. The other hashes are
// even, and not 0.
const exact = 1

// noHome is no address of a type's description, nor the 0 of a nil interface.
const noHome = 1

// Hash returns the hash of k in this map. It reports false for the keys that a
// map cannot have: nil, and dynamic types that cannot be compared.
//
// Nearly all keys are pointers of one type, in an interface. Those hash to their
// address, mixed by a bijection. That is sound because k escapes here (maphash
// makes it do so), hence points at no stack, and Go's heap objects do not move;
// an address is not used again while an entry in the map or a caller holds the
// key. Where it did not hold, a key would merely not be found.
func (m *Map[K, V]) Hash(k K) (h uint64, ok bool) {
	if h = m.hashExact(k); h != 0 {
		return h, true
	}
	return m.hashSlow(k)
}

// hashExact returns 0 for the keys that have no exact hash.
func (m *Map[K, V]) hashExact(k K) uint64 {
	if m.iface {
		w := (*ifaceWords)(unsafe.Pointer(&k))
		if x := uint64(uintptr(w.data)); uint64(w.typ) == m.home.Load() && int64(x) > 0 {
			return mix(x)
		}
	}
	return 0
}

// ifaceWords is the layout of an interface value. For a dynamic type of Kind
// Pointer the data word is the pointer itself.
type ifaceWords struct {
	typ  uintptr // points at the runtime's description, which is never freed
	data unsafe.Pointer
}

// mix maps the 63-bit numbers one to one to the odd 64-bit numbers, and all but
// 0 to others than 1. The top bits of a plain multiplication put objects of some
// sizes into few cells (12 cells beyond home on average, where random numbers
// have 1). With the address folded first, no size class of Go's does worse than
// random numbers, and most do better: neighbors in memory seldom collide.
func mix(x uint64) uint64 {
	return (x^x>>26)*0xd6e8feb86659fd93<<1 | exact
}

func (m *Map[K, V]) hashSlow(k K) (h uint64, ok bool) {
	if m.iface {
		w := (*ifaceWords)(unsafe.Pointer(&k))
		if w.typ == 0 {
			return 0, false
		}
		if m.home.Load() == noHome && reflect.TypeOf(k).Kind() == reflect.Pointer {
			m.home.CompareAndSwap(noHome, uint64(w.typ))
		}
		// Somebody may have settled the home since hashExact looked, and on this
		// type: then there is no other hash for k than the exact one.
		if h = m.hashExact(k); h != 0 {
			return h, true
		}
	}
	defer func() {
		if recover() != nil {
			h, ok = 0, false
		}
	}()
	h = maphash.Comparable(m.seed, k) &^ exact
	if h == 0 {
		h = 2
	}
	return h, true
}
