package brokers

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

func leadersOf(t *testing.T, c *Cluster) *Leaders {
	t.Helper()
	l := NewLeaders(LeadersConfig{Cluster: c})
	t.Cleanup(l.Close)
	return l
}

func TestLeadersAnswerABatchWithOneRequest(t *testing.T) {
	k := startTopic(t, 6)
	c := clusterOf(t, k.Addrs()...)
	c.hedge = never // a busy machine is no silent broker
	l := leadersOf(t, c)
	all := workers(6)
	first := l.ResolveBrokers(t.Context(), all)
	second := l.ResolveBrokers(t.Context(), all)
	if got := c.Requests(); got != 2 {
		t.Errorf("%d requests for two batches", got)
	}
	for i, r := range first {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if want := int32(i % 3); l.pool.id(r.BrokerConn) != want || r.BrokerConn.Addr() != k.Addrs()[want] {
			t.Errorf("partition %d is led by broker %d at %s, want %d", i, l.pool.id(r.BrokerConn), r.BrokerConn.Addr(), want)
		}
		if r.BrokerConn != first[(i+3)%6].BrokerConn || r != second[i] {
			t.Errorf("partition %d: another connection to the same broker", i)
		}
		if w := all[i].(*worker); len(w.told) != 2 || w.told[0].ID != int32(i%3) || w.told[0].Epoch < 0 {
			t.Errorf("partition %d was told %+v", i, w.told)
		}
	}
	if got := l.ResolveBrokers(t.Context(), []mapper.Worker{&worker{partition: 6, replica: -1}}); !errors.Is(got[0].Err, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("a partition that does not exist: %+v", got)
	}
	if conn, err := l.ResolveBroker(all[4]); err != nil || conn != first[1].BrokerConn {
		t.Errorf("ResolveBroker() = %v, %v", conn, err)
	}
}

// viewOf is an answer by which broker leads partition 0.
func viewOf(broker, epoch int32, topic byte) *View {
	return &View{
		Brokers: map[int32]string{0: "zero:1", 1: "one:1"},
		Topics:  map[string]Topic{testTopic: {ID: sarama.Uuid{topic}, Partitions: []Leader{{ID: broker, Addr: fmt.Sprintf("host%d:1", broker), Epoch: epoch}}}},
	}
}

func TestLeadersDoNotBelieveOldEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLeaders(LeadersConfig{})
		w := &worker{replica: -1}
		at := func(broker, epoch int32, topic byte) Leader { return l.believe(viewOf(broker, epoch, topic), w) }
		if now := at(1, 5, 1); now.Err != nil || now.Epoch != 5 {
			t.Fatal(now)
		}
		if zombie := at(0, 4, 1); !errors.Is(zombie.Err, sarama.ErrLeaderNotAvailable) {
			t.Errorf("epoch 4 after 5: %+v", zombie)
		}
		if unknown := at(1, -1, 1); unknown.Err != nil || unknown.Epoch != -1 {
			t.Errorf("no epoch: %+v", unknown)
		}
		if later := at(0, 6, 1); later.Err != nil || later.ID != 0 {
			t.Errorf("epoch 6: %+v", later)
		}
		if again := at(1, 0, 2); again.Err != nil {
			t.Errorf("epoch 0 of a topic that was made again: %+v", again)
		}
		if at(1, 7, 0).Err != nil || at(0, 3, 0).Err == nil {
			t.Error("epochs of a topic without an id")
		}
		time.Sleep(staleAtMost)
		if back := at(0, 3, 0); back.Err != nil {
			t.Errorf("an old epoch that stays: %+v", back)
		}
	})
}

// A broker that was cut off is not asked first again.
func TestOutdatedBrokerIsNotAskedFirst(t *testing.T) {
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()...)
	l := leadersOf(t, c)
	w := &worker{replica: -1}
	if _, err := l.ResolveBroker(w); err != nil {
		t.Fatal(err)
	}
	c.hedge = never
	before := c.askers[0]
	l.known[topicPartition{testTopic, 0}].epoch = 99
	if _, err := l.ResolveBroker(w); !errors.Is(err, sarama.ErrLeaderNotAvailable) {
		t.Errorf("ResolveBroker() = %v", err)
	}
	if c.askers[0] == before || len(c.askers) != 3 {
		t.Errorf("of %d brokers the same is asked first", len(c.askers))
	}
}

