package ringbuf

// NewAt is New with the first position as given, for tests of the wrap.
func NewAt[T any](capacity int, start uint64) *Ring[T] { return newAt[T](capacity, start) }

// SizeFor returns how many cells New makes, without making them.
func SizeFor(capacity int) uint64 { return sizeFor(capacity) }

// Claim takes the next position as Push does, and stops there: a hole. The
// function it returns, nil where the ring is full, goes on with the Push of v.
func (r *Ring[T]) Claim() (publish func(v T)) {
	for {
		pos := r.tail.Load()
		if r.beyond(pos) > int64(r.mask) {
			return nil
		}
		if !r.claim(pos) {
			continue
		}
		return func(v T) {
			c := &r.cells[pos&r.mask]
			c.val.Set(v)
			c.seq.Store(pos)
			r.Wake()
		}
	}
}

// Retained returns what the cells hold.
func (r *Ring[T]) Retained() []T {
	var vs []T
	for i := range r.cells {
		vs = append(vs, r.cells[i].val.Get())
	}
	return vs
}
