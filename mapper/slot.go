package mapper

import (
	"math"

	"github.com/brokermap/brokermap/internal/assign"
	"github.com/brokermap/brokermap/internal/atomicx"
)

// slot is what is known of one worker value: the level-triggered truth that
// callers write and the mapper's goroutine looks at. A hint in the ring only
// says that a look is worth it; hints may be late, doubled or out of order.
//
// The word:
//
//	bit   0      alive    a life is on
//	bits  1-2    trigger  see below
//	bit   3      retired  the entry is out of the map for good
//	bit   4      sent     this life was sent an executor, or is about to be
//	bits  8-31   turn     number of triggers answered, modulo 2^24
//	bits 32-63   epoch    number of the last life, modulo 2^32
//
// A stop and the respawn that follows may fall between two looks; the epoch
// keeps them from canceling out. The trigger is
//
//	none    nothing is wanted
//	set     wanted, but perhaps the mapper was not told: who sees it tells it
//	told    wanted, and the mapper has been told or has seen it
//
// so that a caller that stops between setting it and telling the mapper holds
// up nobody else's, and one that repeats it is done after one load. Callers move
// it from none to set to told, the mapper's goroutine from set to told and,
// when a resolution starts, to none. The turn keeps a late "told" from covering
// a newer trigger: a caller would have to sleep through 2^24 resolutions.
type slot struct {
	word atomicx.Uint64
	// executor is the one sent last in the life that is on, or nil. Stored by the
	// mapper's goroutine before it marks the life as sent one, and that before it
	// sends, so that who has received can acquire. While the mapper has not taken
	// notice of a new life it is still the old one's: without the mark it is void.
	executor atomicx.Pointer[executorEntry]
	// current is the life of the word's epoch; a moment before a new life begins,
	// already the next one. Replaced by whoever begins a life.
	current atomicx.Pointer[life]
	first   life // the first life, here to save an allocation
	// on is the life that the machine takes for alive, or nil. The mapper's
	// goroutine's own.
	on *life
}

// life is one life of a worker.
type life struct {
	ch    chan<- Executor
	epoch uint32
	// handle, in a slot's first life, is what the machine knows the worker by, in
	// all of its lives, or noHandle. It stands here because here is room: an entry
	// fills a cache line. The mapper's goroutine's own.
	handle assign.Worker
}

const noHandle assign.Worker = -1

func (s *slot) handle() *assign.Worker { return &s.first.handle }

const (
	aliveBit = 1 << 0

	triggerMask = 3 << 1
	triggerSet  = 1 << 1
	triggerTold = 2 << 1

	retiredBit = 1 << 3
	sentBit    = 1 << 4

	turnOne  = 1 << 8
	turnMask = (1<<24 - 1) << 8

	epochShift = 32
)

func epochOf(word uint64) uint32 { return uint32(word >> epochShift) }

// init makes the slot that of a first life, before anybody sees it.
func (s *slot) init(ch chan<- Executor) {
	s.first.ch = ch
	s.first.epoch = 1
	s.first.handle = noHandle
	s.current.Store(&s.first)
	s.word.Store(1<<epochShift | aliveBit)
}

type revival uint8

const (
	revived revival = iota // the caller began a life
	living                 // somebody else did
	retired                // too late: another entry is needed
)

// revive begins a life in a slot whose last one has ended. It takes two steps,
// the new life and then the word; whoever finds the first done does the second.
func (s *slot) revive(ch chan<- Executor) revival {
	var mine *life
	for {
		w := s.word.Load()
		if mine != nil && int32(epochOf(w)-mine.epoch) >= 0 {
			return revived // it may even have ended since
		}
		if w&retiredBit != 0 {
			return retired
		}
		if w&aliveBit != 0 {
			return living
		}
		l := s.current.Load()
		if l.epoch == epochOf(w) {
			next := &life{ch: ch, epoch: l.epoch + 1}
			if !s.current.CompareAndSwap(l, next) {
				continue
			}
			l, mine = next, next
		}
		if l.epoch == epochOf(w)+1 {
			s.word.CompareAndSwap(w, w&turnMask|uint64(l.epoch)<<epochShift|aliveBit)
		}
	}
}

