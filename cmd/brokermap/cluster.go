package main

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/brokers"
)

// How long a broker may take. A demo that is stuck shows nothing, and a request
// that waits out sarama's 30 s is one.
const netTimeout = time.Second

// clientConfig is what everything in the demo is connected with.
func clientConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.ClientID = "brokermap-demo"
	conf.Net.DialTimeout = netTimeout
	conf.Net.WriteTimeout = netTimeout
	conf.Net.ReadTimeout = netTimeout
	return conf
}

// metadata asks a cluster about one topic.
type metadata struct {
	topic   string
	cluster *brokers.Cluster
}

// clusterView is what one answer said.
type clusterView struct {
	brokers.View
	topicErr error            // why there are no leaders
	leaders  []brokers.Leader // by partition
}

func newMetadata(topic string, addrs []string) *metadata {
	return &metadata{topic, brokers.NewCluster(clientConfig(), func() []string { return addrs })}
}

func (m *metadata) close() { m.cluster.Close() }

// ask returns the answer to a request that begins after the call.
func (m *metadata) ask(ctx context.Context) (*clusterView, error) {
	ctx, cancel := context.WithTimeout(ctx, netTimeout)
	defer cancel()
	v, err := m.cluster.Metadata(ctx, m.topic)
	if err != nil {
		return nil, err
	}
	t, there := v.Topics[m.topic]
	if !there {
		return nil, fmt.Errorf("a metadata request for topic %q was answered with others", m.topic)
	}
	return &clusterView{View: *v, topicErr: t.Err, leaders: t.Partitions}, nil
}

// newConn makes a connection to addr that nobody else uses.
func newConn(addr string) *brokers.Conn {
	return brokers.NewConn(brokers.ConnConfig{Client: clientConfig()}, sarama.NewBroker(addr))
}

// withBroker runs do on a connection to addr that is made for it.
func withBroker(ctx context.Context, addr string, do func(*sarama.Broker) error) error {
	conn := newConn(addr)
	defer conn.Close()
	return conn.Do(ctx, do)
}
