package consumer

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// standsBy waits for connections that are ready to a broker, and returns the first
// one; with want false, for there to be none, nor any in the making.
func standsBy(t *testing.T, c *core, broker int32, want bool) *link {
	t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		k, found := standing(c, broker)
		if want && k != nil || !want && !found {
			return k
		}
	}
	t.Fatalf("broker %d: want connections that are ready: %v", broker, want)
	return nil
}

// standing returns the first of the connections that are ready to a broker, or nil,
// and whether there are any, or will be.
func standing(c *core, broker int32) (k *link, found bool) {
	c.standbys.mu.Lock()
	defer c.standbys.mu.Unlock()
	for n, b := range c.standbys.nodes {
		if n.id == broker && b.ready {
			return b.links[0], true
		}
		found = found || n.id == broker
	}
	return nil, found
}

func coreOf(c sarama.Consumer) *core { return c.(*consumer).core }

// leads moves a partition and waits until it is fetched from there.
func leads(t *testing.T, cluster *kafkatest.Cluster, c *core, partition, broker int32) *fetcher {
	t.Helper()
	if err := cluster.MoveLeader(topic, partition, broker); err != nil {
		t.Fatal(err)
	}
	p := c.child(topicPartition{topic, partition})
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		l, ok := c.mapper.Acquire(p)
		if !ok {
			continue
		}
		f := l.Executor().(*fetcher)
		l.Release()
		if f.broker == broker {
			return f
		}
	}
	t.Fatalf("partition %d is not fetched from broker %d", partition, broker)
	return nil
}

// A broker that leads again is fetched from over the connection that was kept, or
// made when the broker came back.
func TestStandbyIsTaken(t *testing.T) {
	cluster, client := start(t, 1)
	ours := open(t, client, Config{})
	c := coreOf(ours)
	pc := consume(t, ours, 0, sarama.OffsetOldest)
	produce(t, client, 0, 0, 1)
	receive(t, pc, 1)

	leads(t, cluster, c, 0, 1)
	kept := standsBy(t, c, 0, true)
	if f := leads(t, cluster, c, 0, 0); f.lanes[0].link != kept {
		t.Error("broker 0 is fetched from over another connection than was kept")
	}
	standsBy(t, c, 0, false)
	produce(t, client, 0, 1, 1)
	if m := receive(t, pc, 1)[0]; m.Offset != 1 {
		t.Errorf("offset %d", m.Offset)
	}

	leads(t, cluster, c, 0, 1)
	kept = standsBy(t, c, 0, true)
	if err := cluster.Kill(0); err != nil {
		t.Fatal(err)
	}
	for k := kept; k == kept; k, _ = standing(c, 0) { // that it is gone must be noticed
		time.Sleep(time.Millisecond)
	}
	if err := cluster.Revive(0); err != nil {
		t.Fatal(err)
	}
	again := standsBy(t, c, 0, true)
	if f := leads(t, cluster, c, 0, 0); f.lanes[0].link != again {
		t.Error("broker 0 is fetched from over another connection than was made when it came back")
	}
	produce(t, client, 0, 2, 1)
	if m := receive(t, pc, 1)[0]; m.Offset != 2 {
		t.Errorf("offset %d", m.Offset)
	}
}

// A connection that breaks about when it is taken costs nothing but another dial.
func TestStandbyThatBreaksIsReplaced(t *testing.T) {
	cluster, client := start(t, 1, func(conf *sarama.Config) {
		conf.Consumer.MaxWaitTime = 20 * time.Millisecond // the old leader does not end a fetch that is parked
	})
	ours := open(t, client, Config{})
	c := coreOf(ours)
	pc := consume(t, ours, 0, sarama.OffsetOldest)
	for i := range 20 {
		leads(t, cluster, c, 0, 1)
		standsBy(t, c, 0, true)
		if _, err := cluster.Drop(0); err != nil {
			t.Fatal(err)
		}
		leads(t, cluster, c, 0, 0)
		produce(t, client, 0, i, 1)
		if m := receive(t, pc, 1)[0]; m.Offset != int64(i) {
			t.Errorf("offset %d, want %d", m.Offset, i)
		}
	}
}

