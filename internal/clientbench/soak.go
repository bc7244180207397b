package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// soakResult is what a long run with many faults has come to.
type soakResult struct {
	Client  string
	Time    time.Duration
	Faults  map[string]int
	Tally   stall.Tally
	Samples []soakSample
}

// soakSample is taken between two faults, when the cluster has settled.
type soakSample struct {
	At         time.Duration
	Goroutines int
	Heap       uint64 // bytes in use after a collection
}

const (
	soakPartitions = 12
	soakPeriod     = 5 * time.Second // from fault to fault, where the cluster settles in it
	soakFault      = 1500 * time.Millisecond
)

// soak has a client consume while a fault of some kind strikes every few seconds,
// and counts every record. The cluster has settled before each: a Kafka that loses
// its last replica in sync loses records itself.
func soak(ctx context.Context, o options, c client, bed kafkatest.Testbed) (*soakResult, error) {
	res := &soakResult{Client: c.Name, Faults: make(map[string]int)}
	const topic = "soak"
	if err := bed.CreateTopic(topic, soakPartitions); err != nil {
		return res, err
	}
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w, err := stall.StartWriter(starting, stall.WriterConfig{Addrs: bed.Addrs(), Topic: topic, Partitions: soakPartitions})
	if err != nil {
		return res, err
	}
	defer w.Close()
	log := stall.NewLog(soakPartitions)
	stop, err := c.Start(bed.Addrs(), topic, soakPartitions, log.Received)
	if err != nil {
		return res, err
	}
	defer stop()
	var faults []stall.Fault
	for _, f := range stall.Faults() {
		if f.Name != "none" && f.Possible(bed) == nil {
			faults = append(faults, f)
		}
	}
	random := rand.New(rand.NewPCG(1, 1))
	began := time.Now()
	sample := func() {
		w.Forget() // nobody asks
		log.Forget()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		res.Samples = append(res.Samples, soakSample{time.Since(began), runtime.NumGoroutine(), m.HeapInuse})
	}
	for time.Since(began) < o.soak && ctx.Err() == nil {
		if err := bed.Settle(topic); err != nil {
			return res, err
		}
		sample()
		struck := time.Now()
		f := faults[random.IntN(len(faults))]
		broker := random.Int32N(int32(len(bed.Addrs())))
		if err := f.Inflict(ctx, bed, topic, broker, soakFault); err != nil && ctx.Err() == nil {
			return res, err
		}
		res.Faults[f.Name]++
		t := log.Tally(w)
		report("%6.1f s  %-10s broker %d; %d records, %d under way, %d duplicated, %d reordered; %d goroutines",
			struck.Sub(began).Seconds(), f.Name, broker, t.Received, t.Lost, t.Duplicated, t.Reordered, runtime.NumGoroutine())
		if rest := soakPeriod - time.Since(struck); rest > 0 {
			time.Sleep(rest)
		}
	}
	res.Time = time.Since(began)
	if err := bed.Settle(topic); err != nil {
		return res, err
	}
	w.Close()
	for until := time.Now().Add(time.Minute); log.Tally(w).Lost > 0 && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	sample()
	res.Tally = log.Tally(w)
	n := 0
	for _, kind := range slices.Sorted(maps.Keys(res.Faults)) {
		n += res.Faults[kind]
	}
	report("%d faults in %v: %+v", n, res.Time.Round(time.Second), res.Tally)
	if !res.Tally.OK() {
		return res, fmt.Errorf("%s: %+v", c.Name, res.Tally)
	}
	return res, nil
}
