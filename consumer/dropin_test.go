package consumer

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func TestClosedClientIsRefused(t *testing.T) {
	cluster, _ := start(t, 1)
	client, err := sarama.NewClient(cluster.Addrs(), config())
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, client, Config{})
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ConsumePartition(topic, 0, 0); !errors.Is(err, sarama.ErrClosedClient) {
		t.Errorf("ConsumePartition() = %v", err)
	}
	if _, err := New(client, Config{}); !errors.Is(err, sarama.ErrClosedClient) {
		t.Errorf("New() = %v", err)
	}
	if _, err := New(nil, Config{}); err == nil {
		t.Error("New(nil) is no error")
	}
}

func TestBadConfigIsRefused(t *testing.T) {
	_, client := start(t, 1)
	for _, cfg := range []Config{{Patience: -1}, {FetchesAhead: -1}, {FetchesAhead: 1 << 20}} {
		if _, err := New(client, cfg); err == nil {
			t.Errorf("%+v is no error", cfg)
		}
	}
}

func TestCloseLeavesTheClientOpen(t *testing.T) {
	_, client := start(t, 1)
	c := open(t, client, Config{})
	pc := consume(t, c, 0, sarama.OffsetOldest)
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	wantClosed(t, pc)
	if client.Closed() {
		t.Error("the client is closed")
	}
	if _, err := c.ConsumePartition(topic, 0, 0); err == nil {
		t.Error("a closed consumer consumes")
	}
}

func TestStartingOffsets(t *testing.T) {
	_, client := start(t, 1)
	produce(t, client, 0, 0, 10)
	theirs, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]sarama.Consumer{"sarama": theirs, "ours": open(t, client, Config{})} {
		t.Run(name, func(t *testing.T) {
			for offset, want := range map[int64]int64{sarama.OffsetOldest: 0, 0: 0, 9: 9} {
				pc := consume(t, c, 0, offset)
				if got := pc.HighWaterMarkOffset(); got != 10 {
					t.Errorf("the high watermark starts at %d", got)
				}
				if m := receive(t, pc, 1)[0]; m.Offset != want {
					t.Errorf("offset %d starts at %d, want %d", offset, m.Offset, want)
				}
				if err := pc.Close(); err != nil {
					t.Error(err)
				}
			}
			for _, offset := range []int64{sarama.OffsetNewest, 10} {
				pc := consume(t, c, 0, offset)
				wantQuiet(t, pc, 20*time.Millisecond)
				if err := pc.Close(); err != nil {
					t.Error(err)
				}
			}
			for _, bad := range []struct {
				topic     string
				partition int32
				offset    int64
				want      error
			}{
				{topic, 0, 11, sarama.ErrOffsetOutOfRange},
				{topic, 0, -3, sarama.ErrOffsetOutOfRange},
				{topic, 7, sarama.OffsetOldest, sarama.ErrUnknownTopicOrPartition},
				{"none", 0, sarama.OffsetOldest, sarama.ErrUnknownTopicOrPartition},
			} {
				if _, err := c.ConsumePartition(bad.topic, bad.partition, bad.offset); !errors.Is(err, bad.want) {
					t.Errorf("%+v gives %v", bad, err)
				}
			}
		})
	}
}

