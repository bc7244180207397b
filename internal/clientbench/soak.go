package main

import (
	"context"
	"errors"
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
	Pause   time.Duration // the longest between two faults
	Tally   stall.Tally
	Samples []soakSample
}

// soakSample is taken just before a fault that strikes a cluster that has settled.
type soakSample struct {
	At         time.Duration
	Goroutines int
	Heap       uint64 // bytes in use after a collection
}

const (
	soakPartitions = 12
	soakPeriod     = 5 * time.Second // from fault to fault
	soakFault      = 1500 * time.Millisecond
)

// soak has a client consume while a fault strikes every soakPeriod, and counts every
// record. A fault of any kind strikes a cluster that has settled: a Kafka that loses
// its last replica in sync loses records itself. While the last one is being undone,
// which takes longer than a period where a broker has to start, it is the
// connections of another broker that are closed.
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
		if f.Name != "none" && f.Any() && f.Possible(bed) == nil {
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
	drop, err := stall.FaultByName("drop")
	if err != nil {
		return res, err
	}
	settled := make(chan error, 1) // when the fault under way is undone
	var undoing *int32             // its broker; nil when there is none
	settle := func(f stall.Fault, broker int32) {
		err := f.Inflict(ctx, bed, topic, broker, soakFault)
		settled <- errors.Join(err, bed.Settle(topic))
	}
	await := func() error {
		if undoing == nil {
			return nil
		}
		undoing = nil
		return <-settled
	}
	defer func() { _ = await() }() // before the writer and the client stop
	if err := bed.Settle(topic); err != nil {
		return res, err
	}
	tick := time.NewTicker(soakPeriod)
	defer tick.Stop()
	for last := began; time.Since(began) < o.soak && ctx.Err() == nil; {
		if undoing != nil && len(settled) > 0 {
			if err := await(); err != nil && ctx.Err() == nil {
				return res, err
			}
		}
		f, broker := drop, random.Int32N(int32(len(bed.Addrs())))
		if undoing == nil {
			sample()
			f = faults[random.IntN(len(faults))]
		} else if broker == *undoing {
			broker = (broker + 1) % int32(len(bed.Addrs()))
		}
		now := time.Now()
		res.Pause, last = max(res.Pause, now.Sub(last)), now
		if undoing == nil {
			undoing = &broker
			go settle(f, broker)
		} else if err := f.Inflict(ctx, bed, topic, broker, 0); err != nil {
			return res, err
		}
		res.Faults[f.Name]++
		t := log.Tally(w)
		report("%6.1f s  %-10s broker %d; %d records, %d under way, %d duplicated, %d reordered; %d goroutines",
			now.Sub(began).Seconds(), f.Name, broker, t.Received, t.Lost, t.Duplicated, t.Reordered, runtime.NumGoroutine())
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	if err := await(); err != nil && ctx.Err() == nil {
		return res, err
	}
	res.Time = time.Since(began)
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
	report("%d faults in %v, at most %v apart: %+v", n, res.Time.Round(time.Second), res.Pause.Round(time.Millisecond), res.Tally)
	if !res.Tally.OK() {
		return res, fmt.Errorf("%s: %+v", c.Name, res.Tally)
	}
	return res, nil
}
