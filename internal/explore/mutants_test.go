//go:build explore

package explore_test

import (
	"testing"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// Defects of the engine that make it leave out interleavings.
func TestMutants(t *testing.T) {
	mutants.Run(t, mutants.Suite{Tags: "explore", Run: "TestReduction|TestStops|TestFinds"}, []mutants.Mutant{
		{
			Name: "sleeps through conflicts",
			File: "run.go",
			Old:  "!p.pending[q].conflicts(r.trace[depth-1].access)",
			New:  "true",
		},
		{
			Name: "wakes through what commutes",
			File: "run.go",
			Old:  "!p.pending[q].conflicts(r.trace[depth-1].access)",
			New:  "p.pending[q].conflicts(r.trace[depth-1].access)",
		},
		{
			Name: "a read and a write commute",
			File: "run.go",
			Old:  "(a.kind == Write || b.kind == Write)",
			New:  "(a.kind == Write && b.kind == Write)",
		},
		{
			Name: "waiting operations race with the last conflict only",
			File: "reduce.go",
			Old:  "if waits || r.immediate(i, n) {",
			New:  "if r.immediate(i, n) {",
		},
		{
			Name: "forgets those stuck at the end",
			File: "run.go",
			Old:  "if x.reduce {\n\t\t\tr.pendingRaces()\n\t\t}",
			New:  "",
		},
		{
			Name: "forgets those stuck where a run is broken off",
			File: "run.go",
			Old:  "\t\t\tr.pendingRaces()\n\t\t\tr.pruned = true\n",
			New:  "\t\t\tr.pruned = true\n",
		},
		{
			Name: "backtracks to the first thread that can go on",
			File: "reduce.go",
			Old:  "n.backtrack |= initials & -initials",
			New:  "n.backtrack |= n.enabled & -n.enabled",
		},
		{
			Name: "looks for races in the replayed part only",
			File: "run.go",
			Old:  "if len(r.trace) >= r.x.replay {",
			New:  "if len(r.trace) <= r.x.replay {",
		},
		{
			Name: "a failed compare-and-swap commutes with writes",
			File: "object.go",
			Old:  "current.cur.op.kind = Read\n\to.Loaded(0)",
			New:  "current.cur.op.kind = local\n\to.Loaded(0)",
		},
		{
			Name: "a load synchronizes with nothing",
			File: "object.go",
			Old:  "current.cur.sync.join(&o.released)\n\to.value = v",
			New:  "o.value = v",
		},
		{
			Name: "releases what comes after a store",
			File: "object.go",
			Old:  "\tt.sync[t.id]++ // what comes later is not released\n",
			New:  "",
		},
		{
			Name: "stops only before the first step",
			File: "explore.go",
			Old:  "x.result.Complete = !x.limited\n",
			New:  "x.result.Complete = true\n\t\tbreak\n",
		},
	})
}
