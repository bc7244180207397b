package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/IBM/sarama"
)

// leaders says over which connection a partition's leader is reached. For one
// broker at one address that is one *sarama.Broker, which nobody but its
// executor opens, until the executor says that it broke; then it is a new one.
type leaders struct {
	metadata *metadata

	mu     sync.Mutex
	conns  map[node]*sarama.Broker
	epochs []int32 // by partition, the highest seen
}

// node identifies a broker; one that comes back elsewhere is another one.
type node struct {
	id   int32
	addr string
}

// lead is the answer for one partition.
type lead struct {
	conn  *sarama.Broker
	epoch int32 // to be sent with every fetch
	err   error
}

func newLeaders(m *metadata, partitions int) *leaders {
	return &leaders{metadata: m, conns: make(map[node]*sarama.Broker), epochs: make([]int32, partitions)}
}

// resolve answers for partitions, in their order, with one metadata request that
// begins after the call.
func (l *leaders) resolve(ctx context.Context, partitions []int32) []lead {
	answers := make([]lead, len(partitions))
	v, err := l.metadata.ask(ctx)
	if err == nil {
		err = v.topicErr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range partitions {
		if err != nil {
			answers[i].err = err
			continue
		}
		answers[i] = l.answer(v, p)
	}
	return answers
}

// answer must be called with mu held.
func (l *leaders) answer(v *clusterView, partition int32) lead {
	if int(partition) >= len(v.leaders) {
		return lead{err: sarama.ErrUnknownTopicOrPartition}
	}
	now := v.leaders[partition]
	if now.err != nil {
		return lead{err: now.err}
	}
	// A broker that was cut off believes for a while that it leads what it led,
	// and says so to whoever asks it.
	if known := l.epochs[partition]; now.epoch >= 0 && now.epoch < known {
		return lead{err: fmt.Errorf("broker %d leads partition %d in epoch %d, says the answer of one who does not know of epoch %d",
			now.broker, partition, now.epoch, known)}
	}
	l.epochs[partition] = max(l.epochs[partition], now.epoch)
	n := node{now.broker, now.addr}
	conn := l.conns[n]
	if conn == nil {
		conn = sarama.NewBroker(now.addr)
		l.conns[n] = conn
	}
	return lead{conn: conn, epoch: now.epoch}
}

// broken makes the next resolution of the broker behind conn return a new
// connection.
func (l *leaders) broken(conn *sarama.Broker) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.find(conn); ok {
		delete(l.conns, n)
	}
}

// brokerOf returns the id of the broker behind conn, or -1 where the connection
// broke.
func (l *leaders) brokerOf(conn *sarama.Broker) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.find(conn); ok {
		return n.id
	}
	return -1
}

func (l *leaders) find(conn *sarama.Broker) (node, bool) {
	for n, c := range l.conns {
		if c == conn {
			return n, true
		}
	}
	return node{}, false
}
