package mapper

import (
	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/refcount"
)

// executor is what is known of an executor that exists. It is in the map of
// executors from the moment the mapper has it until its Stop has returned.
type executor struct {
	// leases counts those that are out. The mapper's goroutine, its owner,
	// drains it when no worker holds the executor.
	leases refcount.Count
	// Flags that callers raise and the mapper's goroutine lowers.
	failed   atomicx.Uint32
	unpinned atomicx.Uint32
	reason   reason

	// Set before the entry is published.
	conn  *sarama.Broker
	known bool // it is in the map of executors
}

// raise sets a flag. It writes only where that changes something: flags are
// read by many.
func raise(f *atomicx.Uint32) {
	if f.Load() == 0 {
		f.Store(1)
	}
}

// lower clears a flag and reports whether it was set.
func lower(f *atomicx.Uint32) bool {
	if f.Load() == 0 {
		return false
	}
	f.Store(0)
	return true
}

func (x *executor) fail(err error) {
	x.reason.set(err)
	raise(&x.failed)
}

// reason keeps one error for the log, the first that comes. It is lost rather
// than waited for.
type reason struct {
	state atomicx.Uint32
	err   atomicx.Cell[error]
}

const (
	reasonFree  = iota // nobody's
	reasonTaken        // a caller is writing it
	reasonReady        // the mapper's goroutine may take it
)

func (r *reason) set(err error) {
	if err != nil && r.state.Load() == reasonFree && r.state.CompareAndSwap(reasonFree, reasonTaken) {
		r.err.Set(err)
		r.state.Store(reasonReady)
	}
}

func (r *reason) take() error {
	if r.state.Load() != reasonReady {
		return nil
	}
	err := r.err.Get()
	r.err.Set(nil)
	r.state.Store(reasonFree)
	return err
}

// earlyFailures remembers failures of executors that the mapper does not know,
// by hash, for as long as the executor may be on its way from SpawnExecutor.
// When more than fit have come since, all are assumed: a resolution too many
// does no harm, one too few would.
//
// The caller notes the hash and then looks for the executor once more; the
// mapper publishes the executor and then looks for the hash. One of them sees
// the other.
type earlyFailures struct {
	_     atomicx.Align64
	n     atomicx.Uint64
	cells [32]atomicx.Uint64 // cellOf what was noted there last
}

// cellOf returns what the i-th note of a hash leaves behind: the hash, and in its
// place the low bits of the lap. A caller that sleeps between counting its note
// and leaving it may cover a newer one; the lap gives it away.
func cellOf(i, h uint64) uint64 { return h<<lapBits | lapOf(i) }

func lapOf(i uint64) uint64 { return i / uint64(len(earlyFailures{}.cells)) % (1 << lapBits) }

const lapBits = 16

func (f *earlyFailures) note(h uint64) {
	i := f.n.Inc() - 1
	f.cells[i%uint64(len(f.cells))].Store(cellOf(i, h))
}

// count returns how many were noted so far.
func (f *earlyFailures) count() uint64 { return f.n.Load() }

// since reports whether h was noted, or may have been, after count returned n.
func (f *earlyFailures) since(n, h uint64) bool {
	end := f.n.Load()
	if end-n > uint64(len(f.cells)) {
		return true
	}
	for ; n != end; n++ {
		v := f.cells[n%uint64(len(f.cells))].Load()
		if v == cellOf(n, h) || v%(1<<lapBits) != lapOf(n) {
			return true
		}
	}
	return false
}

// Lease is a pin on an executor: while it is out the executor is not stopped,
// whatever its workers do. The zero Lease pins nothing.
type Lease struct {
	m *T
	x *executorEntry
}

// Acquire pins the executor that the mapper sent to w last. It returns false,
// and the zero Lease, where w does not live or was sent none. It is for
// goroutines that use a worker's executor without being the one that reads its
// channel, and for use beyond the moment the next executor is read. Acquire and
// Release are lock-free and do not allocate.
func (m *T) Acquire(w Worker) (Lease, bool) {
	m.trace.begin()
	l, ok := m.acquire(w)
	m.trace.acquired(w, l)
	return l, ok
}

func (m *T) acquire(w Worker) (Lease, bool) {
	e := m.slotOf(&w).hint(m.token) // not find: a call less
	if e == nil {
		if e = m.workers.Find(w); e == nil {
			return Lease{}, false
		}
	}
	for {
		before := e.Value.word.Load()
		x := e.Value.executor.Load()
		if before&sentBit == 0 || x == nil {
			return Lease{}, false
		}
		if !x.Value.leases.TryRetain() {
			// Since it was loaded it was superseded, or the life has ended: nobody
			// closes it before that is to be seen here.
			continue
		}
		if !sameLife(before, e.Value.word.Load()) {
			Lease{m: m, x: x}.release() // x may be another life's
			return Lease{}, false
		}
		return Lease{m: m, x: x}, true
	}
}

// Executor returns the pinned executor; nil for the zero Lease.
func (l Lease) Executor() Executor {
	if l.x == nil {
		return nil
	}
	return l.x.Key()
}

// Release ends the lease. It must be called exactly once for each Lease that
// Acquire returned, by any goroutine; once more panics where it can be told. It
// never stops the executor in its caller. The zero Lease's does nothing.
func (l Lease) Release() {
	if l.x != nil {
		l.m.trace.begin()
		l.release()
		l.m.trace.released(l)
	}
}

func (l Lease) release() {
	if l.x.Value.leases.Release() {
		raise(&l.x.Value.unpinned)
		l.m.flag()
	}
}
