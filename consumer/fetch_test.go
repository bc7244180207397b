package consumer

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// One partition that nobody reads, with more behind it than fits anywhere: the
// others of its broker go on.
func TestUnreadPartitionStarvesNobody(t *testing.T) {
	_, client := start(t, 6, func(c *sarama.Config) {
		c.ChannelBufferSize = 1
		c.Consumer.Fetch.Default = 512
	})
	for i := range 40 {
		produce(t, client, 0, 50*i, 50) // a batch is more than a fetch asks for
	}
	c := open(t, client, Config{})
	unread := consume(t, c, 0, sarama.OffsetOldest)
	read := consume(t, c, 3, sarama.OffsetOldest) // the same broker leads it
	for i := range 50 {
		produce(t, client, 3, i, 1)
		if m := receive(t, read, 1)[0]; m.Offset != int64(i) {
			t.Fatalf("offset %d, want %d", m.Offset, i)
		}
	}
	for i, m := range receive(t, unread, 2000) {
		if m.Offset != int64(i) {
			t.Fatalf("offset %d of the unread partition, want %d", m.Offset, i)
		}
	}
}

// A fetch that is parked delays nobody who comes later to the same broker: who is
// assigned to it, who is resumed, and who has read what was there.
func TestParkedFetchDelaysNobody(t *testing.T) {
	cluster, client := start(t, 6, func(c *sarama.Config) {
		c.Consumer.MaxWaitTime = time.Hour
		c.Net.ReadTimeout = 2 * time.Hour
		c.Consumer.Fetch.Default = 1 << 10
		c.ChannelBufferSize = 1
	})
	produce(t, client, 3, 0, 500)
	parked := make(chan struct{})
	var once sync.Once
	onFetch(cluster, func(int32, *kmsg.FetchRequest) *kmsg.FetchResponse {
		once.Do(func() { close(parked) })
		return nil
	})
	c := open(t, client, Config{})
	idle := consume(t, c, 0, sarama.OffsetOldest)
	<-parked
	pc := consume(t, c, 3, sarama.OffsetOldest) // the same broker leads it
	receive(t, pc, 300)
	pc.Pause()
	pc.Resume()
	receive(t, pc, 200)
	wantQuiet(t, idle, time.Millisecond)
}

// With -1 an old leader that became a follower would go on answering (KIP-320).
func TestFetchesCarryTheLeaderEpoch(t *testing.T) {
	cluster, client := start(t, 1)
	var last atomic.Int32
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		last.Store(r.Topics[0].Partitions[0].CurrentLeaderEpoch)
		return nil
	})
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	for i := range 3 {
		if err := client.RefreshMetadata(topic); err != nil {
			t.Fatal(err)
		}
		_, epoch, err := client.LeaderAndEpoch(topic, 0)
		if err != nil {
			t.Fatal(err)
		}
		produce(t, client, 0, i, 1)
		receive(t, pc, 1)
		if got := last.Load(); got != epoch || got < 0 {
			t.Errorf("a fetch in epoch %d, want %d", got, epoch)
		}
		if err := cluster.MoveLeader(topic, 0, int32(i+1)%3); err != nil {
			t.Fatal(err)
		}
	}
}

// What is set in the client's configuration goes for our connections too.
func TestConnectionsUseTheClientsConfig(t *testing.T) {
	var dials atomic.Int64
	proxy := dialFunc(func(network, addr string) (net.Conn, error) {
		dials.Add(1)
		return net.Dial(network, addr)
	})
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.ClientID = "somebody"
		c.Net.Proxy.Enable = true
		c.Net.Proxy.Dialer = proxy
	})
	var ids sync.Map
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		ids.Store(r.MaxBytes, true)
		return nil
	})
	before := dials.Load()
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)
	if dials.Load() == before {
		t.Error("the user's dialer was not used")
	}
}

type dialFunc func(network, addr string) (net.Conn, error)

func (f dialFunc) Dial(network, addr string) (net.Conn, error) { return f(network, addr) }

