package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// isolationResult is what a client's other partitions have of what befalls some,
// round by round.
type isolationResult struct {
	Client string
	Rounds map[string][]consumed // by the name of what befalls
}

// befalls is what befalls some partitions. The records of the others are those whose
// latency is measured, of the same others each time.
var befalls = []struct{ name, does string }{
	{"nothing", "all goes well"},
	{"unread", "nobody reads these partitions. With sarama's interface their channels are left alone; the reader of batches has a loop more than there are partitions that hold one up; franz-go has them paused, since whoever polls is given all"},
	{"hang", "broker 0 neither answers nor closes from the first second on"},
}

// isolation measures latencies as latency does, of the partitions that broker 0 does
// not lead.
func isolation(ctx context.Context, o options, picked []client, bed kafkatest.Testbed) ([]isolationResult, error) {
	machines, ok := bed.(kafkatest.Machines)
	if !ok {
		return nil, errors.New("this cluster's brokers cannot hang")
	}
	var all []isolationResult
	for _, c := range picked {
		if _, can := reads[c.Name]; can {
			all = append(all, isolationResult{c.Name, make(map[string][]consumed)})
		}
	}
	for round := range min(o.rounds, 5) + 1 { // the first one only warms up
		for i, r := range all {
			for _, b := range befalls {
				topic := fmt.Sprintf("isolation-%d-%d-%s", round, i, b.name)
				m, err := isolationOf(ctx, r.Client, b.name, machines, topic)
				if err != nil {
					return all, fmt.Errorf("%s, %s: %w", r.Client, b.name, err)
				}
				report("%-18s %-8s p50 %v, p99 %v, worst %v", r.Client, b.name, m.P50.Round(time.Microsecond), m.P99.Round(time.Microsecond), m.Worst.Round(time.Microsecond))
				if round > 0 || o.rounds == 1 {
					r.Rounds[b.name] = append(r.Rounds[b.name], m)
				}
			}
		}
	}
	return all, nil
}

func isolationOf(ctx context.Context, name, befalls string, bed kafkatest.Machines, topic string) (m consumed, err error) {
	if err := bed.CreateTopic(topic, latencyPartitions); err != nil {
		return m, err
	}
	t := task{Client: name, Addrs: bed.Addrs(), Topic: topic}
	for p := int32(0); p < latencyPartitions; p += int32(len(bed.Addrs())) {
		t.Idle = append(t.Idle, p)
	}
	var strike func() error
	switch befalls {
	case "unread":
		t.Unread = true
	case "hang":
		strike = func() error { return bed.Freeze(0) }
		defer func() { err = errors.Join(err, bed.Thaw(0), bed.Settle(topic)) }()
	}
	return latencyWith(ctx, t, 1200, strike)
}

// reads says how a client leaves partitions unread while it reads the others; nil
// is by not taking what their channels have.
var reads = map[string]func(unread []int32) stall.Client{
	"brokermap": nil,
	"brokermap batches": func([]int32) stall.Client {
		return stall.Client{Name: "brokermap batches", Start: func(addrs []string, topic string, partitions int, receive stall.Receive) (func(), error) {
			return startReader(addrs, topic, partitions, receive, 5) // one more than there are that hold on
		}}
	},
	"sarama":   nil,
	"franz-go": func(unread []int32) stall.Client { return franzPaused("franz-go", unread) },
}

// unread returns c as it is where some partitions are not read.
func unread(c stall.Client, partitions []int32) stall.Client {
	if as := reads[c.Name]; as != nil {
		return as(partitions)
	}
	return c
}

func writeIsolation(b *bytes.Buffer, all []isolationResult) {
	fmt.Fprintf(b, "\n### Latency of the others\n\nAs above, of the eight partitions that broker 0 does not lead, while something befalls the four that it leads; p50, p99\nand worst in ms, medians of the rounds.\n\n")
	for _, what := range befalls {
		fmt.Fprintf(b, "- `%s`: %s\n", what.name, what.does)
	}
	fmt.Fprint(b, "\n| client")
	for _, what := range befalls {
		fmt.Fprintf(b, " | %s", what.name)
	}
	fmt.Fprint(b, " |\n|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(b, "| %s", r.Client)
		for _, what := range befalls {
			of := func(f func(consumed) time.Duration) float64 {
				var values []time.Duration
				for _, c := range r.Rounds[what.name] {
					values = append(values, f(c))
				}
				return median(values).Seconds() * 1e3
			}
			fmt.Fprintf(b, " | %.2f, %.2f, %.1f", of(func(c consumed) time.Duration { return c.P50 }),
				of(func(c consumed) time.Duration { return c.P99 }), of(func(c consumed) time.Duration { return c.Worst }))
		}
		fmt.Fprintln(b, " |")
	}
}
