package consumer

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Others refresh the client's metadata; an old leader may go on answering.
func TestClientsMetadataIsFollowed(t *testing.T) {
	cluster, client := start(t, 1)
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)
	if err := cluster.MoveLeader(topic, 0, 1); err != nil {
		t.Fatal(err)
	}
	onFetch(cluster, func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		if broker != 0 {
			return nil
		}
		cluster.Fake().SleepControl(func() { time.Sleep(20 * time.Millisecond) })
		return answerTo(r, func(*kmsg.FetchResponseTopicPartition) {}) // as a follower does
	})
	if err := client.RefreshMetadata(topic); err != nil {
		t.Fatal(err)
	}
	produce(t, client, 0, 1, 1)
	if m := receive(t, pc, 1)[0]; m.Offset != 1 {
		t.Errorf("offset %d", m.Offset)
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

// The leader names a replica that is nearer (KIP-392); an error there leads back,
// and so does the end of its lease.
func TestPreferredReplicaIsFetchedFrom(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.RackID = "near"
		c.Metadata.RefreshFrequency = 300 * time.Millisecond // the lease
	})
	produce(t, client, 0, 0, 1)
	var mu sync.Mutex
	var asked []int32
	failed := false
	fails := func(broker int32) bool {
		mu.Lock()
		defer mu.Unlock()
		if len(asked) == 0 || asked[len(asked)-1] != broker {
			asked = append(asked, broker)
		}
		first := broker == 2 && !failed
		if first {
			failed = true
			asked = append(asked, -1)
		}
		return first
	}
	onFetch(cluster, func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		if r.Rack != "near" {
			t.Errorf("rack %q", r.Rack)
		}
		switch {
		case fails(broker):
			return answerErr(r, sarama.ErrOffsetOutOfRange)
		case broker == 0:
			return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) { p.PreferredReadReplica = 2 })
		}
		time.Sleep(time.Millisecond) // of the whole cluster: kfake may lock up when it is closed in a SleepControl
		return answerTo(r, func(*kmsg.FetchResponseTopicPartition) {})
	})
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	want := []int32{0, 2, -1, 0, 2, 0, 2}
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		got := slices.Clone(asked)
		mu.Unlock()
		left := want
		for _, broker := range got { // a lookup that was under way may lead to one more than these
			if len(left) > 0 && broker == left[0] {
				left = left[1:]
			}
		}
		if len(left) == 0 {
			break
		}
		if time.Since(begun) > patience {
			t.Fatalf("asked %v, want %v in this order", got, want)
		}
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

// A broker that stops answering delays only what it leads, and that until somebody
// else does.
func TestFrozenBrokerIsLeft(t *testing.T) {
	cluster, client := start(t, 3, func(c *sarama.Config) { c.Consumer.MaxWaitTime = 50 * time.Millisecond })
	c := open(t, client, Config{Patience: 50 * time.Millisecond})
	pcs := make([]sarama.PartitionConsumer, 3)
	for p := range pcs {
		pcs[p] = consume(t, c, int32(p), sarama.OffsetOldest)
		produce(t, client, int32(p), 0, 1)
		receive(t, pcs[p], 1)
	}
	if err := cluster.Freeze(0); err != nil {
		t.Fatal(err)
	}
	others := func() sarama.Client {
		c, err := sarama.NewClient(cluster.Addrs()[1:], config())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	produce(t, others(), 1, 1, 1)
	receive(t, pcs[1], 1)
	for begun := time.Now(); c.(Observer).Stats().MetadataRequests == 0; time.Sleep(time.Millisecond) {
		if time.Since(begun) > patience { // it finds nothing new, and goes on looking
			t.Fatal("nobody looks for another leader")
		}
	}
	if _, err := cluster.Elect(topic, 0); err != nil {
		t.Fatal(err)
	}
	produce(t, others(), 0, 1, 1)
	if m := receive(t, pcs[0], 1)[0]; m.Offset != 1 {
		t.Errorf("offset %d", m.Offset)
	}
	if err := cluster.Thaw(0); err != nil {
		t.Fatal(err)
	}
	if err := pcs[0].Close(); err != nil {
		t.Errorf("a frozen broker is an error: %v", err)
	}
}

// A broker that hangs and goes on leading delays only what it leads: the others go on,
// and move.
func TestHangingBrokerDelaysNobodyElse(t *testing.T) {
	cluster, client := start(t, 6)
	c := open(t, client, Config{})
	hanging, other := consume(t, c, 0, sarama.OffsetOldest), consume(t, c, 1, sarama.OffsetOldest)
	for p, pc := range []sarama.PartitionConsumer{hanging, other} {
		produce(t, client, int32(p), 0, 1)
		receive(t, pc, 1)
	}
	if err := cluster.Freeze(0); err != nil {
		t.Fatal(err)
	}
	var writer sarama.Client
	for i := 1; i <= 60; i++ {
		if i%20 == 1 {
			if err := cluster.MoveLeader(topic, 1, int32(1+i/20%2)); err != nil {
				t.Fatal(err)
			}
			w, err := sarama.NewClient(cluster.Addrs()[1:], config())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = w.Close() }()
			writer = w
		}
		produce(t, writer, 1, i, 1)
		if m := receive(t, other, 1)[0]; m.Offset != int64(i) {
			t.Fatalf("offset %d, want %d", m.Offset, i)
		}
	}
	if err := cluster.Thaw(0); err != nil {
		t.Fatal(err)
	}
	produce(t, client, 0, 1, 1)
	receive(t, hanging, 1)
}

