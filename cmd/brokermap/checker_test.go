package main

import (
	"slices"
	"testing"
	"time"

	"github.com/brokermap/brokermap/consumer"
)

// batchOf makes a batch of the records with these sequence numbers, from an
// offset on.
func batchOf(partition int32, offset int64, sequences ...int64) *consumer.Batch {
	b := new(consumer.Batch)
	for i, s := range sequences {
		r := record(partition, s)
		b.Records = append(b.Records, consumer.Record{Offset: offset + int64(i), Key: r.Key, Value: r.Value})
	}
	return b
}

func TestCheckerSeesWhatIsWrong(t *testing.T) {
	foreign := batchOf(0, 3, 3)
	foreign.Records[0].Value[50] = 'x'
	for name, c := range map[string]struct {
		batches []*consumer.Batch
		want    tally
		waiting bool
	}{
		"nothing wrong":                  {[]*consumer.Batch{batchOf(0, 0, 0, 1), batchOf(0, 2, 2), batchOf(0, 3, 3)}, tally{received: 4}, false},
		"nothing came":                   {nil, tally{lost: 4}, true},
		"the end is lost":                {[]*consumer.Batch{batchOf(0, 0, 0, 1)}, tally{received: 2, lost: 2}, true},
		"the middle is lost":             {[]*consumer.Batch{batchOf(0, 0, 0), batchOf(0, 2, 2, 3)}, tally{received: 3, lost: 1}, true},
		"the unacknowledged came":        {[]*consumer.Batch{batchOf(0, 0, 0, 1, 2, 3, 4)}, tally{received: 5}, false},
		"only the unacknowledged is out": {[]*consumer.Batch{batchOf(0, 0, 0, 1, 2, 3, 5)}, tally{received: 5}, false},
		"delivered twice":                {[]*consumer.Batch{batchOf(0, 0, 0, 1, 2), batchOf(0, 2, 2, 3)}, tally{received: 4, duplicated: 1}, false},
		"in the log twice":               {[]*consumer.Batch{batchOf(0, 0, 0, 1, 1, 2, 3)}, tally{received: 4, duplicated: 1, relogged: 1}, false},
		"late":                           {[]*consumer.Batch{batchOf(0, 0, 0), batchOf(0, 2, 2, 3), batchOf(0, 1, 1)}, tally{received: 4, outOfOrder: 1}, false},
		"late, and twice": {[]*consumer.Batch{batchOf(0, 0, 0), batchOf(0, 2, 2, 3), batchOf(0, 1, 1), batchOf(0, 1, 1)},
			tally{received: 4, outOfOrder: 1, duplicated: 1}, false},
		"never sent":       {[]*consumer.Batch{batchOf(0, 0, 0, 1, 2, 3, 6)}, tally{received: 4, foreign: 1}, false},
		"somebody else's":  {[]*consumer.Batch{batchOf(0, 0, 0, 1, 2), foreign}, tally{received: 3, lost: 1, foreign: 1}, true},
		"another's record": {[]*consumer.Batch{batchOf(1, 0, 0)}, tally{lost: 4, foreign: 1}, true},
	} {
		t.Run(name, func(t *testing.T) {
			check := newChecker(newTimeline(time.Now(), 1), 1)
			check.attempted(0, 6)
			check.acknowledged(0, 4, time.Now())
			for _, b := range c.batches {
				check.received(b)
			}
			c.want.produced, c.want.unsettled = 4, 2
			if got := check.tally(); got != c.want {
				t.Errorf("tally is %+v, want %+v", got, c.want)
			}
			if got := len(check.waiting()) > 0; got != c.waiting {
				t.Errorf("waiting for more: %v, want %v", got, c.waiting)
			}
			select {
			case <-check.progress:
			default:
				if len(c.batches) > 0 {
					t.Error("no progress was told of")
				}
			}
		})
	}
}

func TestRecordsParse(t *testing.T) {
	for _, s := range []int64{0, 7, 8, 1 << 40} {
		r := record(3, s)
		if got, err := parseRecord(3, r.Key, r.Value); got != s || err != nil {
			t.Errorf("record %d parses as %d, %v", s, got, err)
		}
		if _, err := parseRecord(4, r.Key, r.Value); err == nil {
			t.Errorf("record %d of partition 3 parses as one of partition 4", s)
		}
	}
	for _, value := range []string{"", "1", " " + string(make([]byte, recordSize)), "-1 " + string(record(0, 1).Value[2:])} {
		if got, err := parseRecord(0, record(0, 1).Key, []byte(value)); err == nil {
			t.Errorf("value %q parses as %d", value, got)
		}
	}
}

