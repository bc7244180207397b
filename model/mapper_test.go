package model

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/brokermap/brokermap/internal/drive"
)

// TestRandomMapper runs a real mapper, its goroutines included, through random
// scripts in virtual time, beside a plain reference: calls that hang, late reads,
// full channels, one worker value that lives again and again, failures during a
// resolution and before an executor is there, leases, executors that are unfit,
// bursts that the mapper sees only when they are over, Stop and Shutdown at any
// time. What fails shrinks to a few steps, printed with what followed each.
func TestRandomMapper(t *testing.T) {
	step := rapid.Custom(func(t *rapid.T) drive.Step {
		kind := rapid.Byte().Draw(t, "kind")
		if kind == 0 {
			return drive.Step{} // nothing, so that it shrinks to that
		}
		return drive.Choose(kind, rapid.Byte().Draw(t, "on"), rapid.Byte().Draw(t, "how"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		s := drive.Script{
			Config: drive.Config{
				Workers:  rapid.IntRange(1, drive.MaxWorkers).Draw(rt, "workers"),
				Conns:    rapid.IntRange(1, drive.MaxConns).Draw(rt, "conns"),
				Calls:    rapid.IntRange(1, drive.MaxCalls).Draw(rt, "calls"),
				Batch:    rapid.Bool().Draw(rt, "batch"),
				RingSize: rapid.SampledFrom([]int{1, 16}).Draw(rt, "ring"),
			},
			Steps: rapid.SliceOfN(step, rapid.SampledFrom([]int{0, 10, 50, 150}).Draw(rt, "at least"), 200).Draw(rt, "steps"),
		}
		if log, err := drive.Run(t, s); err != nil {
			rt.Fatalf("%v, after:\n%s", err, log)
		}
	})
}
