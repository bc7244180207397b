package model

import (
	"hash/maphash"
	"math"
	"sync/atomic"
)

// set is the states seen, by fingerprint, in a table of open addressing that is
// made as large as it may become. What is known of a state goes by its place in the
// table, which stays the same. Searchers add to it at a time.
//
// Two states are taken for one where their 64-bit fingerprints are equal and they
// begin to look for a place, which another hash says, close to each other. Of a
// hundred million states some two have the same fingerprint with a probability of
// 3e-4, and are lost for the search with one of 1e-10.
type set struct {
	seeds [2]maphash.Seed
	full  atomic.Bool

	marks []uint64 // fingerprints; 0: free
	from  []uint32 // the place of the state that it was first reached from
	// fates is where the policies lead: the place of the next state, or rests.
	fates [policies][]uint32
}

const (
	origin = math.MaxUint32 // the first state comes from there
	rests  = math.MaxUint32
)

// newSet returns one with room for that many states and a third more, lest looking
// for a place take long: 26.7 bytes a state.
func newSet(states int) *set {
	n := min(states+states/3+64, math.MaxUint32)
	s := &set{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		marks: make([]uint64, n), from: make([]uint32, n),
	}
	for p := range s.fates {
		s.fates[p] = make([]uint32, n)
		for i := range s.fates[p] {
			s.fates[p][i] = rests
		}
	}
	return s
}

func (s *set) bytes() int { return len(s.marks) * (8 + 4 + 4*len(s.fates)) }

// home returns the fingerprint of a state and where to look for its place.
func (s *set) home(state []byte) (mark uint64, place int) {
	mark = max(1, maphash.Bytes(s.seeds[0], state))
	return mark, int(maphash.Bytes(s.seeds[1], state) % uint64(len(s.marks)))
}

// add returns the place of a state that was reached from the one at from, and
// whether it is new.
func (s *set) add(state []byte, from uint32) (place uint32, isNew bool) {
	mark, i := s.home(state)
	for range s.marks {
		switch have := atomic.LoadUint64(&s.marks[i]); {
		case have == mark:
			return uint32(i), false
		case have == 0 && atomic.CompareAndSwapUint64(&s.marks[i], 0, mark):
			s.from[i] = from
			return uint32(i), true
		case have == 0:
			continue // somebody else took it, perhaps for the same state
		}
		if i++; i == len(s.marks) {
			i = 0
		}
	}
	s.full.Store(true)
	return 0, false
}

// find returns the place of a state, and whether it is there.
func (s *set) find(state []byte) (place uint32, known bool) {
	mark, i := s.home(state)
	for s.marks[i] != mark {
		if s.marks[i] == 0 {
			return 0, false
		}
		i = (i + 1) % len(s.marks)
	}
	return uint32(i), true
}

// circle returns the place of a state from which a policy does not come to rest.
func (s *set) circle() (place uint32, p policy, found bool) {
	const (
		onTheWay = 1 + iota // that is being followed
		comesToRest
	)
	marks := make([]uint8, len(s.marks))
	for p := range policies {
		clear(marks)
		next := s.fates[p]
		for i, mark := range s.marks {
			if mark == 0 {
				continue
			}
			at := uint32(i)
			for at != rests && marks[at] == 0 {
				marks[at] = onTheWay
				at = next[at]
			}
			if at != rests && marks[at] == onTheWay {
				return at, p, true
			}
			for at = uint32(i); at != rests && marks[at] == onTheWay; at = next[at] {
				marks[at] = comesToRest
			}
		}
	}
	return 0, 0, false
}
