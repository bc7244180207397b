//go:build explore

package ringbuf_test

import (
	"testing"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// Defects that the searches of TestExploreRing must find.
func TestMutants(t *testing.T) {
	mutants.Run(t, mutants.Suite{Tags: "explore", Run: "TestExploreRing"}, []mutants.Mutant{
		{
			Name: "publishes before it writes",
			File: "ring.go",
			Old:  "c.val.Set(v)\n\t\t\tc.seq.Store(pos)",
			New:  "c.seq.Store(pos)\n\t\t\tc.val.Set(v)",
		},
		{
			Name: "wakes before it publishes",
			File: "ring.go",
			Old:  "c.seq.Store(pos) // publishes v; before the look at parked\n\t\t\tr.Wake()",
			New:  "r.Wake()\n\t\t\tc.seq.Store(pos)",
		},
		{
			Name: "does not wake",
			File: "ring.go",
			Old:  "\t\t\tr.Wake()\n",
			New:  "",
		},
		{
			Name: "takes a lost claim for a full ring",
			File: "ring.go",
			Old:  "\t\t\treturn true\n\t\t}\n",
			New:  "\t\t\treturn true\n\t\t}\n\t\treturn false\n",
		},
		{
			Name: "takes a tail that is out of date for a full ring",
			File: "ring.go",
			Old:  "ahead > int64(r.mask)",
			New:  "uint64(ahead) > r.mask",
		},
		{
			Name: "overtakes the consumer by one",
			File: "ring.go",
			Old:  "ahead > int64(r.mask)",
			New:  "ahead > int64(r.mask)+1",
		},
		{
			Name: "full one too early",
			File: "ring.go",
			Old:  "ahead > int64(r.mask)",
			New:  "ahead >= int64(r.mask)",
		},
		{
			Name: "cells of the first lap look published",
			File: "ring.go",
			Old:  "seq.Store(start + i - size)",
			New:  "seq.Store(start + i)",
		},
		{
			Name: "claims without compare-and-swap",
			File: "ends.go",
			Old:  "return e.tail.CompareAndSwap(pos, pos+1)",
			New:  "e.tail.Store(pos + 1)\n\treturn true",
		},
		{
			Name: "claims by addition, and again if it was another position",
			File: "ends.go",
			Old:  "return e.tail.CompareAndSwap(pos, pos+1)",
			New:  "return e.tail.Add(1) == pos+1",
		},
		{
			Name: "the producer that clears the flag wakes, and no other",
			File: "ends.go",
			Old:  "if e.parked.Load() != 0 {\n\t\te.signal",
			New:  "if e.parked.CompareAndSwap(1, 0) {\n\t\te.signal",
		},
		{
			Name: "does not arm",
			File: "ends.go",
			Old:  "func (e *ends) Arm() { e.parked.Store(1) }",
			New:  "func (e *ends) Arm() {}",
		},
		{
			Name: "disarms before it waits",
			File: "ends.go",
			Old:  "woken := e.signal.Wait(timer)\n\te.parked.Store(0)",
			New:  "e.parked.Store(0)\n\twoken := e.signal.Wait(timer)",
		},
		{
			Name: "parks without another look",
			File: "explore_test.go",
			Old:  "if look() {\n\t\t\t\tr.Disarm()\n\t\t\t\tcontinue\n\t\t\t}\n",
			New:  "",
		},
		{
			Name: "looks before it arms",
			File: "explore_test.go",
			Old:  "r.Arm()\n\t\t\tif look() {\n\t\t\t\tr.Disarm()\n\t\t\t\tcontinue\n\t\t\t}\n",
			New:  "if look() {\n\t\t\t\tcontinue\n\t\t\t}\n\t\t\tr.Arm()\n",
		},
		{
			Name: "frees a cell before it takes the item",
			File: "consumer.go",
			Old:  "\t\tbuf[n] = c.take()\n\t\tn++\n\t\tpos++\n",
			New:  "\t\tr.open(pos + 1)\n\t\tbuf[n] = c.take()\n\t\tn++\n\t\tpos++\n",
		},
		{
			Name: "frees a cell too many",
			File: "consumer.go",
			Old:  "r.head, r.next = pos, pos\n",
			New:  "r.head, r.next = pos, pos\n\tr.open(pos + 1)\n",
		},
		{
			Name: "frees the cells behind a hole",
			File: "consumer.go",
			Old:  "r.open(r.head)",
			New:  "r.open(r.next)",
		},
		{
			Name: "frees nothing before it idles",
			File: "consumer.go",
			Old:  "if n == 0 && r.head != r.freed || ",
			New:  "if ",
			Run:  "TestPush", // a ring of two cells frees each at once
		},
		{
			Name: "waits behind a hole",
			File: "consumer.go",
			Old:  "\t\t\tr.holes[i/64] |= 1 << (i % 64)\n",
			New:  "\t\t\tbreak\n",
		},
		{
			Name: "looks for no holes where it finds nothing",
			File: "consumer.go",
			Old:  "if n == 0 {\n\t\treturn r.drainPastHoles(buf)",
			New:  "if n == 0 {\n\t\treturn 0",
		},
		{
			Name: "forgets a hole",
			File: "consumer.go",
			Old:  "r.holes[i/64] |= 1 << (i % 64)",
			New:  "_ = i",
		},
		{
			Name: "takes from a hole twice",
			File: "consumer.go",
			Old:  "\t\t\tr.holes[i/64] &^= 1 << (i % 64)\n",
			New:  "",
		},
	})
}