// None is kept where nothing is consumed, nor for longer than standbyMost, and Close
// leaves none, whatever the broker does: it is ready, refuses, or is silent.
func TestStandbyEnds(t *testing.T) {
	for _, name := range []string{"ready", "dead", "silent", "unused", "late"} {
		t.Run(name, func(t *testing.T) {
			cluster, client := start(t, 1)
			ours := open(t, client, Config{})
			c := coreOf(ours)
			if name == "late" {
				c.standbys.most = 2 * time.Second
			}
			pc := consume(t, ours, 0, sarama.OffsetOldest)
			leads(t, cluster, c, 0, 1)
			kept := standsBy(t, c, 0, true)
			switch name {
			case "dead":
				if err := cluster.Kill(0); err != nil {
					t.Fatal(err)
				}
				<-kept.tap.watching
			case "silent":
				if err := cluster.Freeze(0); err != nil {
					t.Fatal(err)
				}
				if _, err := cluster.Drop(0); err != nil {
					t.Fatal(err)
				}
				<-kept.tap.watching
			case "late":
				standsBy(t, c, 0, false)
			case "unused":
				if err := pc.Close(); err != nil {
					t.Error(err)
				}
				standsBy(t, c, 0, false)
				standsBy(t, c, 1, false)
			}
			if err := ours.Close(); err != nil {
				t.Error(err)
			}
			c.standbys.begin(node{1, cluster.Addrs()[1]})
			if len(c.standbys.nodes) != 0 {
				t.Error("there are some after Close")
			}
		})
	}
}

// Who is refused does not try again: accounts get locked.
func TestStandbyIsNotForThoseWhoAreRefused(t *testing.T) {
	var refuse atomic.Bool
	cluster, client := start(t, 1, func(conf *sarama.Config) {
		conf.Net.Proxy.Enable = true
		conf.Net.Proxy.Dialer = dialFunc(func(network, addr string) (net.Conn, error) {
			if refuse.Load() {
				return nil, sarama.ErrSASLAuthenticationFailed
			}
			return net.Dial(network, addr)
		})
	})
	ours := open(t, client, Config{})
	c := coreOf(ours)
	consume(t, ours, 0, sarama.OffsetOldest)
	leads(t, cluster, c, 0, 1)
	kept := standsBy(t, c, 0, true)
	refuse.Store(true)
	kept.conn.Interrupt()
	standsBy(t, c, 0, false) // and not only after standbyMost
}

// While the second connection to a broker is being made the first one fetches what
// there is.
func TestDialingHoldsNobodyUp(t *testing.T) {
	var hang atomic.Bool
	released := make(chan struct{})
	cluster, client := start(t, 2, func(conf *sarama.Config) {
		conf.Net.Proxy.Enable = true
		conf.Net.Proxy.Dialer = dialFunc(func(network, addr string) (net.Conn, error) {
			if hang.Load() {
				<-released
			}
			return net.Dial(network, addr)
		})
	})
	if err := cluster.MoveLeader(topic, 1, 0); err != nil {
		t.Fatal(err)
	}
	if err := client.RefreshMetadata(topic); err != nil {
		t.Fatal(err)
	}
	produce(t, client, 0, 0, 1)
	produce(t, client, 1, 0, 1)
	ours := open(t, client, Config{})
	t.Cleanup(func() { close(released) })
	receive(t, consume(t, ours, 0, sarama.OffsetOldest), 1)
	if _, _, err := coreOf(ours).ranges.find(topic, 1); err != nil { // the client has the connections that it needs
		t.Fatal(err)
	}
	hang.Store(true)
	receive(t, consume(t, ours, 1, sarama.OffsetOldest), 1)
}
