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
	for i := range 100 {
		synctest.Test(t, func(t *testing.T) { runChaos(t, true, 1, batched, 3, 2, 12) })
		synctest.Test(t, func(t *testing.T) { runChaos(t, true, 0, plainly, 3, 2, 12) })
		if i%33 == 0 { // these write much, for they wait in a hurry
			runChaos(t, false, 1, batched, 3, 2, 12)
			runChaos(t, false, 0, plainly, 3, 2, 12)
		}
	}
}
