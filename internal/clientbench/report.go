package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/brokermap/brokermap/internal/stall"
)

// clusterTitles are the clusters in the order in which they are shown.
var clusterTitles = []struct{ name, title, note string }{
	{"kafka", "Apache Kafka", "Three brokers and a controller, a process each. A broker that is gone is replaced after 1.5 s without a heartbeat."},
	{"kfake", "kfake, the embedded cluster", "A broker that is gone is replaced after 300 ms. What franz-go is given twice here is not its fault: kfake answers " +
		"its\nOffsetForLeaderEpoch requests with no offset, and it begins anew. A fetch that is parked is not woken by a move."},
}

// markdown makes the tables.
func markdown(res results) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `# Clients side by side

Made by `+"`go -C internal/clientbench run . -out ../../docs`"+`; see there for its flags, and for what is measured how.

%d cores, %s; load average when a run began: %s. **What else ran decides the single milliseconds, and the worst
figures**: compare with the control, and on a busy machine trust CPU time more than rates. Three brokers on loopback, on the same cores. Only what stands side
by side compares: sarama v1.61.1, franz-go v1.22.2, librdkafka 2.11.1 through confluent-kafka-go, kafka-go v0.4.51.
Each has its default settings (kafka-go: MaxWait 500 ms, since with its 10 s it is no match); the tuned ones have
timeouts and backoffs of 50 ms to 2 s, and sarama a channel of 4096.

![Throughput, CPU time and stalls](clients.svg)
`, res.Cores, res.Go, res.Load)
	for _, c := range clusterTitles {
		r := res.Clusters[c.name]
		if r == nil {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", c.title)
		if c.note != "" {
			fmt.Fprintf(&b, "\n%s\n", c.note)
		}
		if r.Stalls != nil {
			r.Stalls.write(&b)
		}
		if r.Alone != nil {
			fmt.Fprint(&b, "\n### Stalls without the others\n\nThe same, without the other clients, which take their share of the cores when all of them look for a new leader.\n")
			r.Alone.tables(&b)
		}
		if r.Soak != nil {
			r.Soak.write(&b)
		}
		for _, t := range r.Throughput {
			t.write(&b)
		}
		for _, l := range r.Latency {
			l.write(&b)
		}
		if r.Isolation != nil {
			writeIsolation(&b, r.Isolation)
		}
		if r.Storm != nil {
			writeStorm(&b, r.Storm)
		}
	}
	return b.Bytes()
}

// order returns the clients that have results, in the order of the tables.
func order[T any](rounds map[string]T) []string {
	var names []string
	for _, c := range clients() {
		if _, ok := rounds[c.Name]; ok {
			names = append(names, c.Name)
		}
	}
	return names
}

func (t throughputResult) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n### Throughput: %d records of %s\n\n", t.Shape.Records, t.Shape)
	fmt.Fprint(b, "Medians. From before the client is made to its last record; CPU time is the whole process's, memory its peak less\nwhat it had before; allocated is what Go allocated.\n\n")
	fmt.Fprint(b, "| client | records/s | of sarama's | CPU a record | of sarama's | of franz-go's | memory | allocated a record |\n|---|---|---|---|---|---|---|---|\n")
	for _, name := range order(t.Rounds) {
		rate, cpu := t.rate(name), t.cpu(name)
		fmt.Fprintf(b, "| %s | %s | %s | %.0f ns | %s | %s | %.0f MiB | %.0f B |\n", name,
			perSecond(rate), ratio(rate, t.rate("sarama")), cpu, ratio(cpu, t.cpu("sarama")), ratio(cpu, t.cpu("franz-go")),
			t.median(name, func(c consumed) float64 { return float64(c.RSS) / (1 << 20) }),
			t.median(name, func(c consumed) float64 { return float64(c.Alloc) / float64(t.Shape.Records) }))
	}
}

func (t throughputResult) median(client string, of func(consumed) float64) float64 {
	var values []float64
	for _, c := range t.Rounds[client] {
		values = append(values, of(c))
	}
	return median(values)
}

func (t throughputResult) rate(client string) float64 {
	return t.median(client, func(c consumed) float64 { return float64(t.Shape.Records) / c.Wall.Seconds() })
}

// cpu returns nanoseconds a record.
func (t throughputResult) cpu(client string) float64 {
	return t.median(client, func(c consumed) float64 { return float64(c.CPU) / float64(t.Shape.Records) })
}

func perSecond(rate float64) string {
	if rate >= 1e6 {
		return fmt.Sprintf("%.2f M", rate/1e6)
	}
	return fmt.Sprintf("%.0f k", rate/1e3)
}

func ratio(a, b float64) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2fx", a/b)
}

func (l latencyResult) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n### Latency: %d records a second of 100 B, %d partitions\n\n", l.Rate, latencyPartitions)
	fmt.Fprint(b, "From when a record is made to when the client hands it out, with acks=1 and no linger; medians of the rounds.\n\n| client | p50 | p99 | worst |\n|---|---|---|---|\n")
	for _, name := range order(l.Rounds) {
		of := func(f func(consumed) time.Duration) string {
			var values []time.Duration
			for _, c := range l.Rounds[name] {
				values = append(values, f(c))
			}
			return fmt.Sprintf("%.2f ms", median(values).Seconds()*1e3)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", name, of(func(c consumed) time.Duration { return c.P50 }),
			of(func(c consumed) time.Duration { return c.P99 }), of(func(c consumed) time.Duration { return c.Worst }))
	}
}

