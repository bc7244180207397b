package refcount_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/brokermap/brokermap/internal/refcount"
)

// The count against three plain variables, one operation at a time.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var count refcount.Count
		var want state
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if got := (state{count.Refs(), want.draining, count.Closed()}); got != want {
					t.Fatalf("%+v, want %+v", got, want)
				}
			},
			"retain": func(t *rapid.T) {
				if ok := count.TryRetain(); ok == want.closed {
					t.Fatalf("TryRetain = %v", ok)
				} else if ok {
					want.refs++
				}
			},
			"release": func(t *rapid.T) {
				if want.refs == 0 {
					defer func() {
						if recover() == nil {
							t.Fatal("released more often than retained")
						}
						count, want = refcount.Count{}, state{}
					}()
				}
				last := count.Release()
				if want.refs--; last != (want.refs == 0 && want.draining) {
					t.Fatalf("Release = %v", last)
				}
			},
			"drain": func(t *rapid.T) {
				closed := count.Drain()
				if closed != (want.closed || want.refs == 0) {
					t.Fatalf("Drain = %v", closed)
				}
				want.closed, want.draining = closed, true
			},
			"resume": func(*rapid.T) {
				count.Resume()
				want.draining = want.closed
			},
		})
	})
}
