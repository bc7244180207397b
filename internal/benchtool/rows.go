package main

import (
	"fmt"
	"strings"
)

// A row of the table compares ours with something, or with a number.
type row struct {
	what    string
	bench   string // with impl=ours in it, or impl=plain
	unit    string // "": ns/op
	against string // the implementation that it is compared with; "": a number
	target  target
}

// A target is a bound for ours/theirs, for theirs/ours or for ours itself.
type target struct {
	kind  kind
	bound float64
}

type kind uint8

const (
	none    kind = iota // only shown, as theirs/ours
	atMost              // times theirs
	faster              // that many times
	ceiling             // in the row's unit
)

func upTo(times float64) target   { return target{atMost, times} }
func beat(times float64) target   { return target{faster, times} }
func below(figure float64) target { return target{ceiling, figure} }

type section struct {
	title, note string
	rows        []row
}

const benchRing, benchMap, benchCount = "internal/ringbuf:", "internal/shardmap:", "internal/refcount:"

// table is what is promised, in the order in which it is shown.
func table() []section {
	return []section{
		{
			title: "Mapper: TriggerReassign of a known worker",
			note: "The workers embed a Slot, but for those that are called plain, here and below. Wall-clock time of the whole program for each call, producers in parallel. storm: workers are triggered over and over " +
				"and resolved again every 10 to 80 ms; stuck: no resolver call returns; busy: resolved at once, the mapper never rests; " +
				"idle: each call is the worker's first since it was resolved, which wakes the mapper, and no repeat is saved.",
			rows: triggerRows(),
		},
		{
			title: "Mapper: single calls during a failover",
			note:  "The brokers of 100 000 workers fail one after the other; each call is timed, the clock's 40-50 ns included.",
			rows:  latencyRows(),
		},
		{
			title: "Mapper: spawn to assigned, and memory",
			note:  "In a process with a heap of 64 MiB beside them, BROKERMAP_BENCH_HEAP: with next to nothing the collector would run once in each round, or never. floor is one allocation, one insert into a Go map and one send.",
			rows:  spawnRows(),
		},
		{
			title: "Mapper: 1000 workers fail over, a request takes 1 ms",
			note:  "inorder: the broker serves the requests of a connection one after the other, as Kafka does; parallel: all at once. single is ours without a BatchResolver.",
			rows: []row{
				{"inorder", ":Failover/workers=1000/requests=inorder/impl=ours", "", "classic", target{}},
				{"inorder", ":Failover/workers=1000/requests=inorder/impl=ours", "", "single", target{}},
				{"parallel", ":Failover/workers=1000/requests=parallel/impl=ours", "", "classic", target{}},
				{"parallel", ":Failover/workers=1000/requests=parallel/impl=ours", "", "single", target{}},
			},
		},
		{
			title: "Mapper: leases",
			rows: []row{
				{"Acquire + Release, 1 worker, 1 goroutine", ":Acquire/goroutines=1/workers=1/impl=ours", "", "two-rmw", upTo(2)},
				{"the same, 1000 workers", ":Acquire/goroutines=1/workers=1000/impl=ours", "", "two-rmw", target{}},
				{"the same, 1000 plain workers", ":Acquire/goroutines=1/workers=1000/impl=plain", "", "two-rmw", target{}},
				{"1000 workers, 2 goroutines, one executor", ":Acquire/goroutines=2/workers=1000/impl=ours", "", "two-rmw", target{}},
				{"1000 workers, 8 goroutines, one executor", ":Acquire/goroutines=8/workers=1000/impl=ours", "", "two-rmw", target{}},
			},
		},
		{
			title: "Mapper: a big client, 1000 connections",
			note:  "Everything in random order. A tenth of the workers is moved by one broker failure.",
			rows:  scaleRows(),
		},
		{title: "Ring", note: "One consumer that parks; an item is a pointer. After 64 items and more the consumers of the two bounded rings, ours and xsync.MPMC, give way once before they park. The mapper does not: it would be the last in line of a busy process.", rows: ringRows()},
		{title: "Map", rows: mapRows()},
		{title: "Reference count", rows: countRows()},
	}
}

