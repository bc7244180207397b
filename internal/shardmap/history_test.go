//go:build explore

package shardmap

import (
	"fmt"
	"strings"
)

// A history is what the threads of a small program did to one map, each in its
// order, with what came of it.
type (
	history [][]call
	call    struct {
		what   action
		key    int
		entry  *Entry[int, int] // offered or removed; what a load found
		actual *Entry[int, int] // an insert's
		ok     bool             // loaded, removed
		done   bool             // false: it stopped on the way, and may have happened or not
	}
)

// flagKey is where the flag is among the keys of the plain map.
const flagKey = -1

var raised = &Entry[int, int]{}

func (c call) String() string {
	pending := ""
	if !c.done {
		pending = " unfinished"
	}
	switch c.what {
	case inserts:
		return fmt.Sprintf("insert %d as %p: %p, %v%s", c.key, c.entry, c.actual, c.ok, pending)
	case removes:
		return fmt.Sprintf("remove %d, %p: %v%s", c.key, c.entry, c.ok, pending)
	}
	if c.key == flagKey {
		return fmt.Sprintf("flag: %v", c.what == raises || c.ok)
	}
	return fmt.Sprintf("load %d: %p%s", c.key, c.entry, pending)
}

// explain returns an error if there is no order of the calls, compatible with
// the order within each thread, in which a plain map that began as before would
// have given the same answers and ended as after.
func (h history) explain(before, after map[int]*Entry[int, int]) error {
	state := map[int]*Entry[int, int]{}
	for k, e := range before {
		state[k] = e
	}
	at := make([]int, len(h))
	if h.search(state, at, after) {
		return nil
	}
	var b strings.Builder
	for i, calls := range h {
		for _, c := range calls {
			fmt.Fprintf(&b, "\n  thread %d: %v", i, c)
		}
	}
	return fmt.Errorf("no order explains this: from %v to %v by%s", before, after, b.String())
}

func (h history) search(state map[int]*Entry[int, int], at []int, after map[int]*Entry[int, int]) bool {
	ended := true
	for i, calls := range h {
		if at[i] == len(calls) {
			continue
		}
		c := calls[at[i]]
		if c.done {
			ended = false
		}
		old := state[c.key]
		next := old
		fits := false
		switch c.what {
		case inserts:
			if fits = old == nil && !c.ok && c.actual == c.entry || old != nil && c.ok && c.actual == old; old == nil {
				next = c.entry
			}
		case removes:
			if fits = c.ok == (old == c.entry); old == c.entry {
				next = nil
			}
		case loads:
			fits = c.entry == old
		case raises:
			fits, next = true, raised
		case sees:
			fits = c.ok == (old == raised)
		}
		if !fits && c.done {
			continue
		}
		at[i]++
		set(state, c.key, next)
		if h.search(state, at, after) {
			return true
		}
		set(state, c.key, old)
		at[i]--
	}
	if !ended {
		return false
	}
	for k, e := range state {
		if k != flagKey && after[k] != e {
			return false
		}
	}
	for k, e := range after {
		if state[k] != e {
			return false
		}
	}
	return true
}

func set(state map[int]*Entry[int, int], k int, e *Entry[int, int]) {
	if e == nil {
		delete(state, k)
		return
	}
	state[k] = e
}
