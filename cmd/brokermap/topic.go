package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/stall"
)

const (
	// adminTimeout bounds one administrative request.
	adminTimeout = 5 * time.Second
	// adminPause is how long to wait before asking again for what is not there yet.
	adminPause = 20 * time.Millisecond
)

// errTopicExists says that the topic was there before.
var errTopicExists = errors.New("it exists already")

// createTopic creates m's topic, which v may know of, and returns when every
// partition has a leader. A topic that exists is an error, and is left alone.
// Where it returns made, the topic is there, whatever the error says.
func createTopic(ctx context.Context, m *metadata, v *clusterView, partitions int) (made bool, err error) {
	switch {
	case v.topicErr == nil:
		return false, errTopicExists
	case !errors.Is(v.topicErr, sarama.ErrUnknownTopicOrPartition):
		return false, v.topicErr
	}
	details := map[string]*sarama.TopicDetail{m.topic: {
		NumPartitions:     int32(partitions),
		ReplicationFactor: int16(min(3, len(v.Brokers))),
	}}
	err = atController(ctx, m, v, func(b *sarama.Broker) error {
		request := sarama.NewCreateTopicsRequest(sarama.V4_0_0_0, details, adminTimeout, false)
		answer, err := b.CreateTopics(request)
		if err != nil {
			return fmt.Errorf("no answer to the request to create it, it may exist now: %w", err)
		}
		e := answer.TopicErrors[m.topic]
		switch {
		case e == nil:
			return errors.New("the broker's answer does not say whether it was created")
		case e.Err == sarama.ErrTopicAlreadyExists:
			return errTopicExists
		case e.Err != sarama.ErrNoError:
			return e.Err
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	for {
		if v, err = m.ask(ctx); err == nil {
			if err = v.settled(partitions); err == nil {
				return true, nil
			}
		}
		if stall.Pause(ctx, adminPause) != nil {
			return true, fmt.Errorf("it was created, but is not ready: %w", err)
		}
	}
}

// settled returns nil when each of so many partitions has a leader.
func (v *clusterView) settled(partitions int) error {
	if v.topicErr != nil {
		return v.topicErr
	}
	if len(v.leaders) != partitions {
		return fmt.Errorf("it has %d partitions, not %d", len(v.leaders), partitions)
	}
	for p, l := range v.leaders {
		if l.Err != nil {
			return fmt.Errorf("partition %d: %w", p, l.Err)
		}
	}
	return nil
}

// removeTopic removes m's topic.
func removeTopic(ctx context.Context, m *metadata) error {
	v, err := m.ask(ctx)
	if err != nil {
		return err
	}
	return atController(ctx, m, v, func(b *sarama.Broker) error {
		request := sarama.NewDeleteTopicsRequest(sarama.V4_0_0_0, []string{m.topic}, adminTimeout)
		answer, err := b.DeleteTopics(request)
		if err != nil {
			return err
		}
		if e, ok := answer.TopicErrorCodes[m.topic]; !ok {
			return errors.New("the broker's answer does not say whether it was removed")
		} else if e != sarama.ErrNoError {
			return e
		}
		return nil
	})
}

// atController runs do on a connection to the controller, which moves at times.
func atController(ctx context.Context, m *metadata, v *clusterView, do func(*sarama.Broker) error) error {
	for {
		addr, ok := v.Brokers[v.Controller]
		err := error(sarama.ErrNotController)
		if ok {
			err = withBroker(ctx, addr, do)
		}
		if !errors.Is(err, sarama.ErrNotController) || stall.Pause(ctx, adminPause) != nil {
			return err
		}
		if v, err = m.ask(ctx); err != nil {
			return err
		}
	}
}

// newProducerID has a broker give out the identity of an idempotent producer.
func newProducerID(ctx context.Context, v *clusterView) (id int64, epoch int16, err error) {
	for {
		for _, addr := range v.Brokers {
			err = withBroker(ctx, addr, func(b *sarama.Broker) error {
				answer, err := b.InitProducerID(&sarama.InitProducerIDRequest{Version: 4, ProducerID: -1, ProducerEpoch: -1})
				if err != nil {
					return err
				}
				if answer.Err != sarama.ErrNoError {
					return answer.Err
				}
				id, epoch = answer.ProducerID, answer.ProducerEpoch
				return nil
			})
			if err == nil {
				return id, epoch, nil
			}
		}
		if stall.Pause(ctx, adminPause) != nil {
			return 0, 0, fmt.Errorf("no broker gives out a producer id: %w", err)
		}
	}
}
