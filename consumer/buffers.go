package consumer

import (
	"math/bits"
	"sync"
)

// buffers holds the memory of answers that a reader's loop has gone past, for the
// answers to come. Messages that are sent on channels keep theirs: there is no
// telling when their users are done.
type buffers struct {
	pools [maxClass + 1]sync.Pool // of *[]byte, by the logarithm of their capacity
}

const (
	minClass = 12 // smaller ones are not worth it
	maxClass = 22
)

// get returns a buffer without bytes that has room for n.
func (b *buffers) get(n int) []byte {
	class := bits.Len(uint(n - 1))
	if b == nil || n <= 0 || class < minClass || class > maxClass {
		return make([]byte, 0, n)
	}
	if p, ok := b.pools[class].Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, 1<<class)
}

// put takes a buffer that nobody uses any more. Those that get did not make are
// left to the garbage collector.
func (b *buffers) put(buffer []byte) {
	class := bits.Len(uint(cap(buffer))) - 1
	if class < minClass || class > maxClass || cap(buffer) != 1<<class {
		return
	}
	b.pools[class].Put(&buffer)
}
