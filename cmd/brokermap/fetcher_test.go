package main

import (
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/mapper"
)

// notices takes the mapper's place.
type notices struct {
	triggered chan mapper.Worker
	failed    chan error
	broken    chan *sarama.Broker
}

func newNotices() *notices {
	return &notices{make(chan mapper.Worker, 100), make(chan error, 100), make(chan *sarama.Broker, 100)}
}

func (n *notices) TriggerReassign(w mapper.Worker)           { n.triggered <- w }
func (n *notices) BrokerFailed(_ mapper.Executor, err error) { n.failed <- err }

// startFetcher starts an executor for a broker; it is stopped when the test ends,
// unless that was done.
func startFetcher(t *testing.T, c *kafkatest.Cluster, broker int) (*fetcher, *notices) {
	t.Helper()
	n := newNotices()
	f := newFetcher(sarama.NewBroker(c.Addrs()[broker]))
	f.broker, f.topic = int32(broker), testTopic
	f.notify, f.broken = n, func(b *sarama.Broker) { n.broken <- b }
	f.log = &console{out: io.Discard}
	f.fetched = new(atomic.Int64)
	go f.run()
	t.Cleanup(func() {
		select {
		case <-f.stopping:
		default:
			f.Stop()
		}
	})
	return f, n
}

func testWorker(partition int32) *worker {
	return &worker{partition: partition, batches: make(chan batch, batchesAhead)}
}