func triggerRows() []row {
	var rows []row
	bench := func(state string, workers, procs, producers int) string {
		return fmt.Sprintf(":Trigger/state=%s/workers=%d/procs=%dx/producers=%d/impl=ours", state, workers, procs, producers)
	}
	for _, state := range []string{"storm", "stuck"} {
		for _, producers := range []int{1, 2, 8, 64} {
			rows = append(rows, row{fmt.Sprintf("%s, 100 k workers, %s", state, plural(producers, "producer")),
				bench(state, 100_000, 1, producers), "", "classic", beat(15)})
		}
	}
	for _, state := range []string{"storm", "stuck"} {
		for _, producers := range []int{1, 8} {
			rows = append(rows, row{fmt.Sprintf("%s, 100 k plain workers, %s", state, plural(producers, "producer")),
				asPlain(bench(state, 100_000, 1, producers)), "", "classic", target{}})
		}
	}
	rows = append(rows,
		row{"stuck, 100 k workers, 1 producer: time of a call", bench("stuck", 100_000, 1, 1), "", "", below(15)},
		row{"storm, 100 k workers, 1 producer: time of a call", bench("storm", 100_000, 1, 1), "", "", below(15)},
		row{"stuck, 100 k workers, 1 producer: processor time", bench("stuck", 100_000, 1, 1), "cpu-ns/op", "classic", target{}},
		row{"stuck, 100 k workers, 1 producer: allocations", bench("stuck", 100_000, 1, 1), "allocs/op", "", below(0)},
		row{"storm, 100 k workers, 8 producers, GOMAXPROCS 4x the cores", bench("storm", 100_000, 4, 8), "", "classic", beat(15)},
		row{"storm, 100 k workers, 64 producers, GOMAXPROCS 4x the cores", bench("storm", 100_000, 4, 64), "", "classic", beat(15)},
		row{"stuck, 100 k workers, 64 producers, GOMAXPROCS 4x the cores", bench("stuck", 100_000, 4, 64), "", "classic", beat(15)},
		row{"storm, 1 k workers, 1 producer", bench("storm", 1_000, 1, 1), "", "classic", target{}},
		row{"busy, 100 k workers, 1 producer", bench("busy", 100_000, 1, 1), "", "classic", target{}},
		row{"busy, 100 k workers, 8 producers", bench("busy", 100_000, 1, 8), "", "classic", target{}},
	)
	for _, workers := range []int{1_000, 100_000, 1_000_000} {
		for _, producers := range []int{1, 8} {
			rows = append(rows, row{fmt.Sprintf("idle, %s workers, %s", short(workers), plural(producers, "producer")),
				bench("idle", workers, 1, producers), "", "classic", target{}})
		}
	}
	for _, producers := range []int{1, 2, 8, 64} {
		rows = append(rows, row{fmt.Sprintf("storm, 1 M workers, %s", plural(producers, "producer")),
			bench("storm", 1_000_000, 1, producers), "", "classic", target{}})
	}
	return rows
}

// asPlain returns the benchmark of the workers that embed no Slot.
func asPlain(bench string) string { return strings.Replace(bench, "impl=ours", "impl=plain", 1) }

func latencyRows() []row {
	var rows []row
	for _, pace := range []string{"none", "1us"} {
		for _, unit := range []string{"mean-ns", "p50-ns", "p99-ns", "max-ns"} {
			what := "calls without a break"
			if pace != "none" {
				what = "a call each microsecond"
			}
			rows = append(rows, row{what + ", " + strings.TrimSuffix(unit, "-ns"),
				":TriggerLatency/workers=100000/pace=" + pace + "/impl=ours", unit, "classic", target{}})
		}
	}
	return rows
}

