package ringbuf

import "math/bits"

// Drain moves items into buf and returns how many. It returns 0, provided that
// buf has room, only where every item whose Push had returned when Drain was
// called has been taken; a smaller number than len(buf) promises nothing.
// It never waits.
func (r *Ring[T]) Drain(buf []T) int {
	if r.head != r.next {
		return r.drainPastHoles(buf)
	}
	n, pos := 0, r.next
	for n < len(buf) {
		c := &r.cells[pos&r.mask]
		if c.seq.Load() != pos {
			break
		}
		buf[n] = c.take()
		n++
		pos++
	}
	if n == 0 {
		return r.drainPastHoles(buf)
	}
	r.head, r.next = pos, pos
	if pos-r.freed > r.mask>>2 {
		r.free()
	}
	return n
}

// take empties a cell that is the consumer's. Clearing it, lest the ring keep
// garbage alive for a lap, is no race: the producer of the next lap gets the
// cell from a gate that is stored later.
func (c *cell[T]) take() T {
	var zero T
	v := c.val.Get()
	c.val.Set(zero)
	return v
}

// free hands the cells below head to the producers.
func (r *Ring[T]) free() {
	r.freed = r.head
	r.open(r.head)
}

// drainPastHoles looks at the holes that are known, then at each position up to
// tail, taking what is published and noting the rest as holes. Its work is
// proportional to the items it takes, the holes, and a word for each 64 cells
// between the oldest hole and the newest item, however long a hole lasts.
func (r *Ring[T]) drainPastHoles(buf []T) int {
	n := r.fillHoles(buf)
	for tail := r.tail.Load(); r.next != tail && n < len(buf); r.next++ {
		i := r.next & r.mask
		if c := &r.cells[i]; c.seq.Load() == r.next {
			buf[n] = c.take()
			n++
		} else {
			r.holes[i/64] |= 1 << (i % 64)
		}
	}
	r.head = r.firstHole(r.head)
	if n == 0 && r.head != r.freed || r.head-r.freed > r.mask>>2 {
		r.free() // the consumer may idle now: whoever finds the ring full must be right
	}
	return n
}

// fillHoles takes the items that were published in holes since they were seen.
func (r *Ring[T]) fillHoles(buf []T) int {
	n := 0
	for pos := r.firstHole(r.head); pos != r.next && n < len(buf); pos = r.firstHole(pos + 1) {
		i := pos & r.mask
		if c := &r.cells[i]; c.seq.Load() == pos {
			r.holes[i/64] &^= 1 << (i % 64)
			buf[n] = c.take()
			n++
		}
	}
	return n
}

// firstHole returns the first hole at or after pos, or next.
func (r *Ring[T]) firstHole(pos uint64) uint64 {
	for r.next-pos-1 <= r.mask { // pos is before next
		i := pos & r.mask
		word := r.holes[i/64] >> (i % 64)
		if word != 0 {
			pos += uint64(bits.TrailingZeros64(word))
			break
		}
		pos += min(64-i%64, r.mask+1-i)
	}
	if r.next-pos-1 > r.mask {
		return r.next
	}
	return pos
}
