package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

const testTopic = "t"

func startTopic(t *testing.T, partitions int32) *kafkatest.Cluster {
	t.Helper()
	c, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{testTopic: partitions}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func askOf(t *testing.T, c *kafkatest.Cluster) *metadata {
	t.Helper()
	m := newMetadata(testTopic, c.Addrs())
	t.Cleanup(m.close)
	return m
}

func TestMetadataAsksTheNextBroker(t *testing.T) {
	for name, fault := range map[string]func(*kafkatest.Cluster, int32) error{
		"frozen": (*kafkatest.Cluster).Freeze,
		"killed": (*kafkatest.Cluster).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			c := startTopic(t, 4)
			m := askOf(t, c)
			if _, err := m.ask(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := fault(c, 0); err != nil { // who answered last is asked first
				t.Fatal(err)
			}
			v, err := m.ask(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := v.settled(4); err != nil {
				t.Error(err)
			}
			if v.leaders[1].broker != 1 || v.leaders[1].addr != c.Addrs()[1] {
				t.Errorf("partition 1 is led by %+v", v.leaders[1])
			}
			before := m.requests.Load()
			if _, err := m.ask(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := m.requests.Load() - before; got != 1 {
				t.Errorf("%d requests once it is known who answers", got)
			}
		})
	}
}

func TestMetadataOfNobodyAndOfNothing(t *testing.T) {
	c := startTopic(t, 1)
	m := newMetadata("nothing", c.Addrs()[:1])
	defer m.close()
	v, err := m.ask(t.Context())
	if err != nil || !errors.Is(v.topicErr, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("a topic that does not exist: %+v, %v", v, err)
	}
	if got := len(m.askers); got != 3 {
		t.Errorf("%d brokers are known after an answer that named three", got)
	}
	for id := range c.Addrs() {
		if err := c.Freeze(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := m.ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ask of a frozen cluster: %v", err)
	}
	nobody := newMetadata(testTopic, []string{closedPort(t), closedPort(t)})
	defer nobody.close()
	if _, err := nobody.ask(t.Context()); err == nil {
		t.Error("ask of nobody: no error")
	}
	if got := nobody.requests.Load(); got != 0 {
		t.Errorf("%d requests were sent to nobody", got)
	}
}

func TestMetadataRefusesNonsense(t *testing.T) {
	m := newMetadata(testTopic, nil)
	partition := func(id int32) *sarama.PartitionMetadata { return &sarama.PartitionMetadata{ID: id} }
	for name, topics := range map[string][]*sarama.TopicMetadata{
		"no topic":      nil,
		"another topic": {{Name: "other"}},
		"a gap":         {{Name: testTopic, Partitions: []*sarama.PartitionMetadata{partition(0), partition(2)}}},
	} {
		if _, err := m.read(&sarama.MetadataResponse{Topics: topics}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	v, err := m.read(&sarama.MetadataResponse{Topics: []*sarama.TopicMetadata{{Name: testTopic, Partitions: []*sarama.PartitionMetadata{
		{ID: 0, Leader: -1, Err: sarama.ErrLeaderNotAvailable}, {ID: 1, Leader: 9},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	for p, l := range v.leaders {
		if !errors.Is(l.err, sarama.ErrLeaderNotAvailable) {
			t.Errorf("partition %d: %v", p, l.err)
		}
	}
	for _, bad := range []error{v.settled(2), v.settled(3), (&clusterView{topicErr: sarama.ErrUnknown}).settled(0)} {
		if bad == nil {
			t.Error("a topic without leaders is settled")
		}
	}
}

func TestLeadersAnswerABatchWithOneRequest(t *testing.T) {
	c := startTopic(t, 6)
	l := newLeaders(askOf(t, c), 6)
	first := l.resolve(t.Context(), []int32{5, 4, 3, 2, 1, 0})
	second := l.resolve(t.Context(), []int32{5, 4, 3, 2, 1, 0})
	if got := l.metadata.requests.Load(); got != 2 {
		t.Errorf("%d requests for two batches", got)
	}
	for i, a := range first {
		if a.err != nil {
			t.Fatal(a.err)
		}
		if want := int32(5-i) % 3; l.brokerOf(a.conn) != want || a.conn.Addr() != c.Addrs()[want] {
			t.Errorf("partition %d is led by broker %d at %s, want %d", 5-i, l.brokerOf(a.conn), a.conn.Addr(), want)
		}
		if a.conn != first[(i+3)%6].conn || a != second[i] {
			t.Errorf("partition %d: another connection to the same broker", 5-i)
		}
	}
	l.broken(first[0].conn)
	l.broken(first[0].conn)
	third := l.resolve(t.Context(), []int32{5, 2, 4})
	if third[0].conn == first[0].conn || third[0].conn != third[1].conn || third[2].conn != first[1].conn {
		t.Errorf("after the connection broke: %+v, before: %+v", third, first)
	}
	if got := l.brokerOf(first[0].conn); got != -1 {
		t.Errorf("the broken connection is to broker %d", got)
	}
	if got := l.resolve(t.Context(), []int32{6}); got[0].err == nil || got[0].conn != nil {
		t.Errorf("a partition that does not exist: %+v", got)
	}
}

func TestLeadersDoNotBelieveOldEpochs(t *testing.T) {
	l := newLeaders(newMetadata(testTopic, nil), 1)
	at := func(broker, epoch int32) lead {
		return l.answer(&clusterView{leaders: []leadership{{broker: broker, addr: "host:1", epoch: epoch}}}, 0)
	}
	now := at(1, 5)
	if now.err != nil || now.epoch != 5 {
		t.Fatal(now)
	}
	if zombie := at(0, 4); zombie.err == nil || zombie.conn != nil {
		t.Errorf("epoch 4 after 5: %+v", zombie)
	}
	if again := at(1, 5); again != now {
		t.Errorf("the same answer gives %+v, then %+v", now, again)
	}
	if unknown := at(1, -1); unknown.err != nil || unknown.epoch != -1 {
		t.Errorf("no epoch: %+v", unknown)
	}
	if later := at(0, 6); later.err != nil || later.conn == now.conn {
		t.Errorf("epoch 6: %+v", later)
	}
}

func TestBackoffIsBounded(t *testing.T) {
	var got []time.Duration
	for attempt := range 6 {
		got = append(got, backoff(attempt)/time.Millisecond)
	}
	if want := []time.Duration{10, 20, 40, 50, 50, 50}; !slices.Equal(got, want) {
		t.Errorf("backoff is %d ms, want %d", got, want)
	}
}
