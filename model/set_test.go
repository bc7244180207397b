package model

import (
	"encoding/binary"
	"strings"
	"sync"
	"testing"
)

// Each state has one place, whoever adds it, however full the set is.
func TestSet(t *testing.T) {
	const searchers = 4
	states := 10_000
	if raceEnabled {
		states = 1000
	}
	s := newSet(states)
	fresh := make([]int, searchers)
	var wg sync.WaitGroup
	for g := range searchers {
		wg.Go(func() {
			for i := range states {
				if _, isNew := s.add(binary.AppendUvarint(nil, uint64(i)), uint32(i)); isNew {
					fresh[g]++
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, n := range fresh {
		sum += n
	}
	if sum != states || s.full.Load() {
		t.Errorf("%d of %d states were new, full: %v", sum, states, s.full.Load())
	}
	places := map[uint32]bool{}
	for i := range states {
		state := binary.AppendUvarint(nil, uint64(i))
		place, known := s.find(state)
		if again, isNew := s.add(state, 0); !known || isNew || again != place || places[place] || s.from[place] != uint32(i) {
			t.Fatalf("state %d is known: %v, at %d and %d, from %d", i, known, place, again, s.from[place])
		}
		places[place] = true
	}
	if _, known := s.find([]byte("none")); known {
		t.Error("it knows a state that was not added")
	}
	for i := range 2 * len(s.marks) {
		s.add(binary.AppendUvarint(nil, uint64(states+i)), 0)
	}
	if !s.full.Load() {
		t.Error("it takes more than there is room for")
	}
}

// A policy that goes round is told from ones that come to rest.
func TestCircle(t *testing.T) {
	s := newSet(8)
	place := func(i byte) uint32 {
		p, _ := s.add([]byte{i}, origin)
		return p
	}
	for i := range byte(4) {
		s.fates[eager][place(i)] = place(i + 1)
		s.fates[lazy][place(i)] = place(4)
	}
	if at, p, found := s.circle(); found {
		t.Errorf("policy %d goes round at %d", p, at)
	}
	s.fates[lazy][place(4)] = place(2)
	at, p, found := s.circle()
	if !found || p != lazy || at != place(2) && at != place(4) {
		t.Errorf("found: %v, policy %d, at %d; want %d", found, p, at, lazy)
	}
}

// A search that would take more than it may says so.
func TestSearchIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		opts Options
		says string
	}{
		"states":      {Options{MaxStates: 100}, "more than 100 states"},
		"many states": {Options{MaxStates: 1000}, "more than 1000 states"},
		"bytes":       {Options{MaxBytes: 1 << 20}, "more than 1048576"},
	} {
		if r, err := Search(small[0], c.opts); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v, want one that says %q", name, r, err, c.says)
		}
	}
	r, err := Search(small[0], Options{MaxStates: 1791, Workers: 3})
	if err != nil || r.States != 1791 {
		t.Errorf("%v, %v, want all of its 1791 states", r, err)
	}
}
