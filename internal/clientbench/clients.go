package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/brokermap/brokermap/internal/stall"
)

// A client consumes all partitions of a topic. The names are those of the tables.
type client struct {
	stall.Client
	// tuned says that its settings are for failing over fast, and are no others for
	// throughput.
	tuned bool
}

// clients returns what is compared, ours first.
func clients() []client {
	return append(ours(),
		client{stall.SaramaClient("sarama", stall.SaramaDefault, sarama.NewConsumerFromClient), false},
		client{stall.SaramaClient("sarama tuned", stall.SaramaTuned, sarama.NewConsumerFromClient), false},
		client{franz("franz-go"), false},
		client{franz("franz-go tuned",
			kgo.FetchMaxWait(100*time.Millisecond),
			kgo.MetadataMinAge(50*time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
			kgo.RequestTimeoutOverhead(2*time.Second),
			kgo.DialTimeout(2*time.Second),
		), true},
		client{stall.Client{Name: "librdkafka", Start: startLibrdkafka}, false},
		client{stall.Client{Name: "kafka-go", Start: startSegmentio}, false},
	)
}

// pick returns the clients with these names; all of them for none.
func pick(names string) ([]client, error) {
	all := clients()
	if names == "" {
		return all, nil
	}
	var picked []client
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(c client) bool { return c.Name == name })
		if i < 0 {
			var known []string
			for _, c := range all {
				known = append(known, c.Name)
			}
			return nil, fmt.Errorf("%q is no client: there are %s", name, strings.Join(known, ", "))
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}

func franz(name string, options ...kgo.Opt) stall.Client { return franzPaused(name, nil, options...) }

// franzPaused does not fetch from some partitions.
func franzPaused(name string, paused []int32, options ...kgo.Opt) stall.Client {
	return stall.Client{Name: name, Start: func(addrs []string, topic string, partitions int, receive stall.Receive) (func(), error) {
		from := make(map[int32]kgo.Offset)
		for p := range int32(partitions) {
			from[p] = kgo.NewOffset().AtStart()
		}
		cl, err := kgo.NewClient(append([]kgo.Opt{
			kgo.SeedBrokers(addrs...),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		}, options...)...)
		if err != nil {
			return nil, err
		}
		if len(paused) > 0 {
			cl.PauseFetchPartitions(map[string][]int32{topic: paused})
		}
		ctx, cancel := context.WithCancel(context.Background())
		var polling sync.WaitGroup
		polling.Go(func() {
			for {
				fetches := cl.PollFetches(ctx)
				if ctx.Err() != nil {
					return
				}
				fetches.EachRecord(func(r *kgo.Record) { receive(r.Partition, r.Offset, r.Key, r.Value) })
			}
		})
		return func() {
			cancel()
			polling.Wait()
			cl.Close()
		}, nil
	}}
}

func startLibrdkafka(addrs []string, topic string, partitions int, receive stall.Receive) (func(), error) {
	c, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers":  strings.Join(addrs, ","),
		"group.id":           "clientbench", // it must have one; nothing is committed
		"enable.auto.commit": false,
		"log_level":          0, // its lines would be among the results
	})
	if err != nil {
		return nil, err
	}
	var from []kafka.TopicPartition
	for p := range int32(partitions) {
		from = append(from, kafka.TopicPartition{Topic: &topic, Partition: p, Offset: kafka.OffsetBeginning})
	}
	if err := c.Assign(from); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	done := make(chan struct{})
	var polling sync.WaitGroup
	polling.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if m, ok := c.Poll(100).(*kafka.Message); ok && m.TopicPartition.Error == nil {
				receive(m.TopicPartition.Partition, int64(m.TopicPartition.Offset), m.Key, m.Value)
			}
		}
	})
	return func() {
		close(done)
		polling.Wait()
		_ = c.Close() // what was read is judged, not how it ends
	}, nil
}

// startSegmentio has a Reader for each partition: that is how kafka-go consumes
// without a group.
func startSegmentio(addrs []string, topic string, partitions int, receive stall.Receive) (func(), error) {
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	for p := range partitions {
		r := segmentio.NewReader(segmentio.ReaderConfig{
			Brokers:   addrs,
			Topic:     topic,
			Partition: p,
			// By default the broker waits for 10 s where there is little.
			MaxWait: 500 * time.Millisecond,
		})
		reading.Go(func() {
			defer r.Close() //nolint:errcheck // what was read is judged, not how it ends
			for {
				m, err := r.ReadMessage(ctx)
				if ctx.Err() != nil || errors.Is(err, io.EOF) {
					return
				}
				if err == nil {
					receive(int32(m.Partition), m.Offset, m.Key, m.Value)
				}
			}
		})
	}
	return func() {
		cancel()
		reading.Wait()
	}, nil
}