// end ends the life that is on, and returns its last word; without the alive bit
// where none is on.
func (s *slot) end() (last uint64) {
	for {
		w := s.word.Load()
		if w&aliveBit == 0 || s.word.CompareAndSwap(w, w&^(aliveBit|sentBit|triggerMask)) {
			return w
		}
	}
}

// trigger notes that a new assignment is wanted. Where tell is true the caller
// must tell the mapper and then call told(w). on is false where no life is on.
func (s *slot) trigger() (w uint64, tell, on bool) {
	for {
		w := s.word.Load()
		if w&aliveBit == 0 {
			return w, false, false
		}
		switch w & triggerMask {
		case triggerTold:
			return w, false, true
		case triggerSet:
			return w, true, true
		}
		if s.word.CompareAndSwap(w, w|triggerSet) {
			return w | triggerSet, true, true
		}
	}
}

// told notes that the mapper was told of the trigger in w, which trigger
// returned. It does nothing where the word has moved on.
func (s *slot) told(w uint64) {
	s.word.CompareAndSwap(w, w&^triggerMask|triggerTold)
}

// observe returns the word, having noted that the mapper has seen its trigger.
// Only the mapper's goroutine calls it, as answer and retire.
func (s *slot) observe() uint64 {
	for {
		w := s.word.Load()
		if w&triggerMask != triggerSet {
			return w
		}
		told := w&^triggerMask | triggerTold
		if s.word.CompareAndSwap(w, told) {
			return told
		}
	}
}

// answer takes the trigger back, as a resolution starts that comes after it.
func (s *slot) answer() {
	for {
		w := s.word.Load()
		if w&triggerMask == 0 {
			return
		}
		if s.word.CompareAndSwap(w, w&^(triggerMask|turnMask)|(w+turnOne)&turnMask) {
			return
		}
	}
}

// retire takes a dead slot out of use; false where a life has begun meanwhile.
func (s *slot) retire() bool {
	w := s.word.Load()
	return w&(aliveBit|retiredBit) == 0 && s.word.CompareAndSwap(w, w|retiredBit)
}

// markSent notes that l is sent executors; false where it is not on any more.
// Only the mapper's goroutine calls it.
func (s *slot) markSent(l *life) bool {
	for {
		w := s.word.Load()
		if w&aliveBit == 0 || epochOf(w) != l.epoch {
			return false
		}
		if w&sentBit != 0 || s.word.CompareAndSwap(w, w|sentBit) {
			return true
		}
	}
}

// sameLife reports whether two words are of one life, which is on in both or in
// neither, and was sent an executor in both or in neither.
func sameLife(a, b uint64) bool { return (a^b)&(math.MaxUint32<<epochShift|aliveBit|sentBit) == 0 }

// gate counts the lives that have begun and not ended, and closes for new ones.
type gate struct {
	_    atomicx.Align64
	word atomicx.Uint64
}

const gateClosed = 1 << 63

func (g *gate) enter() bool {
	for {
		n := g.word.Load()
		if n&gateClosed != 0 {
			return false
		}
		if g.word.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave reports whether it was the last to leave a closed gate.
func (g *gate) leave() bool { return g.word.Dec() == gateClosed }

// close reports whether the gate was open.
func (g *gate) close() bool {
	for {
		n := g.word.Load()
		if n&gateClosed != 0 {
			return false
		}
		if g.word.CompareAndSwap(n, n|gateClosed) {
			return true
		}
	}
}

// count returns how many are in.
func (g *gate) count() uint64 { return g.word.Load() &^ gateClosed }

func (g *gate) closed() bool { return g.word.Load()&gateClosed != 0 }

// empty reports that the gate is closed and all have left: every notification
// that matters has been made.
func (g *gate) empty() bool { return g.word.Load() == gateClosed }
