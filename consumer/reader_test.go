package consumer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

func read(t testing.TB, client sarama.Client, cfg Config) *Reader {
	t.Helper()
	r, err := NewReader(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// bounded returns a context that ends when a test takes too long.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestReaderHandsOutEveryPartitionInOrder(t *testing.T) {
	_, client := start(t, 3)
	for p := range int32(3) {
		produce(t, client, p, 0, 200)
	}
	r := read(t, client, Config{})
	for p := range int32(3) {
		if err := r.Add(topic, p, sarama.OffsetOldest); err != nil {
			t.Fatal(err)
		}
	}
	next, n := make(map[int32]int64), 0
	for b, err := range r.Batches(bounded(t)) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range b.Records {
			rec := &b.Records[i]
			if rec.Offset != next[b.Partition] {
				t.Fatalf("partition %d: offset %d, want %d", b.Partition, rec.Offset, next[b.Partition])
			}
			next[b.Partition]++
			if want := fmt.Sprintf("v%d", rec.Offset); string(rec.Value) != want {
				t.Fatalf("value %q, want %q", rec.Value, want)
			}
			if h := rec.Headers(); len(h) != 1 || string(h[0].Value) != fmt.Sprint(rec.Offset) {
				t.Fatalf("headers %v of offset %d", h, rec.Offset)
			}
			if want := time.UnixMilli(1_700_000_000_000 + rec.Offset); !rec.Time().Equal(want) {
				t.Fatalf("time %v, want %v", rec.Time(), want)
			}
		}
		if b.Next() != next[b.Partition] || b.HighWaterMark != 200 {
			t.Fatalf("next %d, high watermark %d", b.Next(), b.HighWaterMark)
		}
		if n += len(b.Records); n == 600 {
			break
		}
	}
	if n != 600 {
		t.Fatalf("%d records of 600", n)
	}
	for p, offset := range r.Positions()[topic] {
		if offset != 200 {
			t.Errorf("position of partition %d is %d, want 200", p, offset)
		}
	}
}

// A loop that is left, a partition that is removed and added again: every record
// comes once.
func TestReaderResumes(t *testing.T) {
	_, client := start(t, 1)
	for i := range 50 {
		produce(t, client, 0, 2*i, 2)
	}
	r := read(t, client, Config{})
	if err := r.Add(topic, 0, 10); err != nil {
		t.Fatal(err)
	}
	want := int64(10)
	for want < 100 {
		for b, err := range r.Batches(bounded(t)) {
			if err != nil {
				t.Fatal(err)
			}
			if b.Records[0].Offset != want {
				t.Fatalf("offset %d, want %d", b.Records[0].Offset, want)
			}
			want = b.Next()
			break
		}
		if want%3 != 0 {
			continue
		}
		next, err := r.Remove(topic, 0)
		if err != nil || next != want {
			t.Fatalf("Remove() = %d, %v, want %d", next, err, want)
		}
		if err := r.Add(topic, 0, next); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReaderReportsErrors(t *testing.T) {
	_, client := start(t, 1)
	r := read(t, client, Config{})
	if err := r.Add(topic, 0, 7); !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		t.Errorf("Add() = %v, want out of range", err)
	}
	if err := r.Add("none", 0, sarama.OffsetOldest); !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("Add() = %v, want unknown topic", err)
	}
	if _, err := r.Remove(topic, 0); err == nil {
		t.Error("Remove() of what is not consumed is no error")
	}
}

func TestReaderCloseEndsLoops(t *testing.T) {
	_, client := start(t, 1)
	r := read(t, client, Config{})
	if err := r.Add(topic, 0, sarama.OffsetOldest); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range r.Batches(context.Background()) {
			t.Error("a batch of an empty partition")
		}
	}()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the loop goes on")
	}
	for range r.Batches(context.Background()) {
		t.Error("a batch of a closed reader")
	}
}

// A batch is not overwritten before the loop asks for the next one, though fetches
// go on meanwhile.
func TestBatchIsValidUntilTheNext(t *testing.T) {
	_, client := start(t, 1, func(c *sarama.Config) { c.Consumer.Fetch.Default = 8 << 10 })
	const records = 5000
	for i := range 10 {
		produce(t, client, 0, i*records/10, records/10)
	}
	r := read(t, client, Config{FetchesAhead: 1})
	if err := r.Add(topic, 0, sarama.OffsetOldest); err != nil {
		t.Fatal(err)
	}
	n := 0
	for b, err := range r.Batches(bounded(t)) {
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond) // the next answers come
		for i := range b.Records {
			if rec := &b.Records[i]; string(rec.Value) != fmt.Sprintf("v%d", rec.Offset) {
				t.Fatalf("value %q at offset %d", rec.Value, rec.Offset)
			}
		}
		if n += len(b.Records); n == records {
			return
		}
	}
	t.Errorf("%d records", n)
}
