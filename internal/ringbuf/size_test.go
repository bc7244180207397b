//go:build !explore

package ringbuf_test

import (
	"runtime"
	"testing"

	"github.com/brokermap/brokermap/internal/ringbuf"
)

// Where an item is a word, a cell takes 16 bytes, and a bit that says whether it is a hole.
func TestNewTakesNoMoreMemoryThanItsCells(t *testing.T) {
	const capacity = 1 << 14
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := ringbuf.New[*int](capacity)
	runtime.ReadMemStats(&after)
	const most = 20 * capacity // what else the process allocates included
	if got := after.TotalAlloc - before.TotalAlloc; got > most {
		t.Errorf("a ring for %d takes %d bytes, want %d at most", r.Cap(), got, most)
	}
}
