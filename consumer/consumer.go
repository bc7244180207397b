package consumer

import (
	"sync"

	"github.com/IBM/sarama"
)

// New makes a consumer on a client, which it does not close. It returns
// sarama.ErrClosedClient for a client that is closed, and an error for a
// configuration that is out of range.
//
// The consumer uses the client for its configuration, the addresses of brokers and
// starting offsets. Everything else goes over connections of its own, so nothing
// that the client or its other users do delays it.
func New(client sarama.Client, cfg Config) (sarama.Consumer, error) {
	core, err := newCore(client, cfg)
	if err != nil {
		return nil, err
	}
	return &consumer{core: core, paused: make(map[topicPartition]bool)}, nil
}

// consumer is a sarama.Consumer.
type consumer struct {
	core *core

	mu     sync.Mutex // around core.mu
	paused map[topicPartition]bool
}

// Topics implements sarama.Consumer.
func (c *consumer) Topics() ([]string, error) { return c.core.client.Topics() }

// Partitions implements sarama.Consumer.
func (c *consumer) Partitions(topic string) ([]int32, error) { return c.core.client.Partitions(topic) }

// ConsumePartition implements sarama.Consumer.
func (c *consumer) ConsumePartition(topic string, partition int32, offset int64) (sarama.PartitionConsumer, error) {
	pc := newPartitionConsumer(c.core, topic, partition)
	if err := c.core.add(pc.partition, offset); err != nil {
		return nil, err
	}
	c.mu.Lock()
	pc.paused.Store(c.paused[topicPartition{topic, partition}])
	c.mu.Unlock()
	pc.spawn()
	return pc, nil
}

// HighWaterMarks implements sarama.Consumer.
func (c *consumer) HighWaterMarks() map[string]map[int32]int64 { return c.core.highWaterMarks() }

// Close implements sarama.Consumer. It returns when every partition consumer has
// ended, those included that were not closed, and every connection is closed. The
// client stays open.
func (c *consumer) Close() error {
	c.core.close()
	return nil
}

// Pause implements sarama.Consumer.
func (c *consumer) Pause(partitions map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, ids := range partitions {
		for _, id := range ids {
			key := topicPartition{topic, id}
			if p := c.core.child(key); p != nil {
				c.paused[key] = true
				p.paused.Store(true)
			}
		}
	}
}

// Resume implements sarama.Consumer.
func (c *consumer) Resume(partitions map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, ids := range partitions {
		for _, id := range ids {
			key := topicPartition{topic, id}
			delete(c.paused, key)
			if p := c.core.child(key); p != nil {
				p.resume()
			}
		}
	}
}

// PauseAll implements sarama.Consumer.
func (c *consumer) PauseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.core.each(func(p *partition) {
		c.paused[topicPartition{p.topic, p.id}] = true
		p.paused.Store(true)
	})
}

// ResumeAll implements sarama.Consumer.
func (c *consumer) ResumeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.paused)
	c.core.each((*partition).resume)
}