// What an answer says of others is not asked for again.
func TestMovesOfOthersAreTold(t *testing.T) {
	k := startTopic(t, 3)
	c := clusterOf(t, k.Addrs()...)
	var told []int32
	l := NewLeaders(LeadersConfig{Cluster: c, Moved: func(topic string, partition int32) {
		if topic != testTopic {
			t.Errorf("topic %q", topic)
		}
		told = append(told, partition)
	}})
	t.Cleanup(l.Close)
	c.hedge = never
	all := workers(2) // nobody has partition 2
	for _, r := range l.ResolveBrokers(t.Context(), all) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	for p := range int32(3) {
		if err := k.MoveLeader(testTopic, p, (p+1)%3); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.ResolveBroker(all[0]); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(told, []int32{1}) {
		t.Errorf("told of partitions %v, want that of partition 1", told)
	}
	before := c.Requests()
	conn, err := l.ResolveBroker(all[1])
	if err != nil || conn.Addr() != k.Addrs()[2] || c.Requests() != before {
		t.Errorf("ResolveBroker() = %v, %v after %d requests, want broker 2 after none", conn, err, c.Requests()-before)
	}
	if w := all[1].(*worker); len(w.told) != 2 || w.told[1].ID != 2 {
		t.Errorf("told %v", w.told)
	}
}

func TestHintsAreTakenWhereTheyAreNewer(t *testing.T) {
	l := NewLeaders(LeadersConfig{Check: func() error { return errors.New("a request") }})
	w := &worker{replica: -1}
	ask := func() *sarama.Broker { return l.ResolveBrokers(t.Context(), []mapper.Worker{w})[0].BrokerConn }
	if !l.Hint(testTopic, 0, Leader{ID: 1, Addr: "one:1", Epoch: 5}) {
		t.Error("the first hint is not taken")
	}
	if conn := ask(); conn == nil || conn.Addr() != "one:1" || w.told[0].Epoch != 5 {
		t.Errorf("after a hint: %v, told %+v", conn, w.told)
	}
	if conn := ask(); conn != nil {
		t.Errorf("a hint is taken twice: %v", conn)
	}
	for name, hint := range map[string]Leader{
		"of the same epoch": {ID: 0, Addr: "zero:1", Epoch: 5},
		"of an older one":   {ID: 0, Addr: "zero:1", Epoch: 4},
		"of none":           {ID: 0, Addr: "zero:1", Epoch: -1},
		"of nobody":         {ID: -1, Epoch: 9},
		"of a stranger":     {ID: 7, Epoch: 9},
	} {
		if l.Hint(testTopic, 0, hint) {
			t.Errorf("a hint %s is taken", name)
		}
	}
	if !l.Hint(testTopic, 0, Leader{ID: 1, Epoch: 6}) || ask().Addr() != "one:1" {
		t.Error("a newer hint of a broker that is known is not taken")
	}
	if !l.Hint(testTopic, 0, Leader{ID: 1, Epoch: 6}) {
		t.Error("what is known is not taken again")
	}
	l.Close()
}

func TestReplicaIsAskedInsteadOfTheLeader(t *testing.T) {
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()...)
	c.hedge = never
	l := leadersOf(t, c)
	w := &worker{replica: 2}
	for range 2 { // the second time without a request
		conn, err := l.ResolveBroker(w)
		if err != nil || conn.Addr() != k.Addrs()[2] {
			t.Errorf("ResolveBroker() = %v, %v, want the replica", conn, err)
		}
	}
	if got := c.Requests(); got != 1 {
		t.Errorf("%d requests", got)
	}
	w.replica = 7
	if conn, err := l.ResolveBroker(w); err != nil || conn.Addr() != k.Addrs()[0] {
		t.Errorf("ResolveBroker() = %v, %v, want the leader where the replica is unknown", conn, err)
	}
}
