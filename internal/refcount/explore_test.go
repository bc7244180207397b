//go:build explore

package refcount_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/brokermap/brokermap/internal/atomicx"
	"github.com/brokermap/brokermap/internal/explore"
	"github.com/brokermap/brokermap/internal/refcount"
)

// countProgram is users that take and give back references to a resource, and
// an owner that destroys it once the count has closed. To use it is to read a
// plain variable and to destroy it is to write it: a use that does not come
// before the end is a data race, or reads what it must not.
type countProgram struct {
	users   []int // how often each retains
	resumes int   // how many unsuccessful drains the owner takes back first
	stopped bool  // the first user may stop for ever, anywhere
}

func (cp countProgram) setup(p *explore.Program) {
	var (
		count     refcount.Count
		destroyed atomicx.Cell[bool]
		last      = atomicx.NewSignal() // a release was the last one
		refused   = make([]bool, len(cp.users))
		holding   = make([]bool, len(cp.users))
		owing     = make([]bool, len(cp.users)) // to tell the owner
		closed    bool
	)
	for i, times := range cp.users {
		start := p.Go
		if cp.stopped && i == 0 {
			start = p.Stoppable
		}
		start(func() {
			for range times {
				if !count.TryRetain() {
					refused[i] = true
					continue
				}
				holding[i] = true
				if refused[i] {
					explore.Failf("retained after it was refused once")
				}
				if destroyed.Get() {
					explore.Failf("retained what was destroyed")
				}
				owing[i] = count.Release()
				holding[i] = false
				if owing[i] {
					last.Notify()
					owing[i] = false
				}
			}
		})
	}
	owner := p.Go
	if cp.stopped {
		owner = p.Daemon
	}
	owner(func() {
		for range cp.resumes {
			if count.Drain() {
				break
			}
			count.Resume()
		}
		for !count.Drain() {
			last.Wait(nil)
		}
		destroyed.Set(true)
		closed = true
		if !count.Drain() || !count.Closed() || count.Refs() != 0 || count.TryRetain() {
			explore.Failf("closed, and not for good")
		}
	})
	p.Check(func() error {
		if held := slices.Contains(holding, true); held && closed {
			return errors.New("closed while a reference is out")
		} else if !held && !closed && !slices.Contains(owing, true) {
			return errors.New("not closed, and nobody holds a reference or has yet to say so")
		}
		return nil
	})
}

func TestExploreCount(t *testing.T) {
	for _, c := range []struct {
		name string
		countProgram
	}{
		{"two users", countProgram{users: []int{1, 1}}},
		{"three users", countProgram{users: []int{1, 1, 1}}},
		{"an owner that resumes", countProgram{users: []int{1, 1}, resumes: 1}},
		{"a user stops", countProgram{users: []int{1, 1}, stopped: true}},
		{"a user stops, the owner resumes", countProgram{users: []int{1, 1}, stopped: true, resumes: 1}},
		{"users come back", countProgram{users: []int{2, 2}}},
		{"three users, the owner resumes", countProgram{users: []int{1, 1, 1}, resumes: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			explore.Verify(t, explore.Options{}, c.setup)
		})
	}
}
