package shardmap

// Preset gives the shard of hash h a first table of n cells (a power of two,
// at least 2), which is small enough for a few calls to make it grow.
func (m *Map[K, V]) Preset(h uint64, n int) {
	m.shards[h>>shardShift].Store(newTable(n))
}
