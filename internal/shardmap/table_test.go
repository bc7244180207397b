//go:build !explore

package shardmap

import (
	"testing"
	"unsafe"
)

var escapes *table

func TestSmallTablesAreOneObject(t *testing.T) {
	for n := minCells; n <= 64; n *= 2 {
		want := 2.0
		if n <= 16 {
			want = 1
		}
		if got := testing.AllocsPerRun(100, func() { escapes = newTable(n) }); got != want {
			t.Errorf("a table of %d cells takes %v allocations, want %v", n, got, want)
		}
		if len(escapes.cells) != n || escapes.mask != uint64(n-1) || escapes.limit >= uint32(n) || escapes.home(1<<63-1) >= uint64(n) {
			t.Errorf("a table of %d cells: %+v", n, escapes)
		}
	}
}

// What 64-bit atomics need on 32-bit machines, and looks want on the others.
func TestCellsAreAligned(t *testing.T) {
	for n := minCells; n <= 16; n *= 2 {
		c := newTable(n).cells
		for i := range c {
			at := uintptr(unsafe.Pointer(&c[i])) % 64
			if at%8 != 0 {
				t.Errorf("cell %d of %d begins at byte %d of a cache line: no multiple of 8", i, n, at)
			}
			if unsafe.Sizeof(uintptr(0)) == 8 && at+unsafe.Sizeof(c[i]) > 64 {
				t.Errorf("cell %d of %d begins at byte %d of a cache line of 64", i, n, at)
			}
		}
	}
}
