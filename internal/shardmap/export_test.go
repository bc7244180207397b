package shardmap

import "fmt"

// Preset gives the shard of hash h a first table of n cells (a power of two,
// at least 2), which is small enough for a few calls to make it grow.
func (m *Map[K, V]) Preset(h uint64, n int) {
	m.shards[h>>shardShift].Store(newTable(n))
}

// Audit checks the tables in use: that probes end, and, if no call is or was
// left under way, the counts.
func (m *Map[K, V]) Audit(quiet bool) error {
	for i := range m.shards {
		for t := m.shards[i].Load(); t != nil; t = t.next.Load() {
			claimed, dead := uint32(0), uint32(0)
			for j := range t.cells {
				if t.cells[j].h.Load() > cellClosed {
					claimed++
				}
				if tagOf(t.cells[j].e.Load()) == tagDead {
					dead++
				}
			}
			used := t.used.Load()
			if claimed > t.limit || int(claimed) == len(t.cells) || used < claimed {
				return fmt.Errorf("%d cells of %d claimed, %d counted, %d allowed", claimed, len(t.cells), used, t.limit)
			}
			if quiet && t.next.Load() == nil && (used != claimed || t.dead.Load() != dead) {
				return fmt.Errorf("%d cells claimed, %d counted; %d dead, %d counted", claimed, used, dead, t.dead.Load())
			}
		}
	}
	return nil
}
