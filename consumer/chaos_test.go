package consumer

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// disturb moves leaders, drops connections, kills and freezes brokers until quit is
// closed; then every broker is there.
func disturb(t *testing.T, cluster *kafkatest.Cluster, partitions int, quit <-chan struct{}) {
	brokers := int32(len(cluster.Addrs()))
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	pause := func() bool {
		select {
		case <-quit:
			return false
		case <-time.After(time.Duration(5+rand.IntN(30)) * time.Millisecond):
			return true
		}
	}
	for pause() {
		b := rand.Int32N(brokers)
		switch rand.IntN(4) {
		case 0:
			for range 1 + rand.IntN(partitions) {
				must(cluster.MoveLeader(topic, rand.Int32N(int32(partitions)), rand.Int32N(brokers)))
			}
		case 1:
			_, err := cluster.Drop(b)
			must(err)
		case 2:
			must(cluster.Kill(b))
			pause()
			_, err := cluster.Elect(topic, b)
			must(err)
			pause()
			must(cluster.Revive(b))
		case 3:
			must(cluster.Freeze(b))
			pause()
			_, err := cluster.Elect(topic, b)
			must(err)
			pause()
			must(cluster.Thaw(b))
		}
	}
}

// Whatever happens to the brokers, every record comes once and in order.
func TestNothingIsLostInChaos(t *testing.T) {
	const partitions, records = 6, 2000
	set := func(c *sarama.Config) {
		c.ChannelBufferSize = 8
		c.Consumer.Fetch.Default = 2 << 10
		c.Consumer.MaxWaitTime = 20 * time.Millisecond
	}
	fillIt := func(t *testing.T) (client sarama.Client, begin func() (calm func())) {
		cluster, client := start(t, partitions, set)
		for p := range int32(partitions) {
			produce(t, client, p, 0, records/2)
			produce(t, client, p, records/2, records/2)
		}
		return client, func() func() {
			quit := make(chan struct{})
			var disturbing sync.WaitGroup
			disturbing.Go(func() { disturb(t, cluster, partitions, quit) })
			return func() {
				close(quit)
				disturbing.Wait()
			}
		}
	}
	slow := func(n int64) {
		if n%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	t.Run("channels", func(t *testing.T) {
		client, begin := fillIt(t)
		c := open(t, client, Config{Patience: 10 * time.Millisecond})
		var pcs []sarama.PartitionConsumer
		for p := range int32(partitions) {
			pcs = append(pcs, consume(t, c, p, sarama.OffsetOldest))
		}
		defer begin()()
		var reading sync.WaitGroup
		for p, pc := range pcs {
			reading.Go(func() {
				timeout := time.After(4 * patience)
				for next := int64(0); next < records; {
					select {
					case m, ok := <-pc.Messages():
						if !ok || m.Offset != next {
							t.Errorf("partition %d: offset %v, %v, want %d", p, m, ok, next)
							return
						}
						slow(next)
						next++
					case <-pc.Errors():
					case <-timeout:
						t.Errorf("partition %d: stuck at %d", p, next)
						return
					}
				}
				_ = pc.Close()
			})
		}
		reading.Wait()
	})
	t.Run("batches", func(t *testing.T) {
		client, begin := fillIt(t)
		r := read(t, client, Config{Patience: 10 * time.Millisecond})
		for p := range int32(partitions) {
			if err := r.Add(topic, p, sarama.OffsetOldest); err != nil {
				t.Fatal(err)
			}
		}
		defer begin()()
		next, n := make([]int64, partitions), int64(0)
		for b, err := range r.Batches(bounded(t)) {
			if err != nil {
				continue
			}
			for i := range b.Records {
				if rec := &b.Records[i]; rec.Offset != next[b.Partition] {
					t.Fatalf("partition %d: offset %d, want %d", b.Partition, rec.Offset, next[b.Partition])
				}
				next[b.Partition]++
				slow(n)
				n++
			}
			if n == partitions*records {
				return
			}
		}
		t.Errorf("stuck at %v", next)
	})
}
