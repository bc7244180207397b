package consumer

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