func writeStorm(b *bytes.Buffer, all []stormResult) {
	fmt.Fprintf(b, "\n### %d partitions moved at once\n\nRequests in the %v after it.\n\n| client | Metadata | for offsets | Fetch |\n|---|---|---|---|\n", stormPartitions, stormWatch)
	for _, r := range all {
		fmt.Fprintf(b, "| %s | %d | %d | %d |\n", r.Client, r.Metadata, r.Offsets, r.Fetches)
	}
}

// faults returns the faults that were tried, in their order.
func (s *stallResults) faults() []stall.Fault {
	var all []stall.Fault
	for _, t := range s.Trials {
		if !slices.ContainsFunc(all, func(f stall.Fault) bool { return f.Name == t.Fault.Name }) {
			all = append(all, t.Fault)
		}
	}
	return all
}

// of returns a figure of all trials of a fault; client -1 is the writer.
func (s *stallResults) of(fault string, client int, figure func(stall.Stall) time.Duration) (values []time.Duration, unfinished bool) {
	for _, t := range s.Trials {
		if t.Fault.Name != fault {
			continue
		}
		st := t.Floor
		if client >= 0 {
			st = t.Stalls[client]
		}
		values = append(values, figure(st))
		unfinished = unfinished || st.Unfinished
	}
	return values, unfinished
}

func (s *stallResults) write(b *bytes.Buffer) {
	fmt.Fprint(b, "\n### Stalls\n\nMilliseconds: median [worst] of the trials. All clients consume 12 partitions side by side, of which each gets 200\nrecords a second. A partition's gap is the longest time between two of its records from the fault on; its excess is\nthe gap less the cluster's, the floor: the longest time in which none of its records became known to be in the log, by an\nacknowledgement to the writer or because any client was given it. "+
		"`none` is the control: what differs less than it says\nnothing.\n")
	s.tables(b)
}

func (s *stallResults) tables(b *bytes.Buffer) {
	fmt.Fprintln(b)
	for _, f := range s.faults() {
		n, _ := s.of(f.Name, -1, func(t stall.Stall) time.Duration { return t.Slowest })
		fmt.Fprintf(b, "- `%s`: %s (%d trials)\n", f.Name, f.Does, len(n))
	}
	s.table(b, "The slowest partition's excess", "the cluster's gap", func(t stall.Stall) time.Duration { return t.SlowestExcess }, func(t stall.Stall) time.Duration { return t.Slowest })
	s.table(b, "The median partition's excess", "the cluster's gap", func(t stall.Stall) time.Duration { return t.MedianExcess }, func(t stall.Stall) time.Duration { return t.Median })
	s.table(b, "The worst excess of the partitions that the fault does not hit", "the cluster's gap", func(t stall.Stall) time.Duration { return t.OthersExcess }, func(t stall.Stall) time.Duration { return t.Others })
	fmt.Fprint(b, "\nOf all that was written each record was to be given once and in order:\n\n| client | given | lost | duplicated | reordered |\n|---|---|---|---|---|\n")
	for i, t := range s.Tallies {
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d |\n", s.Clients[i], t.Received, t.Lost, t.Duplicated, t.Reordered)
	}
}

func (s *stallResults) table(b *bytes.Buffer, title, floor string, figure, floorFigure func(stall.Stall) time.Duration) {
	fmt.Fprintf(b, "\n%s:\n\n|", title)
	for _, f := range s.faults() {
		fmt.Fprintf(b, " | %s", f.Name)
	}
	fmt.Fprint(b, " |\n|---"+strings.Repeat("|---", len(s.faults()))+"|\n")
	for i, name := range s.Clients {
		fmt.Fprintf(b, "| %s", name)
		for _, f := range s.faults() {
			values, unfinished := s.of(f.Name, i, figure)
			fmt.Fprintf(b, " | %s", milliseconds(values))
			if unfinished {
				fmt.Fprint(b, ", not back in a minute")
			}
		}
		fmt.Fprintln(b, " |")
	}
	fmt.Fprintf(b, "| *%s*", floor)
	for _, f := range s.faults() {
		values, _ := s.of(f.Name, -1, floorFigure)
		fmt.Fprintf(b, " | *%s*", milliseconds(values))
	}
	fmt.Fprintln(b, " |")
}

// milliseconds formats the median and the worst.
func milliseconds(values []time.Duration) string {
	if len(values) == 0 {
		return "–"
	}
	return strconv.FormatInt(median(values).Milliseconds(), 10) + " [" + strconv.FormatInt(slices.Max(values).Milliseconds(), 10) + "]"
}

func (s *soakResult) write(b *bytes.Buffer) {
	n := 0
	for _, k := range s.Faults {
		n += k
	}
	fmt.Fprintf(b, "\n### Soak\n\n%s for %v, with %d faults, at most %.1f s apart: %v. %d records given: %d lost, %d duplicated, %d reordered.\n",
		s.Client, s.Time.Round(time.Second), n, s.Pause.Seconds(), s.Faults, s.Tally.Received, s.Tally.Lost, s.Tally.Duplicated, s.Tally.Reordered)
	if len(s.Samples) == 0 {
		return
	}
	fmt.Fprint(b, "\nGoroutines and heap of the whole process, its writer included, when the cluster has settled:\n\n| at | goroutines | heap |\n|---|---|---|\n")
	step := max(len(s.Samples)/8, 1)
	for i := 0; i < len(s.Samples); i += step {
		at := s.Samples[i]
		fmt.Fprintf(b, "| %v | %d | %.1f MiB |\n", at.At.Round(time.Second), at.Goroutines, float64(at.Heap)/(1<<20))
	}
	last := s.Samples[len(s.Samples)-1]
	fmt.Fprintf(b, "| %v | %d | %.1f MiB |\n", last.At.Round(time.Second), last.Goroutines, float64(last.Heap)/(1<<20))
}
