package stall

import (
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// SaramaClient is a client that consumes through a [sarama.Consumer], which create
// makes, over a sarama client with the given configuration.
func SaramaClient(name string, conf func() *sarama.Config, create func(sarama.Client) (sarama.Consumer, error)) Client {
	return Client{name, func(addrs []string, topic string, partitions int, receive Receive) (func(), error) {
		client, err := sarama.NewClient(addrs, conf())
		if err != nil {
			return nil, err
		}
		consumer, err := create(client)
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		var starting, reading sync.WaitGroup
		started, errs := make([]sarama.PartitionConsumer, partitions), make([]error, partitions)
		// All at once: sarama asks for their offsets on the connection on which it
		// fetches, where each question waits for a fetch.
		for p := range int32(partitions) {
			starting.Go(func() {
				pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
				if err != nil {
					errs[p] = err
					return
				}
				started[p] = pc
				reading.Go(func() {
					for m := range pc.Messages() {
						receive(p, m.Offset, m.Key, m.Value)
					}
				})
				reading.Go(func() {
					for range pc.Errors() { // they are no part of what is measured
					}
				})
			})
		}
		starting.Wait()
		stop := func() {
			for _, pc := range started {
				if pc != nil {
					pc.AsyncClose()
				}
			}
			reading.Wait()
			_ = consumer.Close() // what was read is judged, not how it ends
			_ = client.Close()
		}
		if err := errors.Join(errs...); err != nil {
			stop()
			return nil, err
		}
		return stop, nil
	}}
}

// SaramaDefault is what sarama gives who asks for no more than a protocol of today.
func SaramaDefault() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.Consumer.Return.Errors = true
	return conf
}

// SaramaTuned has short timeouts and backoffs, and room for what a fetch brings.
func SaramaTuned() *sarama.Config {
	conf := SaramaDefault()
	conf.Consumer.Retry.Backoff = 50 * time.Millisecond
	conf.Consumer.MaxWaitTime = 100 * time.Millisecond
	conf.Metadata.Retry.Backoff = 50 * time.Millisecond
	conf.Net.DialTimeout, conf.Net.ReadTimeout, conf.Net.WriteTimeout = 2*time.Second, 2*time.Second, 2*time.Second
	conf.ChannelBufferSize = 4096
	return conf
}
