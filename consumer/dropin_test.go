package consumer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// onFetch has do see every Fetch request, with the broker that it is for. What do
// returns is the answer; nil has the broker answer.
func onFetch(cluster *kafkatest.Cluster, do func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse) {
	fake := cluster.Fake()
	fake.ControlKey(fetchKey, func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if answer := do(fake.CurrentNode(), r.(*kmsg.FetchRequest)); answer != nil {
			return answer, nil, true
		}
		return nil, nil, false
	})
}

// answerTo makes an answer that has for each partition what fill says.
func answerTo(r *kmsg.FetchRequest, fill func(*kmsg.FetchResponseTopicPartition)) *kmsg.FetchResponse {
	answer := r.ResponseKind().(*kmsg.FetchResponse)
	for _, asked := range r.Topics {
		of := kmsg.NewFetchResponseTopic()
		of.Topic, of.TopicID = asked.Topic, asked.TopicID
		for _, p := range asked.Partitions {
			part := kmsg.NewFetchResponseTopicPartition()
			part.Partition, part.PreferredReadReplica = p.Partition, -1
			fill(&part)
			of.Partitions = append(of.Partitions, part)
		}
		answer.Topics = append(answer.Topics, of)
	}
	return answer
}

func answerErr(r *kmsg.FetchRequest, err sarama.KError) *kmsg.FetchResponse {
	return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = int16(err) })
}

// nextError returns the next error of a partition.
func nextError(t testing.TB, pc sarama.PartitionConsumer) error {
	t.Helper()
	select {
	case e, ok := <-pc.Errors():
		if !ok {
			t.Fatal("Errors was closed")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no error came")
	}
	return nil
}

// wantClosed waits for a partition's channels to be closed.
func wantClosed(t testing.TB, pc sarama.PartitionConsumer) {
	t.Helper()
	timeout := time.After(patience)
	for messages, errs := pc.Messages(), pc.Errors(); messages != nil || errs != nil; {
		select {
		case m, ok := <-messages:
			if !ok {
				messages = nil
			} else {
				t.Errorf("a message at %d", m.Offset)
			}
		case e, ok := <-errs:
			if !ok {
				errs = nil
			} else {
				t.Errorf("one more error: %v", e)
			}
		case <-timeout:
			t.Fatal("the channels stay open")
		}
	}
}

// wantQuiet fails where a message comes within a time.
func wantQuiet(t testing.TB, pc sarama.PartitionConsumer, d time.Duration) {
	t.Helper()
	select {
	case m, ok := <-pc.Messages():
		if ok {
			t.Fatalf("a message at %d", m.Offset)
		}
		t.Fatal("the channel was closed")
	case <-time.After(d):
	}
}

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

func TestLostConnectionIsReportedAndRetried(t *testing.T) {
	cluster, client := start(t, 1)
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	for i := range 3 {
		produce(t, client, 0, i, 1)
		receive(t, pc, 1)
		if _, err := cluster.Drop(0); err != nil {
			t.Fatal(err)
		}
		err := nextError(t, pc)
		var e *sarama.ConsumerError
		if !errors.As(err, &e) || e.Topic != topic || e.Partition != 0 {
			t.Errorf("%v is no error of the partition", err)
		}
	}
}

// The backoff function counts 1, 2, 3; at Max the partition gives up. Theirs and
// ours do the same.
func TestRetriesAreExhausted(t *testing.T) {
	for _, name := range []string{"sarama", "ours"} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var counts []int
			cluster, client := start(t, 1, func(c *sarama.Config) {
				c.Metadata.Retry.Max = 0
				c.Consumer.Retry.Max = 3
				c.Consumer.Retry.BackoffFunc = func(n int) time.Duration {
					mu.Lock()
					defer mu.Unlock()
					counts = append(counts, n)
					return 20 * time.Millisecond
				}
			})
			c, err := sarama.NewConsumerFromClient(client)
			if name == "ours" {
				c, err = New(client, Config{})
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			pc := consume(t, c, 0, sarama.OffsetOldest)
			wantQuiet(t, pc, 100*time.Millisecond)
			for id := range cluster.Addrs() {
				if err := cluster.Kill(int32(id)); err != nil {
					t.Fatal(err)
				}
			}
			n := 0
			for ; ; n++ {
				if err := nextError(t, pc); errors.Is(err, sarama.ErrConsumerRetriesExhausted) {
					break
				}
			}
			if n < 1 || n > 4 {
				t.Errorf("%d errors before it gave up", n)
			}
			wantClosed(t, pc)
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(counts, []int{1, 2, 3}) {
				t.Errorf("the backoff function was called with %v", counts)
			}
		})
	}
}

