package stall

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Gaps keeps the times between events, those that count. The zero value is ready
// to use; its methods may be called concurrently.
type Gaps struct {
	mu   sync.Mutex
	last time.Time
	kept []gap
}

type gap struct{ from, to time.Time }

// shortest is what is kept: below it lies the noise of any machine.
const shortest = 2 * time.Millisecond

// Mark says that there was an event.
func (g *Gaps) Mark(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.last.IsZero() && now.Sub(g.last) >= shortest {
		g.kept = append(g.kept, gap{g.last, now})
	}
	g.last = now
}

// Last returns when the last event was.
func (g *Gaps) Last() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last
}

// Forget forgets the gaps so far.
func (g *Gaps) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept = g.kept[:0]
}

// Longest returns the longest gap of which some part lies in [from, to]; one that
// has not ended ends at to.
func (g *Gaps) Longest(from, to time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := to.Sub(g.last)
	for _, k := range g.kept {
		if !k.to.Before(from) && !k.from.After(to) {
			longest = max(longest, k.to.Sub(k.from))
		}
	}
	return longest
}

// instants keeps when the records of a partition were acknowledged, or given, in
// the order of their sequence numbers. Its methods may be called concurrently.
type instants struct {
	mu   sync.Mutex
	kept []instant
}

// instant is when the records below a sequence number, from that of the one before
// on, were there.
type instant struct {
	below int64
	at    time.Time
}

func (i *instants) mark(below int64, at time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kept = append(i.kept, instant{below, at})
}

// forget forgets all but the last, from which the next gap begins.
func (i *instants) forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if n := len(i.kept); n > 0 {
		i.kept = append(i.kept[:0], i.kept[n-1])
	}
}

func (i *instants) all() []instant {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.kept)
}

// frontier returns the gaps between the times at which some record of a partition
// was first known to be in its log: to the writer, by an acknowledgement, or to any
// client, which was given it. An acknowledgement that was lost with its connection
// comes late, for a batch that others have long since.
func frontier(sources ...[]instant) *Gaps {
	all := slices.Concat(sources...)
	slices.SortStableFunc(all, func(a, b instant) int { return a.at.Compare(b.at) })
	var g Gaps
	known := int64(0)
	for _, i := range all {
		if i.below > known {
			known = i.below
			g.Mark(i.at)
		}
	}
	return &g
}

// Log is what one consumer was given of a topic that a [Writer] writes. Its
// methods may be called concurrently.
type Log struct {
	partitions []*ledger
}

type ledger struct {
	Gaps
	given instants

	mu sync.Mutex
	// received counts the records that came, each once. next is the lowest
	// sequence number above all of them, missing those below that did not come.
	received, next int64
	missing        map[int64]struct{}

	duplicated, late, foreign int64
	offset                    int64 // the last
	firstWrong                string
}

// NewLog makes the log of a consumer that reads all partitions from the oldest
// offset.
func NewLog(partitions int) *Log {
	l := &Log{}
	for range partitions {
		l.partitions = append(l.partitions, &ledger{missing: make(map[int64]struct{}), offset: -1})
	}
	return l
}

// Gaps returns the gaps between the records of a partition.
func (l *Log) Gaps(partition int32) *Gaps { return &l.partitions[partition].Gaps }

// Forget forgets when records were given; what is wrong it remembers.
func (l *Log) Forget() {
	for _, g := range l.partitions {
		g.Forget()
		g.given.forget()
	}
}

// Received says that the consumer was given a record.
func (l *Log) Received(partition int32, offset int64, key, value []byte) {
	g := l.partitions[partition]
	now := time.Now()
	g.Mark(now)
	g.mu.Lock()
	defer g.mu.Unlock()
	wrong := func(counter *int64, what string) {
		*counter++
		if g.firstWrong == "" {
			g.firstWrong = fmt.Sprintf("partition %d: %s at offset %d, after offset %d", partition, what, offset, g.offset)
		}
	}
	sequence, _, err := Parse(value)
	if err != nil || !bytes.Equal(key, Key(partition, sequence)) {
		wrong(&g.foreign, "a foreign record")
		return
	}
	_, late := g.missing[sequence]
	switch {
	case sequence >= g.next:
		for s := g.next; s < sequence; s++ {
			g.missing[s] = struct{}{}
		}
		g.next = sequence + 1
		g.received++
		g.given.mark(g.next, now)
	case late:
		delete(g.missing, sequence)
		g.received++
		wrong(&g.late, fmt.Sprintf("record %d, late", sequence))
	default:
		wrong(&g.duplicated, fmt.Sprintf("record %d again", sequence))
	}
	g.offset = max(g.offset, offset)
}

// Tally is what a log comes to.
type Tally struct {
	Received   int64
	Lost       int64 // acknowledged to the writer, and never given
	Duplicated int64 // given again
	Reordered  int64 // given after a later one
	Foreign    int64 // not the writer's
	FirstWrong string
}

// OK says that nothing is wrong.
func (t Tally) OK() bool { return t.Lost+t.Duplicated+t.Reordered+t.Foreign == 0 }

// Tally compares the log with what w has had acknowledged. Until the consumer has
// read to the end, records are lost that are only under way.
func (l *Log) Tally(w *Writer) Tally {
	var t Tally
	for p, g := range l.partitions {
		acknowledged := w.Acknowledged(int32(p))
		g.mu.Lock()
		t.Received += g.received
		t.Lost += max(0, acknowledged-g.next)
		for s := range g.missing {
			if s < acknowledged {
				t.Lost++
			}
		}
		t.Duplicated += g.duplicated
		t.Reordered += g.late
		t.Foreign += g.foreign
		if t.FirstWrong == "" {
			t.FirstWrong = g.firstWrong
		}
		g.mu.Unlock()
	}
	return t
}