func TestTimelinePutsGapDownToFault(t *testing.T) {
	start := time.Now().Add(-time.Hour)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	line := newTimeline(start, 2)
	for _, ms := range []int{1000, 2000} {
		line.faults = append(line.faults, fault{kind: "x", at: time.Duration(ms) * time.Millisecond})
	}
	stalls := func(records ...int) []int64 {
		clear(line.lastReceived)
		for i := range line.faults {
			line.faults[i].stall = 0
		}
		for _, ms := range records {
			line.received(1, at(ms))
		}
		var got []int64
		for _, f := range line.snapshot() {
			got = append(got, f.stall.Milliseconds())
		}
		return got
	}
	for name, c := range map[string]struct {
		records []int
		want    []int64
	}{
		"none":                           {nil, []int64{0, 0}},
		"the first record":               {[]int{1500}, []int64{0, 0}},
		"before the first fault":         {[]int{0, 900}, []int64{0, 0}},
		"across the first fault":         {[]int{990, 1300}, []int64{310, 0}},
		"within the first":               {[]int{1100, 1300}, []int64{200, 0}},
		"the longest counts":             {[]int{1100, 1300, 1310, 1600}, []int64{290, 0}},
		"most of it in the first":        {[]int{1200, 2100}, []int64{900, 0}},
		"most of it in the second":       {[]int{1900, 2500}, []int64{0, 600}},
		"through both, most in second":   {[]int{900, 4000}, []int64{0, 3100}},
		"most of it before any":          {[]int{0, 1100}, []int64{1100, 0}},
		"each its own":                   {[]int{990, 1100, 1990, 2010, 2500}, []int64{890, 490}},
		"the same moment, more than one": {[]int{1500, 1500, 1500}, []int64{0, 0}},
	} {
		if got := stalls(c.records...); !slices.Equal(got, c.want) {
			t.Errorf("%s: stalls are %v, want %v", name, got, c.want)
		}
	}
	line.wrote(0, at(1100))
	line.wrote(0, at(1250))
	stalls(2100)
	line.end([]int32{1})
	got := line.snapshot()
	if got[0].writerStall != 150*time.Millisecond || got[0].stall != 0 {
		t.Errorf("the producer's stall is %v beside %v, want 150 ms and none", got[0].writerStall, got[0].stall)
	}
	if got[1].stall < 50*time.Minute {
		t.Errorf("a partition that never went on stalled for %v", got[1].stall)
	}
}

func TestPlanIsTheSeedsAndFitsTheRun(t *testing.T) {
	same := func(a, b []step) bool {
		return slices.EqualFunc(a, b, func(x, y step) bool {
			return x.at == y.at && x.kind == y.kind && x.broker == y.broker && slices.Equal(x.partitions, y.partitions)
		})
	}
	const brokers = 3
	for _, duration := range []time.Duration{time.Nanosecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 15 * time.Second, 5 * time.Minute} {
		for _, partitions := range []int{1, 2, 12, 1000} {
			for seed := range int64(20) {
				plan := planFaults(seed, duration, partitions, brokers)
				if !same(plan, planFaults(seed, duration, partitions, brokers)) {
					t.Fatalf("seed %d gives two plans", seed)
				}
				if duration >= 15*time.Second && same(plan, planFaults(seed+100, duration, partitions, brokers)) {
					t.Errorf("seeds %d and %d give the same plan", seed, seed+100)
				}
				kinds := make(map[string]int)
				for i, s := range plan {
					kinds[s.kind]++
					if s.at <= 0 || s.at >= duration || i > 0 && s.at-plan[i-1].at < faultPauseLeast {
						t.Errorf("%v: fault %d at %v", duration, i, s.at)
					}
					if s.broker < 0 || s.broker >= brokers || s.kind == faultMove && s.broker == brokers-1 {
						t.Errorf("fault %+v", s)
					}
					if got := len(s.partitions); (got > 0) != (s.kind == faultMove) || got > partitions {
						t.Errorf("fault %+v of %d partitions", s, partitions)
					}
					dead := i > 0 && plan[i-1].kind == faultKill
					if dead != (s.kind == faultRevive) || dead && s.broker != plan[i-1].broker {
						t.Errorf("fault %+v comes after %+v", s, plan[max(0, i-1)])
					}
				}
				if n := len(plan); n > 0 && plan[n-1].kind == faultKill {
					t.Errorf("%v: a broker is killed last", duration)
				}
				if duration >= 3*time.Second {
					for _, kind := range []string{faultMove, faultDrop, faultKill} {
						if kinds[kind] == 0 {
							t.Errorf("%v, seed %d: no %s", duration, seed, kind)
						}
					}
				}
			}
		}
	}
}
