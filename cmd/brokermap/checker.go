package main

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/consumer"
)

// checker compares what was received with what was produced, record by record,
// and hands the times of both on to the timeline.
//
// The sequence number in a record is what counts. The producer is idempotent and
// has one batch per partition in flight, so a batch that is sent again after an
// ambiguous failure is in the log once, and a partition's log holds 0, 1, 2, ...
// in this order: what is seen twice was delivered twice, and what comes late was
// delivered late. Should a broker's deduplication fail, the record has a second,
// higher offset: it is counted as duplicated too, and told apart as relogged.
type checker struct {
	timeline *timeline
	progress chan struct{} // holds one when something was received since it was taken

	partitions []*ledger
}

// ledger is one partition's.
type ledger struct {
	mu sync.Mutex
	// attempted and acknowledged count records, from sequence number 0; the
	// latter never exceeds the former.
	attempted, acknowledged int64
	// received counts the records that came, each once. next is the lowest
	// sequence number above all of them, missing those below that did not come.
	received, next int64
	missing        map[int64]struct{}
	offset         int64 // the highest seen

	duplicated, relogged, outOfOrder, foreign int64
}

// tally is the sum of the ledgers.
type tally struct {
	produced, received, lost, duplicated, outOfOrder int64

	relogged int64 // of duplicated
	// unsettled is how many records were sent, and neither acknowledged nor
	// refused: those that are in the log count as received only.
	unsettled int64
	// foreign is how many records came that the demo did not write.
	foreign int64
}

func newChecker(t *timeline, partitions int) *checker {
	c := &checker{timeline: t, progress: make(chan struct{}, 1)}
	for range partitions {
		c.partitions = append(c.partitions, &ledger{missing: make(map[int64]struct{}), offset: -1})
	}
	return c
}

// attempted says that the records up to sequence number upTo, exclusive, may be
// in the log from now on.
func (c *checker) attempted(partition int32, upTo int64) {
	l := c.partitions[partition]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempted = max(l.attempted, upTo)
}

// acknowledged says that the records up to sequence number upTo, exclusive, are
// in the log.
func (c *checker) acknowledged(partition int32, upTo int64, at time.Time) {
	l := c.partitions[partition]
	l.mu.Lock()
	l.acknowledged = max(l.acknowledged, upTo)
	l.mu.Unlock()
	c.timeline.wrote(partition, at)
}

// received takes in the records that the consumer was given.
func (c *checker) received(b *consumer.Batch) {
	at := time.Now()
	l := c.partitions[b.Partition]
	l.mu.Lock()
	for i := range b.Records {
		l.receive(b.Partition, &b.Records[i])
	}
	l.mu.Unlock()
	c.timeline.received(b.Partition, at)
	select {
	case c.progress <- struct{}{}:
	default:
	}
}

func (l *ledger) receive(partition int32, r *consumer.Record) {
	sequence, err := parseRecord(partition, r.Key, r.Value)
	if err != nil || sequence >= l.attempted {
		l.foreign++
		return
	}
	relogged := r.Offset > l.offset
	l.offset = max(l.offset, r.Offset)
	_, late := l.missing[sequence]
	switch {
	case sequence >= l.next:
		for s := l.next; s < sequence; s++ {
			l.missing[s] = struct{}{}
		}
		l.next = sequence + 1
		l.received++
	case late:
		delete(l.missing, sequence)
		l.received++
		l.outOfOrder++
	default:
		l.duplicated++
		if relogged {
			l.relogged++
		}
	}
}

// lost counts the acknowledged records that have not come.
func (l *ledger) lost() int64 {
	n := max(0, l.acknowledged-l.next)
	for s := range l.missing {
		if s < l.acknowledged {
			n++
		}
	}
	return n
}

// tally sums up. Until the producer has stopped, records are lost that are only
// under way.
func (c *checker) tally() tally {
	var t tally
	for _, l := range c.partitions {
		l.mu.Lock()
		t.produced += l.acknowledged
		t.received += l.received
		t.lost += l.lost()
		t.duplicated += l.duplicated
		t.relogged += l.relogged
		t.outOfOrder += l.outOfOrder
		t.unsettled += l.attempted - l.acknowledged
		t.foreign += l.foreign
		l.mu.Unlock()
	}
	return t
}

// waiting returns the partitions of which acknowledged records have not come.
func (c *checker) waiting() []int32 {
	var partitions []int32
	for p, l := range c.partitions {
		l.mu.Lock()
		if l.lost() > 0 {
			partitions = append(partitions, int32(p))
		}
		l.mu.Unlock()
	}
	return partitions
}

const (
	recordSize    = 100 // of a value, padding included
	keysPerStream = 8
)

// record makes the record with a sequence number: its key is p<partition>-k<n>,
// its value the sequence number, a blank and padding.
func record(partition int32, sequence int64) *sarama.Record {
	value := make([]byte, 0, recordSize)
	value = strconv.AppendInt(value, sequence, 10)
	value = append(value, ' ')
	for len(value) < recordSize {
		value = append(value, '.')
	}
	return &sarama.Record{
		Key:   fmt.Appendf(nil, "p%d-k%d", partition, sequence%keysPerStream),
		Value: value,
	}
}

// parseRecord returns the sequence number of a record that record made.
func parseRecord(partition int32, key, value []byte) (int64, error) {
	number, padding, ok := bytes.Cut(value, []byte(" "))
	if !ok || len(value) != recordSize || len(bytes.Trim(padding, ".")) != 0 {
		return 0, fmt.Errorf("value %q is not the demo's", value)
	}
	sequence, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil || sequence < 0 {
		return 0, fmt.Errorf("value %q does not begin with a sequence number", value)
	}
	if want := record(partition, sequence).Key; !bytes.Equal(key, want) {
		return 0, fmt.Errorf("key %q of record %d of partition %d is not %q", key, sequence, partition, want)
	}
	return sequence, nil
}