func TestPartitionIsConsumedOnce(t *testing.T) {
	_, client := start(t, 1)
	c := open(t, client, Config{})
	for range 20 { // at once after Close
		pc := consume(t, c, 0, sarama.OffsetOldest)
		_, err := c.ConsumePartition(topic, 0, 0)
		var conf sarama.ConfigurationError
		if !errors.As(err, &conf) || string(conf) != "That topic/partition is already being consumed" {
			t.Fatalf("a second one: %v", err)
		}
		if err := pc.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChannelsHaveChannelBufferSize(t *testing.T) {
	_, client := start(t, 1, func(c *sarama.Config) { c.ChannelBufferSize = 17 })
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	if cap(pc.Messages()) != 17 || cap(pc.Errors()) != 17 {
		t.Errorf("capacities %d and %d, want 17", cap(pc.Messages()), cap(pc.Errors()))
	}
}

func TestAsyncCloseEndsARangeLoop(t *testing.T) {
	_, client := start(t, 1, func(c *sarama.Config) { c.ChannelBufferSize = 0 })
	produce(t, client, 0, 0, 100)
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	next := int64(0)
	for m := range pc.Messages() {
		if m.Offset != next {
			t.Fatalf("offset %d, want %d", m.Offset, next)
		}
		if next++; next == 50 {
			pc.AsyncClose()
			pc.AsyncClose()
		}
	}
	if next < 50 || next == 100 {
		t.Errorf("%d messages came", next)
	}
}

// Close does not need anybody to read.
func TestCloseWithUnreadMessages(t *testing.T) {
	_, client := start(t, 1, func(c *sarama.Config) { c.ChannelBufferSize = 1 })
	produce(t, client, 0, 0, 100)
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	receive(t, pc, 1)
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingFetchedAfterPauseIsDelivered(t *testing.T) {
	_, client := start(t, 1)
	c := open(t, client, Config{})
	pc := consume(t, c, 0, sarama.OffsetOldest)
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)
	for i, both := range []struct{ pause, resume func() }{
		{pc.Pause, pc.Resume},
		{func() { c.Pause(map[string][]int32{topic: {0}}) }, func() { c.Resume(map[string][]int32{topic: {0}}) }},
		{c.PauseAll, c.ResumeAll},
	} {
		both.pause()
		if !pc.IsPaused() {
			t.Error("it is not paused")
		}
		produce(t, client, 0, i+1, 1) // the fetch that is parked brings it
		wantQuiet(t, pc, 100*time.Millisecond)
		both.resume()
		if m := receive(t, pc, 1)[0]; m.Offset != int64(i+1) {
			t.Errorf("offset %d after resuming, want %d", m.Offset, i+1)
		}
		if pc.IsPaused() {
			t.Error("it is paused")
		}
	}
}

func TestPauseOfTheConsumerOutlivesReconsuming(t *testing.T) {
	_, client := start(t, 1)
	theirs, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]sarama.Consumer{"sarama": theirs, "ours": open(t, client, Config{})} {
		t.Run(name, func(t *testing.T) {
			again := func() sarama.PartitionConsumer { return consume(t, c, 0, sarama.OffsetOldest) }
			c.Pause(map[string][]int32{topic: {0}, "none": {3}}) // what is not consumed: no effect
			pc := again()
			if pc.IsPaused() {
				t.Error("pausing what is not consumed has an effect")
			}
			pc.Pause()
			_ = pc.Close()
			if pc = again(); pc.IsPaused() {
				t.Error("PartitionConsumer.Pause outlives it")
			}
			for name, both := range map[string]struct{ pause, resume func() }{
				"Pause":    {func() { c.Pause(map[string][]int32{topic: {0}}) }, func() { c.Resume(map[string][]int32{topic: {0}}) }},
				"PauseAll": {c.PauseAll, c.ResumeAll},
			} {
				both.pause()
				_ = pc.Close()
				if pc = again(); !pc.IsPaused() {
					t.Errorf("Consumer.%s does not outlive re-consuming", name)
				}
				both.resume()
				_ = pc.Close()
				if pc = again(); pc.IsPaused() {
					t.Errorf("the end of Consumer.%s does not", name)
				}
			}
			_ = pc.Close()
		})
	}
}

// stamp is an interceptor that counts, and panics with even offsets.
type stamp struct {
	seen []int64
}

func (s *stamp) OnConsume(m *sarama.ConsumerMessage) {
	s.seen = append(s.seen, m.Offset)
	m.Value = append([]byte("x"), m.Value...)
	if m.Offset%2 == 0 {
		panic("even")
	}
}

func TestInterceptorsRunOnceInOrder(t *testing.T) {
	one, two := &stamp{}, &stamp{}
	_, client := start(t, 1, func(c *sarama.Config) {
		c.ChannelBufferSize = 3
		c.Consumer.Interceptors = []sarama.ConsumerInterceptor{one, two}
	})
	produce(t, client, 0, 0, 50)
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	for i, m := range receive(t, pc, 50) {
		if want := fmt.Sprintf("xxv%d", i); string(m.Value) != want {
			t.Errorf("value %q, want %q", m.Value, want)
		}
	}
	_ = pc.Close()
	for _, s := range []*stamp{one, two} {
		if len(s.seen) != 50 || !slices.IsSorted(s.seen) {
			t.Errorf("an interceptor saw %v", s.seen)
		}
	}
}
