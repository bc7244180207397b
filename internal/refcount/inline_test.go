//go:build !explore && !race

package refcount_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The compiler inlines the atomics of package atomicx under conditions that are
// easily lost; see there.
func TestAtomicsAreInlined(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a binary")
	}
	// Not this binary: the one that go test runs has no symbols.
	binary := filepath.Join(t.TempDir(), "refcount.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "tool", "objdump", "-s", `refcount\.\(\*Count\)\.`, binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "TryRetain") {
		t.Fatal("no TryRetain in the disassembly")
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "CALL go.uber.org/atomic.") || strings.Contains(line, "CALL sync/atomic.") {
			t.Errorf("not inlined: %s", line)
		}
	}
}
