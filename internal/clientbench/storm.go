package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// stormResult is what one client asked for when all of 1000 partitions moved at
// once.
type stormResult struct {
	Client   string
	Metadata int64 // requests, in the stormWatch after the move
	Offsets  int64 // ListOffsets and OffsetForLeaderEpoch requests, likewise
}

const (
	stormPartitions = 1000
	stormWatch      = 5 * time.Second
)

// storm moves all leaders of a topic at once, with one client at a time.
func storm(ctx context.Context, picked []client) ([]stormResult, error) {
	var all []stormResult
	for _, c := range picked {
		r, err := stormOf(ctx, c)
		if err != nil {
			return all, fmt.Errorf("%s: %w", c.Name, err)
		}
		report("%-14s %d metadata requests, %d for offsets", c.Name, r.Metadata, r.Offsets)
		all = append(all, r)
	}
	return all, nil
}

func stormOf(ctx context.Context, c client) (stormResult, error) {
	r := stormResult{Client: c.Name}
	bed, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{"storm": stormPartitions}})
	if err != nil {
		return r, err
	}
	defer bed.Close()
	log := stall.NewLog(stormPartitions)
	stop, err := c.Start(bed.Addrs(), "storm", stormPartitions, log.Received)
	if err != nil {
		return r, err
	}
	defer stop()
	// One record for each partition, then the move, then one more.
	write := func() error {
		w, err := producer(bed.Addrs(), "storm")
		if err != nil {
			return err
		}
		defer w.Close()
		return writeEach(ctx, w, stormPartitions)
	}
	await := func(since time.Time) error {
		for p := range int32(stormPartitions) {
			for !log.Gaps(p).Last().After(since) {
				if time.Since(since) > time.Minute || ctx.Err() != nil {
					return fmt.Errorf("partition %d has not come back after a minute", p)
				}
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	}
	began := time.Now()
	if err := write(); err != nil {
		return r, err
	}
	if err := await(began); err != nil {
		return r, err
	}
	time.Sleep(time.Second)

	leaders, err := bed.Leaders("storm")
	if err != nil {
		return r, err
	}
	to := make(map[int32]int32)
	for p, leader := range leaders {
		to[int32(p)] = (leader + 1) % 3
	}
	var metadata, offsets atomic.Int64
	bed.Fake().Control(func(q kmsg.Request) (kmsg.Response, error, bool) {
		bed.Fake().KeepControl()
		switch q.(type) {
		case *kmsg.MetadataRequest:
			metadata.Add(1)
		case *kmsg.ListOffsetsRequest, *kmsg.OffsetForLeaderEpochRequest:
			offsets.Add(1)
		}
		return nil, nil, false
	})
	if err := bed.MoveLeaders("storm", to); err != nil {
		return r, err
	}
	time.Sleep(stormWatch)
	r.Metadata, r.Offsets = metadata.Load(), offsets.Load()
	began = time.Now() // what the producer asks for now is not the client's
	if err := write(); err != nil {
		return r, err
	}
	return r, await(began)
}

// writeEach writes one record to each partition.
func writeEach(ctx context.Context, w *kgo.Client, partitions int) error {
	var records []*kgo.Record
	for p := range int32(partitions) {
		records = append(records, &kgo.Record{Partition: p, Value: []byte("one")})
	}
	return w.ProduceSync(ctx, records...).FirstErr()
}
