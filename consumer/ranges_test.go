package consumer

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const listOffsetsKey = 2

// Partitions that are started together are looked up together.
func TestManyPartitionsStartWithFewLookups(t *testing.T) {
	const partitions = 300
	cluster, client := start(t, partitions)
	var requests atomic.Int64
	held := make(chan struct{})
	cluster.Fake().ControlKey(listOffsetsKey, func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.Fake().KeepControl()
		requests.Add(1)
		cluster.Fake().SleepControl(func() { <-held }) // until everybody has asked
		return nil, nil, false
	})
	c := open(t, client, Config{})
	var asking, starting sync.WaitGroup
	asking.Add(partitions)
	errs := make([]error, partitions)
	for p := range int32(partitions) {
		starting.Go(func() {
			asking.Done()
			_, errs[p] = c.ConsumePartition(topic, p, sarama.OffsetOldest)
		})
	}
	asking.Wait()
	close(held)
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	// For each of three brokers what comes first, what came meanwhile, and some more:
	// a goroutine may take its time.
	if n := requests.Load(); n > partitions/5 {
		t.Errorf("%d lookups for %d partitions", n, partitions)
	}
}

// What one partition's lookup fails with is no other's affair, and is tried again as
// sarama does.
func TestLookupThatFailsIsMadeAgain(t *testing.T) {
	cluster, client := start(t, 6)
	for p := range int32(6) {
		produce(t, client, p, 0, int(p)+1)
	}
	var refused atomic.Int64
	cluster.Fake().ControlKey(listOffsetsKey, func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.Fake().KeepControl()
		asked := r.(*kmsg.ListOffsetsRequest)
		if refused.Add(1) > 2 { // GetOffset tries twice
			return nil, nil, false
		}
		answer := r.ResponseKind().(*kmsg.ListOffsetsResponse)
		for _, of := range asked.Topics {
			to := kmsg.NewListOffsetsResponseTopic()
			to.Topic = of.Topic
			for _, p := range of.Partitions {
				q := kmsg.NewListOffsetsResponseTopicPartition()
				q.Partition, q.ErrorCode = p.Partition, int16(sarama.ErrNotLeaderForPartition)
				to.Partitions = append(to.Partitions, q)
			}
			answer.Topics = append(answer.Topics, to)
		}
		return answer, nil, true
	})
	c := open(t, client, Config{})
	var starting sync.WaitGroup
	for p := range int32(6) {
		starting.Go(func() {
			pc, err := c.ConsumePartition(topic, p, sarama.OffsetOldest)
			if err != nil {
				t.Errorf("partition %d: %v", p, err)
				return
			}
			if n := pc.HighWaterMarkOffset(); n != int64(p)+1 {
				t.Errorf("partition %d has the high-water mark %d, want %d", p, n, p+1)
			}
			receive(t, pc, int(p)+1)
		})
	}
	starting.Wait()
	if refused.Load() <= 2 {
		t.Error("nothing was refused")
	}
}
