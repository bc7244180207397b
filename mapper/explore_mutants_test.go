//go:build explore

package mapper

import (
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// TestExploreMutants seeds defects of the hand-off that only some interleavings
// show. The explored programs must find each.
func TestExploreMutants(t *testing.T) {
	mutants.Run(t, mutants.Suite{Tags: "explore", Run: "^TestExplore_", Timeout: 20 * time.Minute, Bounded: true}, []mutants.Mutant{{
		Name: "a life begins in the epoch of the last",
		File: "slot.go",
		Old:  "epoch: l.epoch + 1}",
		New:  "epoch: l.epoch}",
	}, {
		Name: "the second of two that revive relies on the first",
		File: "slot.go",
		Old:  "if l.epoch == epochOf(w)+1 {",
		New:  "if l.epoch == epochOf(w)+1 && mine != nil {",
	}, {
		Name: "a trigger counts as told before it was",
		File: "slot.go",
		Old:  "s.word.CompareAndSwap(w, w|triggerSet) {\n\t\t\treturn w | triggerSet, true, true",
		New:  "s.word.CompareAndSwap(w, w|triggerTold) {\n\t\t\treturn w | triggerTold, true, true",
	}, {
		Name: "a trigger that somebody else set needs no hint",
		File: "slot.go",
		Old:  "case triggerSet:\n\t\t\treturn w, true, true",
		New:  "case triggerSet:\n\t\t\treturn w, false, true",
	}, {
		Name: "an answer does not turn the word",
		File: "slot.go",
		Old:  "w&^(triggerMask|turnMask)|(w+turnOne)&turnMask",
		New:  "w&^triggerMask",
	}, {
		Name: "an entry is retired without looking",
		File: "slot.go",
		Old:  "return w&(aliveBit|retiredBit) == 0 && s.word.CompareAndSwap(w, w|retiredBit)",
		New:  "if w&(aliveBit|retiredBit) != 0 {\n\t\treturn false\n\t}\n\ts.word.Store(w | retiredBit)\n\treturn true",
	}, {
		Name: "a lease is not looked at again",
		File: "executor.go",
		Old:  "if !sameLife(before, e.Value.word.Load()) {",
		New:  "if !sameLife(before, before) {",
	}, {
		Name: "a stop tells nobody",
		File: "notify.go",
		Old:  "\tm.tell(e, last)\n\tm.leave()\n",
		New:  "\tm.leave()\n",
	}, {
		Name: "a full ring is not noted",
		File: "notify.go",
		Old:  "\traise(&m.overflow)\n\tm.ring.Wake()\n",
		New:  "\tm.ring.Wake()\n",
	}, {
		Name: "a full ring wakes nobody",
		File: "notify.go",
		Old:  "\traise(&m.overflow)\n\tm.ring.Wake()\n",
		New:  "\traise(&m.overflow)\n",
	}, {
		Name: "a full ring hides the worker that nobody may know",
		File: "notify.go",
		Run:  "^TestExplore_S7_StoppedSpawner$",
		Old:  "\t\traise(&m.unknown)\n",
		New:  "",
	}, {
		Name: "a full ring is noted before the worker that nobody may know",
		File: "notify.go",
		Old:  "\tif w&sentBit == 0 {\n\t\traise(&m.unknown)\n\t}\n\traise(&m.overflow)\n",
		New:  "\traise(&m.overflow)\n\tif w&sentBit == 0 {\n\t\traise(&m.unknown)\n\t}\n",
	}, {
		Name: "a flag is lowered after the look",
		File: "loop.go",
		Old:  "if !lower(&l.m.flagged) {\n\t\treturn\n\t}",
		New:  "if l.m.flagged.Load() == 0 {\n\t\treturn\n\t}\n\tdefer l.m.flagged.Store(0)",
	}, {
		Name: "sleeps with a full ring to look at",
		File: "loop.go",
		Old:  " || m.overflow.Load() != 0",
		New:  "",
	}, {
		Name: "sleeps with a flag to look at",
		File: "loop.go",
		Old:  " || m.flagged.Load() != 0",
		New:  "",
	}, {
		Name: "sleeps with a new worker to look at",
		File: "loop.go",
		Old:  " || !m.fresh.empty()",
		New:  "",
	}, {
		Name: "sleeps when the last has left",
		File: "loop.go",
		Old:  " || m.gate.empty() != wasEmpty",
		New:  "",
	}, {
		Name: "the last to leave wakes nobody",
		File: "notify.go",
		Old:  "if m.gate.leave() {",
		New:  "if m.gate.leave() && m.ring == nil {",
	}, {
		Name: "a release says so before it has raised its flag",
		File: "executor.go",
		Old:  "\t\traise(&l.x.Value.unpinned)\n\t\tl.m.flag()\n",
		New:  "\t\tl.m.flag()\n\t\traise(&l.x.Value.unpinned)\n",
	}, {
		Name: "a Slot leads to a retired entry",
		File: "embed.go",
		Old:  "e != nil && e.Value.word.Load()&retiredBit == 0",
		New:  "e != nil",
	}, {
		Name: "a repeated spawn relies on the first",
		File: "notify.go",
		Old:  "\tif w&sentBit == 0 {\n\t\tm.tell(e, w)\n\t}",
		New:  "",
	}, {
		Name: "a repeated stop relies on the first",
		File: "notify.go",
		Old:  "if last&retiredBit == 0 {",
		New:  "if last&retiredBit == 1 {",
	}, {
		Name: "a repeated Stop relies on the first",
		File: "mapper.go",
		Old:  "\tm.trace.didIf(m.gate.close(), \"StopRequested\", nil)\n\tm.ring.Wake()\n",
		New:  "\tif m.gate.close() {\n\t\tm.ring.Wake()\n\t}\n",
	}, {
		Name: "a look does not see that a life has ended and another begun",
		File: "loop.go",
		Old:  "(!alive || s.on.epoch != epochOf(w))",
		New:  "!alive",
	}})
}