// write appends n records to a partition, one batch each, and returns nothing:
// offsets count from 0.
func write(t *testing.T, c *kafkatest.Cluster, partition int32, n int) {
	t.Helper()
	leaders, err := c.Leaders(testTopic)
	if err != nil {
		t.Fatal(err)
	}
	err = withBroker(t.Context(), c.Addrs()[leaders[partition]], func(b *sarama.Broker) error {
		for range n {
			r := &sarama.ProduceRequest{Version: 9, RequiredAcks: sarama.WaitForAll, Timeout: 1000}
			r.AddBatch(testTopic, partition, &sarama.RecordBatch{
				Version: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
				FirstTimestamp: time.Now(), MaxTimestamp: time.Now(),
				Records: []*sarama.Record{record(partition, 0)},
			})
			answer, err := b.Produce(r)
			if err != nil {
				return err
			}
			if e := answer.GetBlock(testTopic, partition).Err; e != sarama.ErrNoError {
				return e
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// take returns the offsets of the records up to one, from a worker's channel.
func take(t *testing.T, f *fetcher, w *worker, upTo int64) []int64 {
	t.Helper()
	var offsets []int64
	for len(offsets) == 0 || offsets[len(offsets)-1] < upTo {
		b := await(t, w.batches)
		b.each(func(offset int64, _ *sarama.Record) { offsets = append(offsets, offset) })
		f.nudge()
	}
	return offsets
}

// await returns what comes out of a channel, which must be soon.
func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func TestFetcherDeliversAndHandsOver(t *testing.T) {
	c := startTopic(t, 6)
	write(t, c, 0, 5)
	write(t, c, 3, 2)
	f, n := startFetcher(t, c, 0)
	a, b := testWorker(0), testWorker(3)
	sub := f.subscribe(a, position{}, -1)
	f.subscribe(b, position{offset: 1}, -1)
	if got := take(t, f, a, 4); !slices.Equal(got, []int64{0, 1, 2, 3, 4}) {
		t.Errorf("offsets %v", got)
	}
	if got := take(t, f, b, 1); !slices.Equal(got, []int64{1}) {
		t.Errorf("offsets %v from 1 on", got)
	}
	at := f.release(a, sub)
	if at != (position{offset: 5}) {
		t.Errorf("handed over at %+v, want 5", at)
	}
	if f.renew(a, sub, 1) {
		t.Error("a released subscription is renewed")
	}
	write(t, c, 0, 1)
	write(t, c, 3, 1)
	take(t, f, b, 2) // a fetch later than both
	if len(a.batches) > 0 {
		t.Error("delivered after the release")
	}
	again := f.subscribe(a, at, -1)
	if got := take(t, f, a, 5); !slices.Equal(got, []int64{5}) {
		t.Errorf("offsets %v after the hand-over", got)
	}
	if !f.renew(a, again, -1) {
		t.Error("a living subscription is not renewed")
	}
	if got := f.fetched.Load(); got != 9-1 {
		t.Errorf("%d records fetched", got)
	}
	f.Stop()
	if len(n.failed)+len(n.triggered)+len(n.broken) > 0 {
		t.Error("stopping was reported as a failure")
	}
}

func TestFetcherHoldsBackForABusyWorker(t *testing.T) {
	c := startTopic(t, 6)
	f, _ := startFetcher(t, c, 0)
	busy, idle := testWorker(0), testWorker(3)
	for range cap(busy.batches) {
		busy.batches <- batch{} // not read yet
	}
	write(t, c, 0, 3)
	f.subscribe(busy, position{}, -1)
	f.subscribe(idle, position{}, -1)
	for offset := range int64(5) { // goes on beside it
		write(t, c, 3, 1)
		if got := take(t, f, idle, offset); !slices.Equal(got, []int64{offset}) {
			t.Errorf("offsets %v, want %d", got, offset)
		}
	}
	for range cap(busy.batches) {
		if b := <-busy.batches; b.len() > 0 {
			t.Error("delivered into a channel without room")
		}
	}
	f.nudge()
	if got := take(t, f, busy, 2); !slices.Equal(got, []int64{0, 1, 2}) {
		t.Errorf("offsets %v", got)
	}
}

func TestFetcherAsksForAnotherLeader(t *testing.T) {
	c := startTopic(t, 6)
	write(t, c, 1, 1)
	f, n := startFetcher(t, c, 0)
	w := testWorker(1) // led by broker 1
	sub := f.subscribe(w, position{offset: 1}, -1)
	if got := await(t, n.triggered); got != w {
		t.Errorf("%v is to be reassigned", got)
	}
	if f.renew(w, sub, -1) {
		t.Error("a rejected subscription is renewed")
	}
	if at := f.release(w, sub); at.offset != 1 {
		t.Errorf("handed over at %+v", at)
	}

	stays := testWorker(3)
	write(t, c, 3, 1)
	if err := c.MoveLeader(testTopic, 3, 1); err != nil {
		t.Fatal(err)
	}
	if err := c.MoveLeader(testTopic, 3, 0); err != nil {
		t.Fatal(err)
	}
	f.subscribe(stays, position{}, 0) // an epoch that is over
	if got := await(t, n.triggered); got != stays {
		t.Errorf("%v is to be reassigned", got)
	}
	if len(n.failed) > 0 {
		t.Error("a rejection was reported as a failure of the broker")
	}
}

func TestFetcherThatServedIsDeadWhenItsConnectionBreaks(t *testing.T) {
	c := startTopic(t, 6)
	write(t, c, 0, 1)
	f, n := startFetcher(t, c, 0)
	w := testWorker(0)
	f.subscribe(w, position{}, -1)
	take(t, f, w, 0)
	if _, err := c.Drop(0); err != nil {
		t.Fatal(err)
	}
	if err := await(t, n.failed); err == nil {
		t.Error("failed without an error")
	}
	if got := await(t, n.broken); got != f.conn {
		t.Error("the wrong connection is given up")
	}
	late := testWorker(3) // was assigned to it before the resolver knew
	sub := f.subscribe(late, position{offset: 7}, -1)
	if got := await(t, n.triggered); got != late {
		t.Errorf("%v is to be reassigned", got)
	}
	if at := f.release(late, sub); at.offset != 7 {
		t.Errorf("handed over at %+v", at)
	}
}

func TestFetcherTriesAgainWhereNobodyAnswered(t *testing.T) {
	c := startTopic(t, 6)
	write(t, c, 0, 1)
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	f, n := startFetcher(t, c, 0)
	w := testWorker(0)
	for range 2 {
		f.subscribe(w, position{}, -1)
		if err := await(t, n.failed); err == nil {
			t.Error("failed without an error")
		}
	}
	if len(n.broken) > 0 {
		t.Error("a connection that never was is given up")
	}
	if err := c.Revive(0); err != nil {
		t.Fatal(err)
	}
	f.subscribe(w, position{}, -1)
	take(t, f, w, 0)
}

func TestFetcherStopInterruptsFrozenBroker(t *testing.T) {
	c := startTopic(t, 6)
	write(t, c, 0, 1)
	f, n := startFetcher(t, c, 0)
	w := testWorker(0)
	f.subscribe(w, position{}, -1)
	take(t, f, w, 0)
	if err := c.Freeze(0); err != nil {
		t.Fatal(err)
	}
	f.Stop()
	if len(n.failed) > 0 {
		t.Errorf("stopping was reported as a failure: %v", <-n.failed)
	}

	silent, n := startFetcher(t, c, 0) // stopped, or given up, before it was ever connected
	silent.subscribe(w, position{}, -1)
	silent.Stop()
	frozen, n2 := startFetcher(t, c, 0)
	frozen.subscribe(w, position{}, -1)
	if err := await(t, n2.failed); err == nil {
		t.Error("a frozen broker is waited for without an error")
	}
	if len(n.broken)+len(n2.broken) > 0 {
		t.Error("a connection that never served is given up")
	}
}

func TestFetcherRewindsOnlyAConfirmedOffset(t *testing.T) {
	c := startTopic(t, 6)
	write(t, c, 0, 2)
	f, n := startFetcher(t, c, 0)
	w := testWorker(0)
	at := position{offset: 1000}
	for strike := 1; strike <= confirmations; strike++ {
		sub := f.subscribe(w, at, -1)
		if got := await(t, n.triggered); got != w {
			t.Errorf("%v is to be reassigned", got)
		}
		if at = f.release(w, sub); at != (position{1000, strike}) {
			t.Errorf("handed over at %+v after %d strikes", at, strike)
		}
	}
	f.subscribe(w, at, -1)
	if got := take(t, f, w, 1); !slices.Equal(got, []int64{0, 1}) {
		t.Errorf("offsets %v, want the oldest", got)
	}
}
