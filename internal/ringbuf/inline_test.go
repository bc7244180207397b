//go:build !explore && !race

package ringbuf_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The compiler inlines atomics into instances of Ring in other packages, such as
// this test's, only under conditions that are easily lost; see ends.
func TestAtomicsAreInlined(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a binary")
	}
	// Not this binary: the one that go test runs has no symbols.
	binary := filepath.Join(t.TempDir(), "ringbuf.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "tool", "objdump", "-s", `ringbuf\.\(\*Ring\[.*\)\.(Push|Drain)$`, binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "Push") {
		t.Fatal("no instance of Push in the disassembly")
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "CALL go.uber.org/atomic.") || strings.Contains(line, "CALL sync/atomic.") {
			t.Errorf("not inlined: %s", line)
		}
	}
}