func TestCloseInterruptsFrozenBrokers(t *testing.T) {
	cluster, client := start(t, 3)
	c := open(t, client, Config{})
	for p := range int32(3) {
		consume(t, c, p, sarama.OffsetOldest)
	}
	for id := range cluster.Addrs() {
		if err := cluster.Freeze(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_ = c.Close()
	}()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("Close hangs")
	}
}

// However many partitions move, one metadata request is on its way at a time.
func TestManyMovesNeedFewRequests(t *testing.T) {
	const partitions = 300
	cluster, client := start(t, partitions)
	ours := open(t, client, Config{Patience: time.Minute}) // a busy machine is no silent broker
	var pcs []sarama.PartitionConsumer
	for p := range int32(partitions) {
		pcs = append(pcs, consume(t, ours, p, sarama.OffsetOldest))
	}
	stats := func() Stats { return ours.(Observer).Stats() }
	for len(ours.(Observer).Assignments()) < partitions {
		time.Sleep(time.Millisecond)
	}
	if n := stats().MetadataRequests; n != 0 {
		t.Errorf("%d metadata requests for what the client knows", n)
	}
	before := stats()
	for p := range int32(partitions) {
		if p%3 == 0 {
			if err := cluster.MoveLeader(topic, p, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := client.RefreshMetadata(topic); err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		produce(t, client, p, 0, 1)
		receive(t, pcs[p], 1)
	}
	after := stats()
	if n := after.MetadataRequests - before.MetadataRequests; n > 30 { // a slow answer has others asked too
		t.Errorf("%d metadata requests for one move of %d partitions", n, partitions/3)
	}
}

// Who rejects a fetch may say who leads now (KIP-951): no request is needed.
func TestHintOfARejectionIsFollowed(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) { c.Consumer.MaxWaitTime = 20 * time.Millisecond })
	_, epoch, err := client.LeaderAndEpoch(topic, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, client, Config{})
	pc := consume(t, c, 0, sarama.OffsetOldest)
	if err := cluster.MoveLeader(topic, 0, 2); err != nil {
		t.Fatal(err)
	}
	onFetch(cluster, func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		if broker != 0 {
			return nil
		}
		return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) {
			p.ErrorCode = int16(sarama.ErrNotLeaderForPartition)
			p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = 2, epoch+1
		})
	})
	produce(t, connect(t, cluster), 0, 0, 1)
	receive(t, pc, 1)
	if n := c.(Observer).Stats().MetadataRequests; n != 0 {
		t.Errorf("%d metadata requests", n)
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

func TestBackoffIsBounded(t *testing.T) {
	sum := time.Duration(0)
	for attempt := range 400 {
		d := defaultBackoff(attempt)
		most := 60 * time.Millisecond
		switch {
		case attempt < fastAttempts:
			most = fastBackoff
		case attempt >= electionsTaken:
			most = maxBackoff
		}
		if d < minBackoff*8/10 || d > most*12/10 {
			t.Errorf("attempt %d waits %v", attempt, d)
		}
		if sum += d; attempt == electionsTaken && (sum < 8*time.Second || sum > 13*time.Second) {
			t.Errorf("the pace slows down after %v", sum)
		}
	}
	if d := defaultBackoff(1 << 20); d < maxBackoff*8/10 {
		t.Errorf("in the end it waits %v", d)
	}
}
