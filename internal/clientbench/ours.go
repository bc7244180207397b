package main

import (
	"context"
	"errors"
	"sync"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/consumer"
	"github.com/brokermap/brokermap/internal/stall"
)

// ours returns the clients that this repository brings, with default settings: the
// consumer with sarama's interface, and the one that reads in batches.
func ours() []client {
	return []client{
		{stall.SaramaClient("brokermap", stall.SaramaDefault, func(cl sarama.Client) (sarama.Consumer, error) {
			return consumer.New(cl, consumer.Config{})
		}), false},
		{stall.Client{Name: "brokermap batches", Start: func(addrs []string, topic string, partitions int, receive stall.Receive) (func(), error) {
			return startReader(addrs, topic, partitions, receive, 1)
		}}, false},
	}
}

func startReader(addrs []string, topic string, partitions int, receive stall.Receive, loops int) (func(), error) {
	cl, err := sarama.NewClient(addrs, stall.SaramaDefault())
	if err != nil {
		return nil, err
	}
	r, err := consumer.NewReader(cl, consumer.Config{})
	if err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	var reading sync.WaitGroup
	stop := func() {
		_ = r.Close() // what was read is judged, not how it ends
		reading.Wait()
		_ = cl.Close()
	}
	errs := make([]error, partitions)
	var adding sync.WaitGroup
	for p := range int32(partitions) {
		adding.Go(func() { errs[p] = r.Add(topic, p, sarama.OffsetOldest) })
	}
	adding.Wait()
	if err := errors.Join(errs...); err != nil {
		stop()
		return nil, err
	}
	for range loops {
		reading.Go(func() {
			for batch, err := range r.Batches(context.Background()) {
				if err != nil {
					continue
				}
				for i := range batch.Records {
					rec := &batch.Records[i]
					receive(batch.Partition, rec.Offset, rec.Key, rec.Value)
				}
			}
		})
	}
	return stop, nil
}
