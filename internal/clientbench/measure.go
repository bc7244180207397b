package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// shape is what a topic looks like.
type shape struct {
	Partitions, Size, Records int
}

func (s shape) String() string {
	size := fmt.Sprintf("%d B", s.Size)
	if s.Size >= 1024 {
		size = fmt.Sprintf("%d KiB", s.Size/1024)
	}
	return fmt.Sprintf("%s, %d partitions", size, s.Partitions)
}

// throughputResult is what the clients made of one shape, round by round.
type throughputResult struct {
	Shape  shape
	Rounds map[string][]consumed // by client
}

func throughput(ctx context.Context, o options, picked []client, addrs []string, bed kafkatest.Testbed) ([]throughputResult, error) {
	var shapes []shape
	for _, p := range o.partitions {
		shapes = append(shapes, shape{p, 100, 1_000_000}, shape{p, 1024, 250_000})
	}
	var all []throughputResult
	for _, s := range shapes {
		if o.quick {
			s.Records /= 10
		}
		s.Records -= s.Records % s.Partitions
		topic := fmt.Sprintf("throughput-%d-%d", s.Partitions, s.Size)
		if err := load(ctx, addrs, bed, topic, s); err != nil {
			return all, err
		}
		res := throughputResult{s, make(map[string][]consumed)}
		stuck := make(map[string]bool)    // patience is long
		for round := range o.rounds + 1 { // the first one only warms up
			for i := range picked {
				c := picked[(i+round)%len(picked)]
				if c.tuned || stuck[c.Name] {
					continue
				}
				if err := ctx.Err(); err != nil {
					return all, err
				}
				m, err := measure(task{Kind: "consume", Client: c.Name, Addrs: addrs, Topic: topic, Partitions: s.Partitions, Records: s.Records})
				if err != nil {
					report("%s: %s: %v", s, c.Name, err)
					stuck[c.Name] = true
					continue
				}
				if m.Wrong > 0 {
					return all, fmt.Errorf("%s: %s: %d records came twice or not in order", s, c.Name, m.Wrong)
				}
				report("%s: %-14s %6.0f records/ms, %4.0f ns CPU a record, %d MiB", s, c.Name, float64(s.Records)/float64(m.Wall.Milliseconds()+1),
					float64(m.CPU)/float64(s.Records), m.RSS>>20)
				if round > 0 || o.rounds == 1 {
					res.Rounds[c.Name] = append(res.Rounds[c.Name], m)
				}
			}
		}
		all = append(all, res)
	}
	return all, nil
}

// createTopic creates a topic whose leaders are spread over three brokers.
func createTopic(ctx context.Context, addrs []string, bed kafkatest.Testbed, topic string, partitions int) error {
	if bed != nil {
		return bed.CreateTopic(topic, int32(partitions))
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		return err
	}
	defer cl.Close()
	r, err := kadm.NewClient(cl).CreateTopic(ctx, int32(partitions), 1, nil, topic)
	if err != nil {
		return err
	}
	return r.Err
}

// producer returns a client that writes to the partition that a record names.
func producer(addrs []string, topic string, options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addrs...),
		kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}, options...)...)
}

// load makes a topic and fills it, with the batches of 16 KiB that most producers
// make.
func load(ctx context.Context, addrs []string, bed kafkatest.Testbed, topic string, s shape) error {
	if err := createTopic(ctx, addrs, bed, topic, s.Partitions); err != nil {
		return err
	}
	cl, err := producer(addrs, topic, kgo.ProducerLinger(20*time.Millisecond), kgo.ProducerBatchMaxBytes(16<<10), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	failed := make(chan error, 1)
	for i := range s.Records {
		// Run after run into one partition, or with many partitions no batch fills.
		per := s.Records / s.Partitions
		r := &kgo.Record{Partition: int32(i / per), Value: make([]byte, s.Size)}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return fmt.Errorf("load %s: %w", topic, err)
	default:
		return nil
	}
}

// latencyResult is what the clients made of a rate, round by round.
type latencyResult struct {
	Rate   int // records a second
	Rounds map[string][]consumed
}

const (
	latencyPartitions = 12
	latencyTime       = 5 * time.Second // that counts, after one second that does not
)

// latency has records written at a fixed rate, and each client take the time from
// when a record was made to when it was given it.
func latency(ctx context.Context, o options, picked []client, addrs []string, bed kafkatest.Testbed) ([]latencyResult, error) {
	var all []latencyResult
	for _, rate := range []int{1200} {
		res := latencyResult{rate, make(map[string][]consumed)}
		for round := range min(o.rounds, 3) {
			for i := range picked {
				c := picked[(i+round)%len(picked)]
				topic := fmt.Sprintf("latency-%d-%d-%d", rate, round, i)
				m, err := latencyOf(ctx, c, addrs, bed, topic, rate)
				if err != nil {
					return all, fmt.Errorf("%s: %w", c.Name, err)
				}
				report("%-14s p50 %v, p99 %v, worst %v", c.Name, m.P50.Round(time.Microsecond), m.P99.Round(time.Microsecond), m.Worst.Round(time.Microsecond))
				res.Rounds[c.Name] = append(res.Rounds[c.Name], m)
			}
		}
		all = append(all, res)
	}
	return all, nil
}

func latencyOf(ctx context.Context, c client, addrs []string, bed kafkatest.Testbed, topic string, rate int) (consumed, error) {
	if err := createTopic(ctx, addrs, bed, topic, latencyPartitions); err != nil {
		return consumed{}, err
	}
	return latencyWith(ctx, task{Client: c.Name, Addrs: addrs, Topic: topic}, rate, nil)
}

// latencyWith has a child consume while records are written at a rate to every
// partition, but for the idle ones that are read nonetheless: nothing can be written
// to those. strike is called when the time begins that counts.
func latencyWith(ctx context.Context, t task, rate int, strike func() error) (consumed, error) {
	var m consumed
	cl, err := producer(t.Addrs, t.Topic, kgo.ProducerLinger(0), kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	if err != nil {
		return m, err
	}
	defer cl.Close()
	records := rate * int((latencyTime+time.Second)/time.Second)
	records -= records % latencyPartitions
	t.Kind, t.Partitions, t.Records, t.Skip = "latency", latencyPartitions, records, rate/latencyPartitions
	p, err := start(t)
	if err != nil {
		return m, err
	}
	defer p.end()
	time.Sleep(500 * time.Millisecond) // for the child to begin; what is too early does not count
	began := time.Now()
	for i := range records {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if d := time.Until(due); d > 0 {
			time.Sleep(d)
		}
		if strike != nil && time.Since(began) >= time.Second {
			if err := strike(); err != nil {
				return m, err
			}
			strike = nil
		}
		to := int32(i % latencyPartitions)
		if !t.Unread && slices.Contains(t.Idle, to) {
			continue
		}
		v := make([]byte, 100)
		binary.BigEndian.PutUint64(v[8:], uint64(time.Now().UnixNano()))
		cl.Produce(ctx, &kgo.Record{Partition: to, Value: v}, nil)
	}
	if err := cl.Flush(ctx); err != nil {
		return m, err
	}
	return m, p.result(&m)
}