// What a broker that was left answers late is not delivered, though it serves other
// partitions still.
func TestLateAnswerIsDropped(t *testing.T) {
	cluster, client := start(t, 6, func(c *sarama.Config) { c.Consumer.MaxWaitTime = 20 * time.Millisecond })
	late := make(chan struct{})
	onFetch(cluster, func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		select {
		case <-late:
			return nil
		default:
		}
		if broker != 0 {
			return nil
		}
		cluster.Fake().SleepControl(func() { <-late })
		return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) {
			if p.Partition == 0 {
				p.RecordBatches = encoded(0, 10)
			}
		})
	})
	c := open(t, client, Config{Patience: 20 * time.Millisecond})
	moved, stays := consume(t, c, 0, sarama.OffsetOldest), consume(t, c, 3, sarama.OffsetOldest)
	if err := cluster.MoveLeader(topic, 0, 1); err != nil {
		t.Fatal(err)
	}
	other := connect(t, cluster)
	produce(t, other, 0, 0, 10)
	receive(t, moved, 10)
	close(late)
	wantQuiet(t, moved, 50*time.Millisecond)
	produce(t, other, 0, 10, 1)
	if m := receive(t, moved, 1)[0]; m.Offset != 10 {
		t.Errorf("offset %d", m.Offset)
	}
	for _, pc := range []sarama.PartitionConsumer{moved, stays} {
		if err := pc.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A new leader that does not count as committed yet what the old one gave answers
// at once, empty. It is not asked again and again, and the others of its broker go on
// being fetched as ever.
func TestLeaderThatIsBehindIsAskedAtAPace(t *testing.T) {
	cluster, client := start(t, 6)
	produce(t, client, 0, 0, 10)
	var behind, beside, refused atomic.Int64
	caughtUp := make(chan struct{})
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		select {
		case <-caughtUp:
			return nil
		default:
		}
		asks, other := false, false
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				asks = asks || p.Partition == 0 && p.FetchOffset == 10
				other = other || p.Partition == 3
			}
		}
		switch {
		case !asks && other:
			beside.Add(1)
			return nil
		case !asks:
			return nil
		}
		behind.Add(1)
		if other {
			refused.Add(1)
		}
		return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) {
			if p.Partition == 0 {
				p.HighWatermark = 7
			}
		})
	})
	c := open(t, client, Config{})
	slow := consume(t, c, 0, sarama.OffsetOldest)
	fast := consume(t, c, 3, sarama.OffsetOldest) // the same broker leads it
	receive(t, slow, 10)
	time.Sleep(200 * time.Millisecond)
	produce(t, client, 3, 0, 1)
	receive(t, fast, 1)
	if n := behind.Load(); n < 5 || n > 60 {
		t.Errorf("asked %d times in 200 ms: it must be at a pace of %v", n, behindPause)
	}
	if beside.Load() == 0 || refused.Load() > 5 {
		t.Errorf("the other partition was fetched %d times apart, %d times along with the one that is behind", beside.Load(), refused.Load())
	}
	produce(t, client, 0, 10, 1)
	close(caughtUp)
	if m := receive(t, slow, 1)[0]; m.Offset != 10 {
		t.Errorf("offset %d", m.Offset)
	}
}

// What comes while a connection is made goes into its first fetch: that of a broker
// that has just started takes long.
func TestFirstFetchHasWhatCameDuringTheDial(t *testing.T) {
	var dialing atomic.Bool
	cluster, client := start(t, 12, func(c *sarama.Config) {
		c.Net.Proxy.Enable = true
		c.Net.Proxy.Dialer = dialFunc(func(network, addr string) (net.Conn, error) {
			if dialing.Load() {
				time.Sleep(50 * time.Millisecond)
			}
			return net.Dial(network, addr)
		})
	})
	for p := range int32(12) {
		if _, err := client.Leader(topic, p); err != nil {
			t.Fatal(err)
		}
		if _, err := client.GetOffset(topic, p, sarama.OffsetOldest); err != nil {
			t.Fatal(err)
		}
	}
	dialing.Store(true)
	var mu sync.Mutex
	first := make(map[int32]int) // partitions by broker
	onFetch(cluster, func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		mu.Lock()
		defer mu.Unlock()
		if first[broker] == 0 {
			first[broker] = len(r.Topics[0].Partitions)
		}
		return nil
	})
	c := open(t, client, Config{})
	var pcs []sarama.PartitionConsumer
	for p := range int32(12) {
		pcs = append(pcs, consume(t, c, p, sarama.OffsetOldest))
	}
	for p, pc := range pcs {
		produce(t, client, int32(p), 0, 1)
		receive(t, pc, 1)
	}
	mu.Lock()
	defer mu.Unlock()
	for broker := range int32(3) {
		if first[broker] != 4 {
			t.Errorf("the first fetch of broker %d has %d partitions of 4", broker, first[broker])
		}
	}
}

// A connection that was good for a while and ends is made again at once: that its
// partitions are looked up takes its time, and may find nothing new.
func TestLostConnectionIsMadeAgainAtOnce(t *testing.T) {
	cluster, client := start(t, 3)
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)
	time.Sleep(2 * trustAfter)
	var hide atomic.Bool // the record that is to come then
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		if !hide.Load() {
			return nil
		}
		cluster.Fake().SleepControl(func() { time.Sleep(time.Millisecond) })
		return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) { p.HighWatermark = 1 })
	})
	hide.Store(true)
	produce(t, client, 0, 1, 1)
	answer := make(chan struct{})
	cluster.Fake().ControlKey(3, func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.Fake().KeepControl()
		select {
		case <-answer:
		default:
			cluster.Fake().SleepControl(func() { <-answer })
		}
		return nil, nil, false
	})
	if _, err := cluster.Drop(0); err != nil {
		t.Fatal(err)
	}
	nextError(t, pc) // it is reported all the same
	hide.Store(false)
	receive(t, pc, 1)
	close(answer)
}
