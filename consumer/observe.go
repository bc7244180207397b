package consumer

import (
	"sync/atomic"

	"github.com/brokermap/brokermap/mapper"
)

// Observer is what a [Reader], and the sarama.Consumer that [New] returns, tell of
// themselves. Its methods may be called concurrently.
type Observer interface {
	// Stats returns counters, which only grow but for those that say otherwise.
	Stats() Stats
	// Assignments returns who fetches each partition, in no order. Partitions that
	// have nobody yet are left out.
	Assignments() []Assignment
}

var (
	_ Observer = (*consumer)(nil)
	_ Observer = (*Reader)(nil)
)

// Stats counts what a consumer has done.
type Stats struct {
	// Mapper is what its mapper counts: partitions are workers, fetchers executors.
	Mapper mapper.Stats
	// MetadataRequests is how many were sent, those included that nobody answered.
	MetadataRequests int64
	// Fetched is how many records came, by the id of the broker.
	Fetched map[int32]int64
}

// Assignment says who fetches a partition.
type Assignment struct {
	Topic     string
	Partition int32
	Broker    int32 // its id
	Fetcher   int64 // one for each connection, numbered in the process from 1
}

// Stats implements [Observer].
func (c *consumer) Stats() Stats { return c.core.stats() }

// Assignments implements [Observer].
func (c *consumer) Assignments() []Assignment { return c.core.assignments() }

// Stats implements [Observer].
func (r *Reader) Stats() Stats { return r.core.stats() }

// Assignments implements [Observer].
func (r *Reader) Assignments() []Assignment { return r.core.assignments() }

func (c *core) stats() Stats {
	s := Stats{Mapper: c.mapper.Stats(), MetadataRequests: c.cluster.Requests(), Fetched: make(map[int32]int64)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.fetched {
		s.Fetched[id] = n.Load()
	}
	return s
}

func (c *core) assignments() []Assignment {
	var all []Assignment
	for _, a := range c.mapper.Snapshot() {
		p, isPartition := a.Worker.(*partition)
		f, isFetcher := a.Executor.(*fetcher)
		if isPartition && isFetcher {
			all = append(all, Assignment{Topic: p.topic, Partition: p.id, Broker: f.broker, Fetcher: f.serial})
		}
	}
	return all
}

// counter returns the count of records fetched from a broker.
func (c *core) counter(broker int32) *atomic.Int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.fetched[broker]
	if n == nil {
		n = new(atomic.Int64)
		c.fetched[broker] = n
	}
	return n
}