func TestRetriesStartAgainAfterASuccess(t *testing.T) {
	var mu sync.Mutex
	var counts []int
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.Consumer.Retry.BackoffFunc = func(n int) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			counts = append(counts, n)
			return time.Hour // one report in a row
		}
	})
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	for i := range 3 {
		produce(t, client, 0, i, 1)
		receive(t, pc, 1)
		if _, err := cluster.Drop(0); err != nil {
			t.Fatal(err)
		}
		_ = nextError(t, pc)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(counts, []int{1, 1, 1}) {
		t.Errorf("the backoff function was called with %v", counts)
	}
}

func TestBackoffMayBeZero(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) { c.Consumer.Retry.Backoff = 0 })
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	if err := cluster.Kill(0); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_ = nextError(t, pc)
	}
	if err := cluster.Revive(0); err != nil {
		t.Fatal(err)
	}
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)
}

// Errors that nobody reads stop nothing.
func TestErrorsMayGoUnread(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.ChannelBufferSize = 0
		c.Consumer.Retry.Backoff = 0
	})
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	for i := range 5 {
		if _, err := cluster.Drop(0); err != nil {
			t.Fatal(err)
		}
		produce(t, client, 0, i, 1)
		receive(t, pc, 1)
	}
	var errs sarama.ConsumerErrors
	if err := pc.Close(); !errors.As(err, &errs) || len(errs) == 0 {
		t.Errorf("Close() = %v, want the errors", err)
	}
}

func TestErrorsAreReturnedOnlyWhereAskedFor(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) { c.Consumer.Return.Errors = false })
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	for i := range 3 {
		if _, err := cluster.Drop(0); err != nil {
			t.Fatal(err)
		}
		produce(t, client, 0, i, 1)
		receive(t, pc, 1)
	}
	if err := pc.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

func TestOutOfRangeClosesThePartition(t *testing.T) {
	cluster, client := start(t, 1)
	produce(t, client, 0, 0, 10)
	pc := consume(t, open(t, client, Config{}), 0, 3)
	receive(t, pc, 7)
	var confirmed atomic.Bool
	cluster.Fake().ControlKey(2, func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.Fake().KeepControl()
		confirmed.Store(true)
		answer := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		of := kmsg.NewListOffsetsResponseTopic()
		of.Topic = topic
		p := kmsg.NewListOffsetsResponseTopicPartition()
		p.Offset = 20 // both ends: retention took everything before
		of.Partitions = append(of.Partitions, p)
		answer.Topics = append(answer.Topics, of)
		return answer, nil, true
	})
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		return answerErr(r, sarama.ErrOffsetOutOfRange)
	})
	if err := nextError(t, pc); !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		t.Errorf("the error is %v", err)
	}
	wantClosed(t, pc)
	if !confirmed.Load() {
		t.Error("the range was not asked for")
	}
}

// A thawed old leader calls offsets out of range that are not.
func TestOutOfRangeIsNotBelievedAtOnce(t *testing.T) {
	cluster, client := start(t, 1)
	produce(t, client, 0, 0, 10)
	pc := consume(t, open(t, client, Config{}), 0, 0)
	receive(t, pc, 10)
	var lies atomic.Int64
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		if lies.Add(1) <= 5 {
			return answerErr(r, sarama.ErrOffsetOutOfRange)
		}
		return nil
	})
	produce(t, client, 0, 10, 1)
	if m := receive(t, pc, 1)[0]; m.Offset != 10 {
		t.Errorf("offset %d", m.Offset)
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

func TestForbiddenTopicEndsOnlyItsPartition(t *testing.T) {
	cluster, client := start(t, 2)
	c := open(t, client, Config{})
	var fetches atomic.Int64
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		for _, p := range r.Topics[0].Partitions {
			if p.Partition == 0 {
				fetches.Add(1)
				return answerErr(r, sarama.ErrTopicAuthorizationFailed)
			}
		}
		return nil
	})
	bad, good := consume(t, c, 0, sarama.OffsetOldest), consume(t, c, 1, sarama.OffsetOldest)
	if err := nextError(t, bad); !errors.Is(err, sarama.ErrTopicAuthorizationFailed) {
		t.Errorf("the error is %v", err)
	}
	wantClosed(t, bad)
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches of what is forbidden", n)
	}
	produce(t, client, 1, 0, 1)
	receive(t, good, 1)
}

// A broker that refuses a partition for no known reason is asked again at the pace
// of Consumer.Retry.
func TestRefusalsAreReportedAndPaced(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) { c.Consumer.Retry.Backoff = 50 * time.Millisecond })
	var fetches atomic.Int64
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		if fetches.Add(1) <= 3 {
			return answerErr(r, sarama.ErrKafkaStorageError)
		}
		return nil
	})
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	begun := time.Now()
	for range 3 {
		if err := nextError(t, pc); !errors.Is(err, sarama.ErrKafkaStorageError) {
			t.Errorf("the error is %v", err)
		}
	}
	if d := time.Since(begun); d < 100*time.Millisecond {
		t.Errorf("three refusals in %v", d)
	}
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)
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
