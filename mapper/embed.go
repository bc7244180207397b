package mapper

import (
	"reflect"
	"unsafe"

	"github.com/brokermap/brokermap/internal/atomicx"
)

// Slot notes in a worker where the mapper keeps what it knows of it. A worker need
// not have one; where it does, notifications and Acquire go there instead of
// looking the worker up:
//
//	type fetcher struct {
//		mapper.Slot
//		// ...
//	}
//
// It counts where workers are pointers to a struct that embeds a Slot by value,
// itself or in a struct that it embeds. A mapper serves one such type, the first
// that it meets, and a Slot serves one mapper, the first that its worker is
// given to; in every other case the worker is looked up, and all goes on as
// without a Slot. The zero Slot is ready for use, and it may be zeroed whenever
// nobody is in a call about its worker. It must not be copied to another worker.
type Slot struct {
	owner atomicx.Pointer[token]
	// entry is the worker's latest entry, or an earlier one, which is retired
	// then. Only the owner's callers look at it.
	entry atomicx.Pointer[workerEntry]
}

// token stands for a mapper where the mapper itself would be kept alive.
type token struct{ _ byte }

func (s *Slot) slot() *Slot { return s }

// slotted is implemented by the types that embed a Slot.
type slotted interface{ slot() *Slot }

// find returns the entry of w, or nil if there is none.
func (m *T) find(w Worker) *workerEntry {
	if e := m.slotOf(&w).hint(m.token); e != nil {
		return e
	}
	return m.workers.Find(w)
}

// hint returns the entry that the owner t finds by way of s, or nil.
func (s *Slot) hint(t *token) *workerEntry {
	if s == nil || s.owner.Load() != t {
		return nil
	}
	if e := s.entry.Load(); e != nil && e.Value.word.Load()&retiredBit == 0 {
		return e // one that is not retired is the worker's place in the map
	}
	return nil
}

// A home is the type of the workers whose Slots a mapper uses, and where in them
// the Slot is.
type home struct {
	_      atomicx.Align64
	typ    atomicx.Uint64 // the interface word of the type; 0 before there is one, else noType
	offset uintptr        // set before typ is
}

// noType is what no interface word is equal to, but that of nil.
const noType = 1

// ifaceWords is the layout of an interface value that holds a pointer.
type ifaceWords struct {
	typ  uintptr // says which type; what it points at is never freed
	data unsafe.Pointer
}

// slotOf returns the Slot of *w, or nil if *w is not of the home type. It takes a
// pointer so that its callers, where it is inlined, need no copy of the worker.
func (m *T) slotOf(w *Worker) *Slot {
	v := (*ifaceWords)(unsafe.Pointer(w))
	if uint64(v.typ) != m.home.typ.Load() || v.data == nil {
		return nil
	}
	return (*Slot)(unsafe.Add(v.data, m.home.offset))
}

// offered returns the Slot of w, whose type becomes the home type if it can be
// and there is none yet.
func (m *T) offered(w Worker) *Slot {
	if m.home.typ.Load() == 0 {
		m.home.settle(w)
	}
	return m.slotOf(&w)
}

// settle makes the type of w the home type, if it can be. While one caller is at
// it, or should it never get to the end, all workers are looked up.
func (h *home) settle(w Worker) {
	if _, ok := w.(slotted); !ok {
		return
	}
	t := reflect.TypeOf(w)
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return
	}
	t = t.Elem()
	field, ok := t.FieldByName("Slot")
	if !ok || field.Type != reflect.TypeFor[Slot]() {
		return
	}
	offset := uintptr(0)
	for _, i := range field.Index {
		if t.Kind() != reflect.Struct {
			return // it is embedded by a pointer, which others may share
		}
		offset += t.Field(i).Offset
		t = t.Field(i).Type
	}
	if h.typ.CompareAndSwap(0, noType) {
		h.offset = offset
		h.typ.Store(uint64((*ifaceWords)(unsafe.Pointer(&w)).typ))
	}
}

// point has the callers of m find the entry e, which is or was in the map. Who is
// late may put back an earlier entry; it is retired, and so only costs a look-up.
func (s *Slot) point(m *T, e *workerEntry) {
	if s == nil || s.entry.Load() == e {
		return
	}
	if s.owner.Load() == nil {
		s.owner.CompareAndSwap(nil, m.token)
	}
	if s.owner.Load() == m.token {
		s.entry.Store(e)
	}
}
