package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	tableEvery  = 200 * time.Millisecond
	statusEvery = time.Second
	// rateOver is the time over which records per second are counted.
	rateOver = time.Second
	// tableBrokers bounds the rows: a table that scrolls cannot be drawn over.
	tableBrokers = 15
)

// brokerState is a row of the table.
type brokerState struct {
	id         int32
	addr       string
	state      string // up, or down while it is killed
	executors  []string
	partitions []int32
	rate       float64 // records per second fetched
	last       *fault  // nil where none hit it
}

// view is what is shown of a run at one moment.
type view struct {
	title   string
	elapsed time.Duration
	brokers []brokerState
	tally   tally
	rate    float64

	spawned, stopped, resolutions, calls uint64
	requests                             int64
}

// sampler turns the state of a run into views.
type sampler struct {
	demo    *demo
	samples []sample // of the last rateOver, oldest first
}

// sample is what had been fetched at one moment.
type sample struct {
	at       time.Time
	byBroker map[int32]int64
}

func (s *sampler) view() view {
	d := s.demo
	all := d.consumer.reader.Stats()
	now := sample{time.Now(), all.Fetched}
	s.samples = append(s.samples, now)
	for len(s.samples) > 2 && now.at.Sub(s.samples[1].at) >= rateOver {
		s.samples = s.samples[1:]
	}
	first := s.samples[0]
	over := max(now.at.Sub(first.at), time.Millisecond).Seconds()

	stats := all.Mapper
	v := view{
		title:       d.title(),
		elapsed:     d.timeline.elapsed(),
		tally:       d.check.tally(),
		spawned:     stats.ExecutorsSpawned,
		stopped:     stats.ExecutorsStopped,
		resolutions: stats.Resolutions,
		calls:       stats.ResolveCalls,
		requests:    all.MetadataRequests,
	}
	rows := make(map[int32]*brokerState)
	for id, addr := range d.addrs {
		rows[id] = &brokerState{id: id, addr: addr, state: "up", rate: float64(now.byBroker[id]-first.byBroker[id]) / over}
		v.rate += rows[id].rate
	}
	for _, a := range d.consumer.reader.Assignments() {
		row := rows[a.Broker]
		if row == nil {
			continue
		}
		if name := fmt.Sprintf("#%d", a.Fetcher); !slices.Contains(row.executors, name) {
			row.executors = append(row.executors, name)
		}
		row.partitions = append(row.partitions, a.Partition)
	}
	faults := d.timeline.snapshot()
	for i := range faults {
		for _, id := range faults[i].brokers {
			if row := rows[id]; row != nil {
				row.last = &faults[i]
				row.state = "up"
				if faults[i].kind == faultKill {
					row.state = "down"
				}
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		slices.Sort(rows[id].executors)
		slices.Sort(rows[id].partitions)
		v.brokers = append(v.brokers, *rows[id])
	}
	return v
}

// status is the view as one log line.
func (v view) status() string {
	var b strings.Builder
	fmt.Fprintf(&b, "produced %d, received %d, %.0f/s", v.tally.produced, v.tally.received, v.rate)
	for _, r := range v.brokers[:min(len(v.brokers), tableBrokers)] {
		fmt.Fprintf(&b, " | broker %d %s: %s, %d partitions, %.0f/s", r.id, r.state, list(r.executors, 20), len(r.partitions), r.rate)
	}
	return b.String()
}

// table draws views over each other in a terminal.
type table struct {
	out   io.Writer
	drawn int // lines of the last one
}

// draw replaces the last drawing. Lines are cut where the terminal ends: one that
// wraps would be two lines to go up.
func (t *table) draw(v view) {
	lines := v.lines()
	var b strings.Builder
	b.WriteString("\x1b[?7l") // no wrapping
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + l + "\n")
	}
	b.WriteString("\x1b[J\x1b[?7h")
	t.drawn = len(lines)
	_, _ = io.WriteString(t.out, b.String())
}

func (v view) lines() []string {
	const row = "%-18s %-5s %-8s %-16s %6s  %-12s %7s"
	lines := []string{
		fmt.Sprintf("%s  %s", seconds(v.elapsed), v.title),
		"",
		fmt.Sprintf(row, "BROKER", "STATE", "EXECUTOR", "PARTITIONS", "REC/S", "LAST FAULT", "STALL"),
	}
	for i, r := range v.brokers {
		if i == tableBrokers {
			lines = append(lines, fmt.Sprintf("and %d more", len(v.brokers)-i))
			break
		}
		last, stall := "-", "-"
		if r.last != nil {
			last = fmt.Sprintf("%s %s", r.last.kind, seconds(r.last.at))
			stall = fmt.Sprintf("%d ms", r.last.stall.Milliseconds())
		}
		lines = append(lines, fmt.Sprintf(row, fmt.Sprintf("%d %s", r.id, r.addr), r.state,
			list(r.executors, 8), list(r.partitions, 16), fmt.Sprintf("%.0f", r.rate), last, stall))
	}
	return append(lines,
		"",
		fmt.Sprintf("records    %d produced, %d received, %.0f/s; %d duplicated, %d out of order",
			v.tally.produced, v.tally.received, v.rate, v.tally.duplicated, v.tally.outOfOrder),
		fmt.Sprintf("executors  %d spawned, %d stopped", v.spawned, v.stopped),
		fmt.Sprintf("mapper     %d resolutions in %d calls, %d metadata requests", v.resolutions, v.calls, v.requests),
	)
}

// list joins items with blanks. What is wider than width is cut, but for the
// first item.
func list[T any](items []T, width int) string {
	if len(items) == 0 {
		return "-"
	}
	const more = " .."
	line := ""
	cut := "" // the longest beginning that leaves room for more
	for i, item := range items {
		if i > 0 {
			line += " "
		}
		line += fmt.Sprint(item)
		if i == 0 || len(line)+len(more) <= width {
			cut = line
		}
		if i > 0 && len(line) > width {
			return cut + more
		}
	}
	return line
}

// isTerminal says whether w is one that a table can be drawn on.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
