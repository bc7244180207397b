package assign

// arena is a table of records by handle. It grows by pages, so that growing
// never copies what is there and never doubles it.
type arena[T any] struct {
	pages []*[pageSize]T
	n     int32 // records handed out by grow
}

const (
	pageBits = 8
	pageSize = 1 << pageBits
)

// at returns the record of handle i, zero where it is used for the first time.
// The pointer is good for as long as the arena is.
func (a *arena[T]) at(i int32) *T {
	for int(i>>pageBits) >= len(a.pages) {
		a.pages = append(a.pages, new([pageSize]T))
	}
	return &a.pages[i>>pageBits][i&(pageSize-1)]
}

// grow returns a handle that was not in use before.
func (a *arena[T]) grow() int32 {
	a.n++
	return a.n - 1
}

// fifo is a queue of workers, each at most once.
type fifo struct {
	q    []Worker
	head int
}

// keep is how much room a list keeps for the next time when it is empty; more
// was for a burst.
const keep = 1024

func (f *fifo) push(w Worker) {
	if f.head > len(f.q)/2 && len(f.q) == cap(f.q) {
		f.q = f.q[:copy(f.q, f.q[f.head:])]
		f.head = 0
	}
	f.q = append(f.q, w)
}

func (f *fifo) pop() (Worker, bool) {
	if f.head == len(f.q) {
		f.q, f.head = f.q[:0], 0
		if cap(f.q) > keep {
			f.q = nil
		}
		return none, false
	}
	f.head++
	return f.q[f.head-1], true
}
