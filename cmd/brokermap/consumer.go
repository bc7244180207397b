package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/consumer"
)

// consumption consumes every partition of the topic, from the start.
type consumption struct {
	client sarama.Client
	reader *consumer.Reader
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// startConsumer reads so many partitions into check.
func startConsumer(addrs []string, topic string, check *checker, log *console, partitions int) (*consumption, error) {
	conf := clientConfig()
	conf.Consumer.MaxWaitTime = fetchWait
	client, err := sarama.NewClient(addrs, conf)
	if err != nil {
		return nil, err
	}
	reader, err := consumer.NewReader(client, consumer.Config{Logger: log.logger()})
	if err != nil {
		return nil, fmt.Errorf("%w; %w", err, client.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &consumption{client: client, reader: reader, stop: cancel}
	for p := range int32(partitions) {
		if err := reader.Add(topic, p, sarama.OffsetOldest); err != nil {
			c.close()
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	c.done.Go(func() {
		for b, err := range reader.Batches(ctx) {
			if err != nil {
				log.verbose("%v", err)
				continue
			}
			check.received(b)
		}
	})
	return c, nil
}

// fetchWait is how long a broker may park a fetch for which it has nothing.
const fetchWait = 100 * time.Millisecond

func (c *consumption) close() {
	c.stop()
	c.done.Wait()
	_ = c.reader.Close()
	_ = c.client.Close()
}

// shutdown ends the consumption, and returns the error of ctx when that takes
// longer.
func (c *consumption) shutdown(ctx context.Context) error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.close()
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the consumer does not stop: %w", ctx.Err())
	}
}
