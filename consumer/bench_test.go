package consumer

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

var benchRecords = flag.Int("records", 1_000_000, "records of BenchmarkConsume")

const benchPartitions = 12

// fill makes a cluster with records of 100 bytes in twelve partitions.
var fill = sync.OnceValues(func() (*kafkatest.Cluster, error) {
	cluster, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{topic: benchPartitions}})
	if err != nil {
		return nil, err
	}
	conf := config(func(c *sarama.Config) {
		c.Producer.Flush.Frequency = 2 * time.Millisecond
		c.Producer.Flush.MaxMessages = 120
		c.Producer.Return.Successes = false
		c.ChannelBufferSize = 4096
	})
	p, err := sarama.NewAsyncProducer(cluster.Addrs(), conf)
	if err != nil {
		return nil, err
	}
	value := make([]byte, 100)
	for i := range *benchRecords {
		p.Input() <- &sarama.ProducerMessage{Topic: topic, Partition: int32(i % benchPartitions), Value: sarama.ByteEncoder(value)}
	}
	return cluster, p.Close()
})

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkConsume reads everything in twelve partitions once. The CPU is the
// process's, the embedded cluster's included.
func BenchmarkConsume(b *testing.B) {
	cluster, err := fill()
	if err != nil {
		b.Fatal(err)
	}
	channels := func(b *testing.B, c sarama.Consumer, err error) {
		if err != nil {
			b.Fatal(err)
		}
		var all sync.WaitGroup
		for p := range int32(benchPartitions) {
			pc, err := c.ConsumePartition(topic, p, sarama.OffsetOldest)
			if err != nil {
				b.Fatal(err)
			}
			all.Go(func() {
				until := pc.HighWaterMarkOffset() - 1
				for m := range pc.Messages() {
					if m.Offset == until {
						break
					}
				}
				pc.AsyncClose()
			})
		}
		all.Wait()
		_ = c.Close()
	}
	for _, kind := range []struct {
		name string
		run  func(*testing.B, sarama.Client)
	}{
		{"sarama", func(b *testing.B, client sarama.Client) {
			c, err := sarama.NewConsumerFromClient(client)
			channels(b, c, err)
		}},
		{"channel", func(b *testing.B, client sarama.Client) {
			c, err := New(client, Config{})
			channels(b, c, err)
		}},
		{"batch", func(b *testing.B, client sarama.Client) {
			r, err := NewReader(client, Config{})
			if err != nil {
				b.Fatal(err)
			}
			for p := range int32(benchPartitions) {
				if err := r.Add(topic, p, sarama.OffsetOldest); err != nil {
					b.Fatal(err)
				}
			}
			var n atomic.Int64
			for batch, err := range r.Batches(context.Background()) {
				if err != nil {
					b.Fatal(err)
				}
				if n.Add(int64(len(batch.Records))) == int64(*benchRecords) {
					break
				}
			}
			_ = r.Close()
		}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			client, err := sarama.NewClient(cluster.Addrs(), config())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				kind.run(b, client)
			}
			used := cpu() - before
			records := float64(b.N) * float64(*benchRecords)
			b.ReportMetric(float64(used.Nanoseconds())/records, "cpu-ns/record")
			b.ReportMetric(records/b.Elapsed().Seconds()/1e6, "Mrecords/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkDeliver is what becomes of an answer's bytes, up to the user's goroutine:
// read into a buffer, taken apart, sent on a channel.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{100, 1 << 10} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			var wire []byte
			records := 900 << 10 / size
			per := 16 << 10 / size
			value := make([]byte, size)
			for from := 0; from < records; from += per {
				wire = append(wire, encoded(int64(from), min(per, records-from), func(b *kmsg.RecordBatch) {
					b.Records = nil
					for i := range b.NumRecords {
						r := kmsg.Record{OffsetDelta: i, Value: value}
						r.Length = int32(len(r.AppendTo(nil)) - 1)
						b.Records = r.AppendTo(b.Records)
					}
				})...)
			}
			core := &core{conf: config()}
			var chunks atomic.Int64
			chunks.Store(int64(max(b.N, benchPartitions)))
			var working sync.WaitGroup
			b.ReportAllocs()
			before := cpu()
			for range benchPartitions {
				pc := newPartitionConsumer(core, topic, 0)
				working.Go(func() {
					for range pc.messages {
					}
				})
				working.Go(func() {
					defer close(pc.messages)
					for chunks.Add(-1) >= 0 {
						pc.deliver(chunk{records: append(core.buffers.get(len(wire)), wire...)})
					}
				})
			}
			working.Wait()
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(max(b.N, benchPartitions)*records), "cpu-ns/record")
			b.ReportMetric(0, "ns/op")
		})
	}
}
