//go:build explore

package shardmap

import (
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

func TestMutants(t *testing.T) {
	const settled = "\t\t// Somebody may have settled the home since hashExact looked, and on this\n" +
		"\t\t// type: then there is no other hash for k than the exact one.\n" +
		"\t\tif h = m.hashExact(k); h != 0 {\n\t\t\treturn h, true\n\t\t}\n"
	mutants.Run(t, mutants.Suite{Tags: "explore", Run: "TestExplore|TestModel|TestHash|TestGarbage", Timeout: 5 * time.Minute}, []mutants.Mutant{{
		Name: "moves a live entry without freezing it",
		File: "table.go",
		Old:  "c.e.CompareAndSwap(p, frozenOf(p))",
		New:  "m.put(t.next.Load(), h, p); c.e.CompareAndSwap(p, stateMoved)",
	}, {
		Name: "moves a cell before its entry is in the next table",
		File: "table.go",
		Old:  "m.put(t.next.Load(), h, p)\n\t\t\tc.e.CompareAndSwap(p, stateMoved)",
		New:  "c.e.CompareAndSwap(p, stateMoved)\n\t\t\tm.put(t.next.Load(), h, p)",
	}, {
		Name: "puts an entry again over its dead cell",
		File: "table.go",
		Old:  "if q == nil {\n\t\t\tif c.e.CompareAndSwap(nil, live(e)) {",
		New:  "if q == nil || q == stateDead {\n\t\t\tif c.e.CompareAndSwap(q, live(e)) {",
	}, {
		Name: "leaves a cell that was claimed while it was closed",
		File: "table.go",
		Old:  "if c.h.CompareAndSwap(cellEmpty, cellClosed) {\n\t\t\treturn\n\t\t}\n\t\th = c.h.Load()",
		New:  "c.h.CompareAndSwap(cellEmpty, cellClosed)\n\t\treturn",
	}, {
		Name: "leaves an unfilled cell open",
		File: "table.go",
		Old:  "case tag == tagMoved:\n\t\t\treturn\n\t\tcase p == nil || tag == tagDead:",
		New:  "case tag == tagMoved || p == nil:\n\t\t\treturn\n\t\tcase tag == tagDead:",
	}, {
		Name: "drops a frozen entry",
		File: "table.go",
		Old:  "\t\t\tm.put(t.next.Load(), h, p)\n",
		New:  "",
	}, {
		Name: "fills a table to the last cell",
		File: "table.go",
		Old:  "t.limit = uint32(n - (n+3)/4)",
		New:  "t.limit = uint32(n)",
	}, {
		Name: "replaces a table by one with no room",
		File: "table.go",
		Old:  "2*t.entries() >= n",
		New:  "t.entries() > n",
	}, {
		Name: "makes the next table current before all is moved",
		File: "map.go",
		Old:  "\t\t\tm.move(t, h)\n",
		New:  "",
	}, {
		Name: "takes a lost claim for its own",
		File: "map.go",
		Old:  "if !c.h.CompareAndSwap(cellEmpty, h) {\n\t\t\t\tcontinue\n\t\t\t}\n",
		New:  "c.h.CompareAndSwap(cellEmpty, h)\n",
	}, {
		Name: "stores without looking whether it did",
		File: "map.go",
		Old:  "if c.e.CompareAndSwap(p, live(e)) {\n\t\t\t\tif p != nil {",
		New:  "if c.e.CompareAndSwap(p, live(e)); true {\n\t\t\t\tif p != nil {",
	}, {
		Name: "puts a key into another's dead cell",
		File: "map.go",
		Old:  "case p != nil && h&exact == 0 &&",
		New:  "case p != nil && h&exact == 0 && tag != tagDead &&",
	}, {
		Name: "does not count a cell that lives again",
		File: "map.go",
		Old:  "\t\t\t\t\tt.dead.Dec()\n",
		New:  "",
	}, {
		Name: "does not give back what it reserved",
		File: "map.go",
		Old:  "\t\tt.used.Dec()\n",
		New:  "",
	}, {
		Name: "looks for a frozen entry in the next table without moving it there",
		File: "map.go",
		Old:  "\t\t\t\tm.moveCell(t, c)\n",
		New:  "",
	}, {
		Name: "takes a moved entry for removed",
		File: "map.go",
		Old:  "moved = true // perhaps e's cell\n",
		New:  "",
	}, {
		Name: "removes without looking whether it did",
		File: "map.go",
		Old:  "if c.e.CompareAndSwap(p, deadOf(p, h)) {\n",
		New:  "if c.e.CompareAndSwap(p, deadOf(p, h)); true {\n",
	}, {
		Name: "does not find frozen entries",
		File: "map.go",
		Old:  "case tagLive, tagFrozen:\n\t\t\treturn entryOf[K, V](p)\n\t\tcase tagDead:",
		New:  "case tagLive:\n\t\t\treturn entryOf[K, V](p)\n\t\tcase tagDead, tagFrozen:",
	}, {
		Name: "does not look for a moved entry in the next table",
		File: "map.go",
		Old:  "case tagDead:\n\t\t\treturn nil\n\t\t}",
		New:  "case tagDead, tagMoved:\n\t\t\treturn nil\n\t\t}",
	}, {
		Name: "forgets that a cell before was moved",
		File: "map.go",
		Old:  "moved = true // perhaps k's cell: if no other is, k is in the next table\n",
		New:  "",
	}, {
		Name: "visits no frozen entries",
		File: "map.go",
		Old:  "case tagLive, tagFrozen:\n\t\t\t\tif p != nil",
		New:  "case tagLive:\n\t\t\t\tif p != nil",
	}, {
		Name: "visits one table",
		File: "map.go",
		Old:  "if !moved {\n\t\t\tbreak\n\t\t}\n\t\tt = t.next.Load()",
		New:  "_ = moved\n\t\tbreak",
	}, {
		Name: "does not look again whether the home is settled",
		File: "hash.go",
		Old:  settled,
		New:  "",
	}, {
		Name: "takes a home that was settled meanwhile for another's",
		File: "hash.go",
		Old:  "uint64(w.typ))\n\t\t}\n" + settled,
		New:  "uint64(w.typ))\n\t\t\treturn m.Hash(k)\n\t\t}\n",
	}, {
		Name: "gives nil pointers the hash that closes cells",
		File: "hash.go",
		Old:  "int64(x) > 0",
		New:  "int64(x) >= 0",
	}})
}
