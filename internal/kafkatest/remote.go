package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Remote is a cluster that runs somewhere, to be disturbed with what Kafka's
// protocol has. Its brokers are numbered from 0 in the order of their ids. Its
// methods may be called concurrently.
type Remote struct {
	admin sarama.ClusterAdmin
	conf  *sarama.Config
	ids   []int32  // by number
	addrs []string // likewise

	mu     sync.Mutex
	topics []string // that were created, to be removed by Close
	closed bool
}

// Connect connects to the cluster of which some brokers have these addresses.
func Connect(addrs []string) (*Remote, error) {
	conf := adminConfig()
	// Whoever is no Kafka may accept and be silent: that is not to take as long as
	// Kafka may take for what it is asked later, and as often as sarama tries.
	probe := *conf
	probe.Net.ReadTimeout = 2 * time.Second
	var failed []error
	for _, addr := range addrs {
		err := askAt(&probe, addr, func(b *sarama.Broker) error {
			_, err := b.ApiVersions(&sarama.ApiVersionsRequest{})
			return err
		})
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == len(addrs) {
		return nil, fmt.Errorf("kafkatest: none of the brokers %v answers: %w", addrs, errors.Join(failed...))
	}
	admin, err := sarama.NewClusterAdmin(addrs, conf)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: brokers %v: %w", addrs, err)
	}
	brokers, _, err := admin.DescribeCluster()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kafkatest: brokers %v: %w", addrs, err), admin.Close())
	}
	slices.SortFunc(brokers, func(a, b *sarama.Broker) int { return int(a.ID() - b.ID()) })
	r := &Remote{admin: admin, conf: conf}
	for _, b := range brokers {
		r.ids, r.addrs = append(r.ids, b.ID()), append(r.addrs, b.Addr())
	}
	return r, nil
}

// Addrs returns the brokers' addresses, host:port, by number.
func (r *Remote) Addrs() []string { return slices.Clone(r.addrs) }

// Close removes the topics that were created, and disconnects.
func (r *Remote) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	for _, topic := range r.topics {
		_ = r.admin.DeleteTopic(topic) // it is named for what it was
	}
	_ = r.admin.Close()
}

