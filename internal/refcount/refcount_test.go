package refcount_test

import (
	"testing"

	"github.com/brokermap/brokermap/internal/refcount"
)

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); got != "refcount: released more often than retained" {
			t.Errorf("%s: panic is %v", what, got)
		}
	}()
	f()
}

func TestZeroCountIsOpen(t *testing.T) {
	var c refcount.Count
	if c.Closed() || c.Refs() != 0 {
		t.Fatal("not open and unused")
	}
	if !c.TryRetain() || c.Refs() != 1 {
		t.Fatal("cannot retain")
	}
	if c.Release() {
		t.Fatal("spoke of a last release while nobody drains")
	}
}

func TestDrainClosesAtOnceWithoutReferences(t *testing.T) {
	var c refcount.Count
	for range 3 {
		if !c.Drain() || !c.Closed() {
			t.Fatal("not closed")
		}
	}
	if c.TryRetain() {
		t.Fatal("retained what is closed")
	}
}

func TestLastReleaseSpeaksUpWhileDraining(t *testing.T) {
	var c refcount.Count
	c.TryRetain()
	c.TryRetain()
	for range 2 {
		if c.Drain() {
			t.Fatal("closed under two references")
		}
	}
	if c.Release() {
		t.Fatal("the first of two releases is not the last")
	}
	if !c.TryRetain() {
		t.Fatal("draining is not closed")
	}
	if c.Release() || !c.Release() {
		t.Fatal("the last release must say so, and no other")
	}
	if c.Closed() {
		t.Fatal("only the owner closes")
	}
	if !c.TryRetain() || c.Drain() {
		t.Fatal("retained before the owner came back: still open")
	}
	if !c.Release() || !c.Drain() {
		t.Fatal("the next last release must say so too")
	}
}

func TestResume(t *testing.T) {
	var c refcount.Count
	c.Resume()
	c.TryRetain()
	c.Drain()
	c.Resume()
	c.Resume()
	if c.Release() {
		t.Fatal("spoke of a last release after Resume")
	}
	if !c.Drain() {
		t.Fatal("not closed")
	}
	c.Resume()
	if !c.Closed() || c.TryRetain() {
		t.Fatal("Resume reopened a closed count")
	}
}

func TestReleaseWithoutRetainPanics(t *testing.T) {
	mustPanic(t, "open", func() { new(refcount.Count).Release() })
	var c refcount.Count
	c.TryRetain()
	c.Drain()
	c.Release()
	mustPanic(t, "draining", func() { c.Release() })

	var d refcount.Count
	d.Drain()
	mustPanic(t, "closed", func() { d.Release() })
	for range 100 {
		d.TryRetain() // garbage behind the closed bit hides nothing
	}
	for range 150 {
		mustPanic(t, "closed, with late retains", func() { d.Release() })
	}
	if !d.Closed() || d.TryRetain() || d.Refs() != 0 {
		t.Fatal("misuse reopened a closed count")
	}
}

func TestNoAllocations(t *testing.T) {
	var c refcount.Count
	if n := testing.AllocsPerRun(1000, func() {
		c.TryRetain()
		c.Drain()
		c.Release()
		c.Resume()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
