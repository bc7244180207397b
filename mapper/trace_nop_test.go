//go:build !trace && !race

package mapper

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"
)

// Traces cost nothing where they are not asked for: of the tracer's calls nothing
// is left in a binary, and of the tracer no byte in a mapper.
func TestTracerIsInlinedToNothing(t *testing.T) {
	if n := unsafe.Sizeof(tracer{}); n != 0 {
		t.Errorf("a tracer takes %d bytes", n)
	}
	if testing.Short() {
		t.Skip("builds a binary")
	}
	binary := filepath.Join(t.TempDir(), "mapper.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "tool", "objdump", "-s", `brokermap/mapper\.(\(\*T\)\.|\(\*loop\)\.|Lease\.|tracer\.)`, binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for _, f := range []string{"(*T).OnWorkerSpawned(SB)", "(*loop).compare(SB)"} {
		if !strings.Contains(text, f) {
			t.Errorf("no %s in the disassembly", f)
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "tracer") || strings.Contains(line, "trace_nop.go") {
			t.Errorf("not inlined: %s", line)
		}
	}
}

// BenchmarkTracer is what the calls of the tracer in one trigger, its look and its
// resolution cost, beside nothing at all.
func BenchmarkTracer(b *testing.B) {
	var m T
	w := Worker(nil)
	b.Run("calls", func(b *testing.B) {
		for range b.N { // b.Loop would keep the arguments
			m.trace.begin()
			m.trace.didIf(true, "TriggerReassign", w)
			m.trace.looked(nil)
			m.trace.asked(0)
			m.trace.ticked()
			m.trace.sent(0)
		}
	})
	b.Run("nothing", func(b *testing.B) {
		for range b.N {
		}
	})
}
