//go:build trace

package mapper_test

import (
	"os"
	"testing"
	"testing/synctest"

	"github.com/brokermap/brokermap/mapper"
)

// TestTraced lets small worlds of chaos write traces: in virtual time, and where
// goroutines race. tla/trace_test.go runs it and has the traces validated.
func TestTraced(t *testing.T) {
	if os.Getenv("BROKERMAP_TRACE") == "" {
		t.Skip("BROKERMAP_TRACE is the directory for the traces")
	}
	plainly := func(x *world) mapper.Resolver { return plain{x} }
	n := 100
	if testing.Short() {
		n = 10
	}
	virtual := func(ring int, kind func(*world) mapper.Resolver) {
		t.Run("virtual", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runChaos(t, true, ring, kind, 3, 2, 12) })
		})
	}
	for range n {
		virtual(1, batched)
		virtual(0, plainly)
	}
	for range n / 25 { // these wait in a hurry, and write it
		t.Run("real", func(t *testing.T) {
			runChaos(t, false, 1, batched, 3, 2, 12)
			runChaos(t, false, 0, plainly, 3, 2, 12)
		})
	}
}
