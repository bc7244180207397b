package mapper

import "github.com/brokermap/brokermap/internal/atomicx"

// stack is a Treiber stack of values that anybody pushes and the mapper's
// goroutine takes all at once (R. K. Treiber, Systems Programming: Coping with
// Parallelism, 1986). Taking the whole leaves no room for the ABA problem. A push
// allocates its node, so it is for what allocates anyway.
type stack[V any] struct{ top atomicx.Pointer[node[V]] }

type node[V any] struct {
	value V
	next  *node[V]
}

func (s *stack[V]) push(v V) {
	n := &node[V]{value: v}
	for {
		n.next = s.top.Load()
		if s.top.CompareAndSwap(n.next, n) {
			return
		}
	}
}

func (s *stack[V]) empty() bool { return s.top.Load() == nil }

// takeAll returns the list of the values, the oldest first, or nil.
func (s *stack[V]) takeAll() *node[V] {
	if s.empty() {
		return nil
	}
	var oldest *node[V]
	for n := s.top.Swap(nil); n != nil; {
		n.next, oldest, n = oldest, n, n.next
	}
	return oldest
}
