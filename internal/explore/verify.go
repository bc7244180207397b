//go:build explore

package explore

import "testing"

// Verify explores a program in a test: it fails the test with the schedule of a
// run that broke a rule, or if the search is incomplete, and logs the figures.
func Verify(t testing.TB, o Options, setup func(*Program)) Result {
	t.Helper()
	r := Explore(o, setup)
	if r.Failure != nil {
		t.Fatalf("%v\n(%v)", r.Failure, r)
	}
	if !r.Complete {
		t.Fatalf("not done: %v", r)
	}
	t.Log(r)
	return r
}