// CreateTopic creates a topic whose partition p is led by broker p modulo the
// number of brokers, and has three replicas where there are so many brokers.
func (r *Remote) CreateTopic(topic string, partitions int32) error {
	detail := &sarama.TopicDetail{NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: make(map[int32][]int32)}
	for p := range partitions {
		for i := range min(3, len(r.ids)) {
			detail.ReplicaAssignment[p] = append(detail.ReplicaAssignment[p], r.ids[(int(p)+i)%len(r.ids)])
		}
	}
	if err := r.admin.CreateTopic(topic, detail, false); err != nil {
		return fmt.Errorf("kafkatest: create topic %s: %w", topic, err)
	}
	r.mu.Lock()
	r.topics = append(r.topics, topic)
	r.mu.Unlock()
	err := r.await(topic, func(p *sarama.PartitionMetadata) error {
		if p.Leader != p.Replicas[0] || len(p.Isr) != len(p.Replicas) {
			return fmt.Errorf("partition %d has leader %d and %v in sync", p.ID, p.Leader, p.Isr)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, addr := range r.addrs {
		if err := awaitLed(r.conf, addr, topic, int32(i), int32(len(r.addrs)), partitions); err != nil {
			return err
		}
	}
	return nil
}

// partitions returns a topic's, in their order, as some broker knows them.
func (r *Remote) partitions(topic string) (partitions []*sarama.PartitionMetadata, err error) {
	for _, addr := range r.addrs {
		v, viewErr := viewOf(r.conf, addr, topic)
		if viewErr == nil {
			return v.Topics[0].Partitions, nil
		}
		err = errors.Join(err, viewErr)
	}
	return nil, err
}

// await polls until check returns nil for all partitions, as every broker knows
// them.
func (r *Remote) await(topic string, check func(*sarama.PartitionMetadata) error) error {
	err := poll(context.Background(), func() error {
		for _, addr := range r.addrs {
			v, err := viewOf(r.conf, addr, topic)
			if err != nil {
				return err
			}
			for _, p := range v.Topics[0].Partitions {
				if err := check(p); err != nil {
					return fmt.Errorf("broker %s: %w", addr, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kafkatest: %s: %w", topic, err)
	}
	return nil
}

// Leaders returns the numbers of the leaders of topic's partitions, -1 where there
// is none.
func (r *Remote) Leaders(topic string) ([]int32, error) {
	partitions, err := r.partitions(topic)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: %s: %w", topic, err)
	}
	var leaders []int32
	for _, p := range partitions {
		leaders = append(leaders, int32(slices.Index(r.ids, p.Leader)))
	}
	return leaders, nil
}

// MoveLeader makes a broker the leader of a partition.
func (r *Remote) MoveLeader(topic string, partition, broker int32) error {
	return r.MoveLeaders(topic, map[int32]int32{partition: broker})
}

// MoveLeaders makes to[p] the leader of each partition p that it has, in one
// election. A broker that is no replica takes the place of the last one.
func (r *Remote) MoveLeaders(topic string, to map[int32]int32) error {
	partitions, err := r.partitions(topic)
	if err != nil {
		return fmt.Errorf("kafkatest: %s: %w", topic, err)
	}
	all := make([][]int32, len(partitions))
	moved := 0
	for i, p := range partitions {
		all[i] = p.Replicas
		broker, ok := to[p.ID]
		if !ok {
			continue
		}
		if broker < 0 || int(broker) >= len(r.ids) {
			return fmt.Errorf("kafkatest: there is no broker %d", broker)
		}
		moved++
		all[i] = []int32{r.ids[broker]}
		for _, other := range p.Replicas {
			if other != r.ids[broker] && len(all[i]) < len(p.Replicas) {
				all[i] = append(all[i], other)
			}
		}
	}
	if moved != len(to) {
		return fmt.Errorf("kafkatest: %s has %d partitions only", topic, len(partitions))
	}
	return r.place(topic, all, to)
}

// place gives all partitions their replicas, and has the first of them lead those
// in moved.
func (r *Remote) place(topic string, replicas [][]int32, moved map[int32]int32) error {
	if err := r.admin.AlterPartitionReassignments(topic, replicas); err != nil {
		return fmt.Errorf("kafkatest: reassign %s: %w", topic, err)
	}
	err := r.await(topic, func(p *sarama.PartitionMetadata) error {
		if !slices.Equal(p.Replicas, replicas[p.ID]) || len(p.Isr) != len(p.Replicas) {
			return fmt.Errorf("partition %d has replicas %v, and %v in sync", p.ID, p.Replicas, p.Isr)
		}
		return nil
	})
	if err != nil {
		return err
	}
	which := map[string][]int32{topic: nil}
	for p := range moved {
		which[topic] = append(which[topic], p)
	}
	if _, err := r.admin.ElectLeaders(sarama.PreferredElection, which); err != nil && !errors.Is(err, sarama.ErrElectionNotNeeded) {
		return fmt.Errorf("kafkatest: elect leaders of %s: %w", topic, err)
	}
	return r.await(topic, func(p *sarama.PartitionMetadata) error {
		if _, ok := moved[p.ID]; ok && p.Leader != p.Replicas[0] {
			return fmt.Errorf("broker %d leads partition %d, not %d", p.Leader, p.ID, p.Replicas[0])
		}
		return nil
	})
}

// SpreadLeaders makes broker p modulo the number of brokers the leader of
// partition p.
func (r *Remote) SpreadLeaders(topic string) error {
	leaders, err := r.Leaders(topic)
	if err != nil {
		return err
	}
	to := make(map[int32]int32)
	for p, leader := range leaders {
		if want := int32(p % len(r.ids)); want != leader {
			to[int32(p)] = want
		}
	}
	if len(to) == 0 {
		return nil
	}
	return r.MoveLeaders(topic, to)
}

// Reassign gives a partition these replicas, of which the first leads.
func (r *Remote) Reassign(topic string, partition int32, replicas ...int32) error {
	partitions, err := r.partitions(topic)
	if err != nil {
		return fmt.Errorf("kafkatest: %s: %w", topic, err)
	}
	if len(replicas) == 0 || partition < 0 || int(partition) >= len(partitions) {
		return fmt.Errorf("kafkatest: reassign %s/%d to %v: there must be such a partition and a replica", topic, partition, replicas)
	}
	all := make([][]int32, len(partitions))
	for i, p := range partitions {
		all[i] = p.Replicas
	}
	all[partition] = nil
	for _, b := range replicas {
		if b < 0 || int(b) >= len(r.ids) {
			return fmt.Errorf("kafkatest: there is no broker %d", b)
		}
		all[partition] = append(all[partition], r.ids[b])
	}
	return r.place(topic, all, map[int32]int32{partition: replicas[0]})
}

// Settle is SpreadLeaders, when all replicas are in sync.
func (r *Remote) Settle(topic string) error {
	err := r.await(topic, func(p *sarama.PartitionMetadata) error {
		if len(p.Isr) != len(p.Replicas) {
			return fmt.Errorf("of partition %d only %v of %v are in sync", p.ID, p.Isr, p.Replicas)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.SpreadLeaders(topic)
}

// Drop closes the connections that this process has to a broker. It works on Linux
// only.
func (r *Remote) Drop(broker int32) (int, error) {
	if broker < 0 || int(broker) >= len(r.ids) {
		return 0, fmt.Errorf("kafkatest: there is no broker %d", broker)
	}
	return dropConnections(r.addrs[broker])
}
