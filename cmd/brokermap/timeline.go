package main

import (
	"slices"
	"sync"
	"time"
)

// timeline keeps the faults of a run and measures what each of them cost.
//
// The stall of a fault is the longest time for which a partition's consumer was
// given no record: the time between two records that came one after the other,
// in the span from the fault to the next one. It is not corrected for anything.
// Beside it stands the same measure of the producer's acknowledgements: for that
// long the cluster took no record, and no consumer can do better. At low rates
// both are the distance of the records.
type timeline struct {
	start time.Time

	mu     sync.Mutex
	faults []fault

	// The longest gaps of the run, whatever they are put down to.
	longest, writerLongest time.Duration

	// When each partition's last record was received, and its last batch
	// acknowledged; zero before the first.
	lastReceived, lastWritten []time.Time
}

// fault is one disturbance of the cluster.
type fault struct {
	kind    string
	at      time.Duration // from the start
	detail  string        // for people
	brokers []int32       // those that it hit

	stall, writerStall time.Duration
}

func newTimeline(start time.Time, partitions int) *timeline {
	return &timeline{
		start:        start,
		lastReceived: make([]time.Time, partitions),
		lastWritten:  make([]time.Time, partitions),
	}
}

// elapsed returns the time since the start.
func (t *timeline) elapsed() time.Duration { return time.Since(t.start) }

// strike records a fault, which happens now.
func (t *timeline) strike(kind, detail string, brokers ...int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fault{kind: kind, at: t.elapsed(), detail: detail, brokers: brokers})
}

func (t *timeline) received(partition int32, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := t.lastReceived[partition]; !last.IsZero() {
		gap := now.Sub(last)
		t.longest = max(t.longest, gap)
		if f := t.cause(last, now); f != nil {
			f.stall = max(f.stall, gap)
		}
	}
	t.lastReceived[partition] = now
}

func (t *timeline) wrote(partition int32, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := t.lastWritten[partition]; !last.IsZero() {
		gap := now.Sub(last)
		t.writerLongest = max(t.writerLongest, gap)
		if f := t.cause(last, now); f != nil {
			f.writerStall = max(f.writerStall, gap)
		}
	}
	t.lastWritten[partition] = now
}

// end takes in the gaps that never ended: nothing came for these partitions,
// though there was something. The others have nothing more to wait for.
func (t *timeline) end(waiting []int32) {
	now := time.Now()
	for _, p := range waiting {
		t.received(p, now)
	}
}

// stalls returns the longest gaps of the run: the consumer's and the producer's.
func (t *timeline) stalls() (consumer, producer time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.longest, t.writerLongest
}

// cause returns the fault to which the gap from one record to the next is put
// down: the one in whose span most of it lies; nil where that is none. It must be
// called with mu held.
func (t *timeline) cause(from, to time.Time) *fault {
	var found *fault
	most := time.Duration(0)
	begin, end := from.Sub(t.start), to.Sub(t.start)
	spanEnd := end
	for i := len(t.faults) - 1; i >= 0; i-- {
		f := &t.faults[i]
		if part := min(end, spanEnd) - max(begin, f.at); part > most {
			found, most = f, part
		}
		if f.at <= begin {
			break
		}
		spanEnd = f.at
	}
	return found
}

// snapshot returns the faults so far, in the order of time.
func (t *timeline) snapshot() []fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.faults)
}