func spawnRows() []row {
	var rows []row
	for _, n := range []int{100, 1_000, 10_000, 100_000, 1_000_000} {
		bench, who := fmt.Sprintf(":Spawn/workers=%d/impl=ours", n), short(n)+" workers"
		rows = append(rows,
			row{who + ": time of each", bench, "spawn-ns", "", below(600)},
			row{who + ": time", bench, "spawn-ns", "classic", beat(2.5)},
			row{who + ": processor time", bench, "spawn-cpu-ns", "classic", target{}},
			row{who + ": time", bench, "spawn-ns", "floor", target{}},
			row{who + ": allocations of each", bench, "allocs", "", below(2)},
			row{who + ": memory of each that lives", bench, "heap-B", "", below(200)},
			row{who + ": memory", bench, "heap-B", "classic", target{}},
			row{who + ": stop of all", bench, "stop-ns", "classic", target{}},
			row{who + ", plain: time of each", asPlain(bench), "spawn-ns", "", below(600)},
			row{who + ", plain: time", asPlain(bench), "spawn-ns", "classic", beat(2.5)},
			row{who + ", plain: allocations of each", asPlain(bench), "allocs", "", below(2)},
			row{who + ", plain: memory of each that lives", asPlain(bench), "heap-B", "", below(200)},
		)
	}
	return rows
}

func scaleRows() []row {
	var rows []row
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		bench := fmt.Sprintf(":Scale/workers=%d/impl=ours", n)
		for _, m := range []struct{ what, unit string }{
			{"spawn to assigned", "spawn-ns"},
			{"trigger all to confirmed", "trigger-ns"},
			{"failure to moved", "move-ns"},
			{"stop", "stop-ns"},
			{"memory", "heap-B"},
		} {
			rows = append(rows, row{short(n) + " workers, " + m.what, bench, m.unit, "classic", target{}})
		}
	}
	return rows
}

func ringRows() []row {
	through := func(producers int) string {
		return fmt.Sprintf("%sThroughput/impl=ours/producers=%d", benchRing, producers)
	}
	over := func(producers int) string {
		return fmt.Sprintf("%sOversubscribed/impl=ours/producers=%d", benchRing, producers)
	}
	return []row{
		{"push + pop, one goroutine", benchRing + "PushPop/impl=ours", "", "two-rmw", upTo(1.25)},
		{"1 producer", through(1), "", "chan", beat(2)},
		{"8 producers", through(8), "", "chan", beat(2.2)},
		{"64 producers", through(64), "", "chan", beat(2.5)},
		{"8 producers, GOMAXPROCS 4x the cores", over(8), "", "chan", beat(2)},
		{"64 producers, GOMAXPROCS 4x the cores", over(64), "", "chan", beat(2)},
		{"1 producer", through(1), "", "xsync.MPMC", beat(1.1)},
		{"8 producers", through(8), "", "xsync.MPMC", beat(1.1)},
		{"64 producers", through(64), "", "xsync.MPMC", beat(1.1)},
		{"1 producer", through(1), "", "xsync.UMPSC", beat(1.1)},
		{"8 producers", through(8), "", "xsync.UMPSC", beat(1.4)},
		{"64 producers", through(64), "", "xsync.UMPSC", beat(1.1)},
		{"one item wakes the consumer", benchRing + "Wake/impl=ours/burst=1", "", "chan", upTo(1.1)},
		{"a burst of 32 does", benchRing + "Wake/impl=ours/burst=32", "", "chan", upTo(0.7)},
	}
}

func mapRows() []row {
	var rows []row
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		load := fmt.Sprintf("%sLoad/impl=ours/entries=%d", benchMap, n)
		churn := fmt.Sprintf("%sChurn/impl=ours/entries=%d", benchMap, n)
		rows = append(rows,
			row{"hit, " + short(n) + " entries", load, "", "xsync", upTo(0.5)},
			row{"remove one and insert a fresh one, " + short(n) + " entries", churn, "", "mutex64", upTo(1)},
			row{"the same", churn, "", "xsync", target{}},
		)
	}
	return rows
}

func countRows() []row {
	pair := func(goroutines int) string {
		return fmt.Sprintf("%sAcquireRelease/impl=ours/goroutines=%d", benchCount, goroutines)
	}
	return []row{
		{"acquire + release, 1 goroutine", pair(1), "", "two-rmw", upTo(1.05)},
		{"2 goroutines", pair(2), "", "cas-unless-zero", upTo(0.65)},
		{"8 goroutines", pair(8), "", "cas-unless-zero", upTo(0.65)},
		{"2 goroutines", pair(2), "", "rwmutex", target{}},
	}
}

func short(n int) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 1000:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
