package consumer

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

const topic = "t"

// start starts a cluster with one topic, and a client of it.
func start(t testing.TB, partitions int32, set ...func(*sarama.Config)) (*kafkatest.Cluster, sarama.Client) {
	t.Helper()
	cluster, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{topic: partitions}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, connect(t, cluster, set...)
}

func config(set ...func(*sarama.Config)) *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.Consumer.Return.Errors = true
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	for _, f := range set {
		f(conf)
	}
	return conf
}

func connect(t testing.TB, cluster *kafkatest.Cluster, set ...func(*sarama.Config)) sarama.Client {
	t.Helper()
	client, err := sarama.NewClient(cluster.Addrs(), config(set...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func open(t testing.TB, client sarama.Client, cfg Config) sarama.Consumer {
	t.Helper()
	c, err := New(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// produce writes records numbered from, from+1, ... to a partition.
func produce(t testing.TB, client sarama.Client, partition int32, from, n int) {
	t.Helper()
	p, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	var all []*sarama.ProducerMessage
	for i := from; i < from+n; i++ {
		all = append(all, &sarama.ProducerMessage{
			Topic:     topic,
			Partition: partition,
			Key:       sarama.StringEncoder(fmt.Sprintf("k%d", i)),
			Value:     sarama.StringEncoder(fmt.Sprintf("v%d", i)),
			Headers:   []sarama.RecordHeader{{Key: []byte("h"), Value: fmt.Appendf(nil, "%d", i)}},
			Timestamp: time.UnixMilli(1_700_000_000_000 + int64(i)),
		})
	}
	if err := p.SendMessages(all); err != nil {
		t.Fatal(err)
	}
}

const patience = 10 * time.Second

// receive returns the next n messages.
func receive(t testing.TB, pc sarama.PartitionConsumer, n int) []*sarama.ConsumerMessage {
	t.Helper()
	var got []*sarama.ConsumerMessage
	timeout := time.After(patience)
	for len(got) < n {
		select {
		case m, ok := <-pc.Messages():
			if !ok {
				t.Fatalf("the channel was closed after %d of %d messages", len(got), n)
			}
			got = append(got, m)
		case <-timeout:
			t.Fatalf("%d of %d messages came", len(got), n)
		}
	}
	return got
}

func consume(t testing.TB, c sarama.Consumer, partition int32, offset int64) sarama.PartitionConsumer {
	t.Helper()
	pc, err := c.ConsumePartition(topic, partition, offset)
	if err != nil {
		t.Fatal(err)
	}
	return pc
}

func TestSameMessagesAsSarama(t *testing.T) {
	for _, codec := range []sarama.CompressionCodec{
		sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD,
	} {
		t.Run(codec.String(), func(t *testing.T) {
			_, client := start(t, 1, func(c *sarama.Config) { c.Producer.Compression = codec })
			produce(t, client, 0, 0, 300)
			theirs, err := sarama.NewConsumerFromClient(client)
			if err != nil {
				t.Fatal(err)
			}
			pc := consume(t, theirs, 0, 17)
			want := receive(t, pc, 283)
			if err := pc.Close(); err != nil {
				t.Error(err)
			}
			pc = consume(t, open(t, client, Config{}), 0, 17)
			got := receive(t, pc, 283)
			if err := pc.Close(); err != nil {
				t.Error(err)
			}
			for i := range want {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("message %d is\n%+v, sarama's is\n%+v", i, got[i], want[i])
				}
			}
		})
	}
}

func TestMoveIsNoError(t *testing.T) {
	cluster, client := start(t, 3)
	c := open(t, client, Config{})
	pc := consume(t, c, 0, sarama.OffsetOldest)
	for i := range 6 {
		produce(t, client, 0, i, 1)
		if m := receive(t, pc, 1)[0]; string(m.Value) != fmt.Sprintf("v%d", i) {
			t.Fatalf("message %d is %q", i, m.Value)
		}
		if err := cluster.MoveLeader(topic, 0, int32(i+1)%3); err != nil {
			t.Fatal(err)
		}
		if err := client.RefreshMetadata(); err != nil {
			t.Fatal(err)
		}
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}
