package consumer

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// onFetch has do see every Fetch request but those of standbys, with the broker that
// it is for. What do returns is the answer; nil has the broker answer.
func onFetch(cluster *kafkatest.Cluster, do func(broker int32, r *kmsg.FetchRequest) *kmsg.FetchResponse) {
	fake := cluster.Fake()
	fake.ControlKey(fetchKey, func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		if fetch := r.(*kmsg.FetchRequest); !warming(fetch) {
			if answer := do(fake.CurrentNode(), fetch); answer != nil {
				return answer, nil, true
			}
		}
		return nil, nil, false
	})
}

// warming says that a request is of link.warm.
func warming(r *kmsg.FetchRequest) bool {
	return r.MaxWaitMillis == 0 && len(r.Topics) == 1 && len(r.Topics[0].Partitions) == 1 && r.Topics[0].Partitions[0].PartitionMaxBytes == 1
}

// answerTo makes an answer that has for each partition what fill says.
func answerTo(r *kmsg.FetchRequest, fill func(*kmsg.FetchResponseTopicPartition)) *kmsg.FetchResponse {
	answer := r.ResponseKind().(*kmsg.FetchResponse)
	for _, asked := range r.Topics {
		of := kmsg.NewFetchResponseTopic()
		of.Topic, of.TopicID = asked.Topic, asked.TopicID
		for _, p := range asked.Partitions {
			part := kmsg.NewFetchResponseTopicPartition()
			part.Partition, part.PreferredReadReplica = p.Partition, -1
			fill(&part)
			of.Partitions = append(of.Partitions, part)
		}
		answer.Topics = append(answer.Topics, of)
	}
	return answer
}

func answerErr(r *kmsg.FetchRequest, err sarama.KError) *kmsg.FetchResponse {
	return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) { p.ErrorCode = int16(err) })
}

// nextError returns the next error of a partition.
func nextError(t testing.TB, pc sarama.PartitionConsumer) error {
	t.Helper()
	select {
	case e, ok := <-pc.Errors():
		if !ok {
			t.Fatal("Errors was closed")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no error came")
	}
	return nil
}

// wantClosed waits for a partition's channels to be closed.
func wantClosed(t testing.TB, pc sarama.PartitionConsumer) {
	t.Helper()
	timeout := time.After(patience)
	for messages, errs := pc.Messages(), pc.Errors(); messages != nil || errs != nil; {
		select {
		case m, ok := <-messages:
			if !ok {
				messages = nil
			} else {
				t.Errorf("a message at %d", m.Offset)
			}
		case e, ok := <-errs:
			if !ok {
				errs = nil
			} else {
				t.Errorf("one more error: %v", e)
			}
		case <-timeout:
			t.Fatal("the channels stay open")
		}
	}
}

// wantQuiet fails where a message comes within a time.
func wantQuiet(t testing.TB, pc sarama.PartitionConsumer, d time.Duration) {
	t.Helper()
	select {
	case m, ok := <-pc.Messages():
		if ok {
			t.Fatalf("a message at %d", m.Offset)
		}
		t.Fatal("the channel was closed")
	case <-time.After(d):
	}
}
