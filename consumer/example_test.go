package consumer_test

import (
	"context"
	"fmt"
	"log"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/consumer"
	"github.com/brokermap/brokermap/internal/kafkatest"
)

// cluster starts a cluster with a topic that has some records, and a client.
func cluster() (client sarama.Client, stop func()) {
	c, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{"orders": 2}})
	if err != nil {
		log.Fatal(err)
	}
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.Producer.Return.Successes = true
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	client, err = sarama.NewClient(c.Addrs(), conf)
	if err != nil {
		log.Fatal(err)
	}
	producer, err := sarama.NewSyncProducerFromClient(client)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		for p := range int32(2) {
			m := &sarama.ProducerMessage{Topic: "orders", Partition: p, Value: sarama.StringEncoder(fmt.Sprint("order ", i))}
			if _, _, err := producer.SendMessage(m); err != nil {
				log.Fatal(err)
			}
		}
	}
	_ = producer.Close()
	return client, func() {
		_ = client.Close()
		c.Close()
	}
}

// One line is different from a program with sarama's consumer.
func Example() {
	client, stop := cluster()
	defer stop()

	c, err := consumer.New(client, consumer.Config{}) // was sarama.NewConsumerFromClient(client)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = c.Close() }()

	orders, err := c.ConsumePartition("orders", 0, sarama.OffsetOldest)
	if err != nil {
		fmt.Println(err)
		return
	}
	for m := range orders.Messages() {
		fmt.Printf("%d: %s\n", m.Offset, m.Value)
		if m.Offset+1 == orders.HighWaterMarkOffset() {
			orders.AsyncClose()
		}
	}
	// Output:
	// 0: order 0
	// 1: order 1
	// 2: order 2
}

// A reader hands out the records of many partitions in batches. Where it is left,
// Positions says how to go on.
func ExampleReader() {
	client, stop := cluster()
	defer stop()

	r, err := consumer.NewReader(client, consumer.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = r.Close() }()
	for p := range int32(2) {
		if err := r.Add("orders", p, sarama.OffsetOldest); err != nil {
			fmt.Println(err)
			return
		}
	}
	n := 0
	for batch, err := range r.Batches(context.Background()) {
		if err != nil {
			log.Print(err) // of one partition; it goes on
			continue
		}
		for i := range batch.Records {
			_ = batch.Records[i].Value // valid until the next batch
			n++
		}
		if n == 6 {
			break
		}
	}
	fmt.Println(n, "records, to go on at", r.Positions())
	// Output: 6 records, to go on at map[orders:map[0:3 1:3]]
}
