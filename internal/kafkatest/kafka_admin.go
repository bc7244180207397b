package kafkatest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// adminConfig is of the connections that a cluster is asked and told things over.
func adminConfig() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.ClientID = "kafkatest"
	conf.Net.DialTimeout = time.Second
	conf.Net.ReadTimeout = 10 * time.Second
	conf.Net.WriteTimeout = time.Second
	return conf
}

// askAt runs do on a connection to the broker at addr that is made for it.
func askAt(conf *sarama.Config, addr string, do func(*sarama.Broker) error) error {
	b := sarama.NewBroker(addr)
	if err := b.Open(conf); err != nil {
		return err
	}
	defer b.Close()                          //nolint:errcheck // it may not have been connected
	if _, err := b.Connected(); err != nil { // waits for the dial
		return fmt.Errorf("broker %s: %w", addr, err)
	}
	return do(b)
}

// askAny runs do on a connection to some broker that runs.
func (k *Kafka) askAny(do func(*sarama.Broker) error) error {
	for _, n := range k.nodes {
		if n.serving() {
			return askAt(k.conf, n.addr(), do)
		}
	}
	return errors.New("kafkatest: no broker runs")
}

// view returns what broker says: of the named topics, or of all where none is.
func (k *Kafka) view(broker int, topics ...string) (*sarama.MetadataResponse, error) {
	return viewOf(k.conf, k.nodes[broker].addr(), topics...)
}

// viewOf returns what the broker at addr says, with the partitions in their order.
func viewOf(conf *sarama.Config, addr string, topics ...string) (v *sarama.MetadataResponse, err error) {
	err = askAt(conf, addr, func(b *sarama.Broker) error {
		v, err = b.GetMetadata(sarama.NewMetadataRequest(conf.Version, topics))
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, t := range v.Topics {
		if t.Err != sarama.ErrNoError {
			return nil, fmt.Errorf("broker %s: topic %s: %w", addr, t.Name, t.Err)
		}
		slices.SortFunc(t.Partitions, func(a, b *sarama.PartitionMetadata) int { return cmp.Compare(a.ID, b.ID) })
	}
	return v, nil
}

// everywhere polls until check returns nil for the view of each broker that
// serves.
func (k *Kafka) everywhere(ctx context.Context, check func(*sarama.MetadataResponse) error, topics ...string) error {
	return poll(ctx, func() error {
		for id, n := range k.nodes {
			if !n.serving() {
				continue
			}
			v, err := k.view(id, topics...)
			if err == nil {
				err = check(v)
			}
			if err != nil && n.gone() { // a process that has ended does not come up
				return fmt.Errorf("broker %d: %w", id, errGone)
			}
			if err != nil {
				return fmt.Errorf("broker %d: %w", id, err)
			}
		}
		return nil
	})
}

// awaitBrokers returns when all brokers that serve answer and list each other.
func (k *Kafka) awaitBrokers(ctx context.Context) error {
	err := k.everywhere(ctx, func(v *sarama.MetadataResponse) error {
		if k.ctl.gone() {
			return fmt.Errorf("controller: %w", errGone)
		}
		for id, n := range k.nodes {
			listed := slices.ContainsFunc(v.Brokers, func(b *sarama.Broker) bool { return int(b.ID()) == id })
			if n.serving() && !listed {
				return fmt.Errorf("it does not list broker %d yet", id)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("the brokers do not come up: %w", err)
	}
	return nil
}

// CreateTopic creates a topic whose partition p is led by broker p modulo the
// number of brokers, with the next ones as its followers.
func (k *Kafka) CreateTopic(topic string, partitions int32) error {
	detail := &sarama.TopicDetail{NumPartitions: -1, ReplicationFactor: -1, ReplicaAssignment: make(map[int32][]int32)}
	for p := range partitions {
		for i := range k.cfg.Replicas {
			detail.ReplicaAssignment[p] = append(detail.ReplicaAssignment[p], (p+int32(i))%int32(len(k.nodes)))
		}
	}
	err := k.askAny(func(b *sarama.Broker) error {
		r, err := b.CreateTopics(sarama.NewCreateTopicsRequest(k.conf.Version, map[string]*sarama.TopicDetail{topic: detail}, patience, false))
		if err != nil {
			return err
		}
		if e := r.TopicErrors[topic]; e != nil && e.Err != sarama.ErrNoError {
			return e
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("kafkatest: create topic %s: %w", topic, err)
	}
	err = k.everywhere(context.Background(), func(v *sarama.MetadataResponse) error { return spread(v, len(k.nodes)) }, topic)
	if err != nil {
		return fmt.Errorf("kafkatest: %w", err)
	}
	for id, n := range k.nodes {
		if err := awaitLed(k.conf, n.addr(), topic, int32(id), int32(len(k.nodes)), partitions); err != nil {
			return err
		}
	}
	return nil
}

// awaitLed returns when the broker at addr answers for the partitions that it
// leads: each step-th, from the first on. It is named as their leader before it
// does.
func awaitLed(conf *sarama.Config, addr, topic string, first, step, partitions int32) error {
	r := sarama.NewOffsetRequest(conf.Version)
	for p := first; p < partitions; p += step {
		r.AddBlock(topic, p, sarama.OffsetNewest, 1)
	}
	err := poll(context.Background(), func() error {
		return askAt(conf, addr, func(b *sarama.Broker) error {
			answer, err := b.GetAvailableOffsets(r)
			if err != nil {
				return err
			}
			for p := first; p < partitions; p += step {
				if block := answer.GetBlock(topic, p); block == nil || block.Err != sarama.ErrNoError {
					return fmt.Errorf("broker %s does not serve partition %d yet", addr, p)
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("kafkatest: %s: %w", topic, err)
	}
	return nil
}

// Leaders returns the leaders of topic's partitions, by partition, -1 where there
// is none, in the view of some broker that runs.
func (k *Kafka) Leaders(topic string) (leaders []int32, err error) {
	for id, n := range k.nodes {
		if !n.serving() {
			continue
		}
		v, err := k.view(id, topic)
		if err != nil {
			return nil, fmt.Errorf("kafkatest: %w", err)
		}
		for _, p := range v.Topics[0].Partitions {
			leaders = append(leaders, p.Leader)
		}
		return leaders, nil
	}
	return nil, errors.New("kafkatest: no broker runs")
}

// MoveLeader makes broker the leader of a partition.
func (k *Kafka) MoveLeader(topic string, partition, broker int32) error {
	return k.MoveLeaders(topic, map[int32]int32{partition: broker})
}

// MoveLeaders makes to[p] the leader of each partition p that it has, in one
// election, and returns when every broker that serves knows. A broker that is no
// replica of the partition takes the place of the last one, and copies its log
// first.
func (k *Kafka) MoveLeaders(topic string, to map[int32]int32) error {
	replicas, err := k.prefer(topic, to)
	if err != nil {
		return fmt.Errorf("kafkatest: move leaders of %s: %w", topic, err)
	}
	return k.elect(topic, replicas)
}

// Reassign gives a partition these replicas, the first of which is to lead, and
// returns when every broker that serves knows and all are in sync.
func (k *Kafka) Reassign(topic string, partition int32, replicas ...int32) error {
	for _, b := range replicas {
		if _, err := k.node(b); err != nil {
			return err
		}
	}
	if len(replicas) == 0 {
		return fmt.Errorf("kafkatest: reassign %s/%d: there must be a replica", topic, partition)
	}
	to := map[int32][]int32{partition: replicas}
	if err := k.reassign(topic, to); err != nil {
		return fmt.Errorf("kafkatest: reassign %s/%d: %w", topic, partition, err)
	}
	return k.elect(topic, to)
}

// prefer makes to[p] the preferred leader of each partition p, and returns their
// replicas.
func (k *Kafka) prefer(topic string, to map[int32]int32) (map[int32][]int32, error) {
	for _, b := range to {
		if _, err := k.node(b); err != nil {
			return nil, err
		}
	}
	var v *sarama.MetadataResponse
	err := poll(context.Background(), func() (err error) {
		err = errors.New("kafkatest: no broker runs")
		for id, n := range k.nodes {
			if n.serving() {
				v, err = k.view(id, topic)
				break
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all, changed := make(map[int32][]int32), make(map[int32][]int32)
	for _, p := range v.Topics[0].Partitions {
		leader, ok := to[p.ID]
		if !ok {
			continue
		}
		replicas := []int32{leader}
		for _, r := range p.Replicas {
			if r != leader && len(replicas) < len(p.Replicas) {
				replicas = append(replicas, r)
			}
		}
		all[p.ID] = replicas
		if !slices.Equal(replicas, p.Replicas) {
			changed[p.ID] = replicas
		}
	}
	if len(all) != len(to) {
		return nil, fmt.Errorf("it has %d partitions only", len(v.Topics[0].Partitions))
	}
	if len(changed) > 0 {
		err = k.reassign(topic, changed)
	}
	return all, err
}

// reassign returns when the partitions have these replicas, and all are in sync.
func (k *Kafka) reassign(topic string, to map[int32][]int32) error {
	r := &sarama.AlterPartitionReassignmentsRequest{TimeoutMs: int32(patience.Milliseconds())}
	for p, replicas := range to {
		r.AddBlock(topic, p, replicas)
	}
	attempt := func(b *sarama.Broker) error {
		answer, err := b.AlterPartitionReassignments(r)
		if err != nil {
			return err
		}
		if answer.ErrorCode != sarama.ErrNoError {
			return answer.ErrorCode
		}
		return nil // a single partition's error is not to be had from sarama: it does not get there
	}
	// Somebody may close this process's connections meanwhile.
	err := poll(context.Background(), func() error { return k.askAny(attempt) })
	if err != nil {
		return err
	}
	return k.everywhere(context.Background(), func(v *sarama.MetadataResponse) error {
		for _, p := range v.Topics[0].Partitions {
			if want := to[p.ID]; want != nil && (!slices.Equal(p.Replicas, want) || len(p.Isr) != len(want)) {
				return fmt.Errorf("partition %d has replicas %v, in sync %v, and is to have %v", p.ID, p.Replicas, p.Isr, want)
			}
		}
		return nil
	}, topic)
}

// elect has the first of the replicas lead, and returns when all know.
func (k *Kafka) elect(topic string, replicas map[int32][]int32) error {
	r := &sarama.ElectLeadersRequest{
		Version:         2,
		Type:            sarama.PreferredElection,
		TopicPartitions: make(map[string][]int32),
		TimeoutMs:       int32(patience.Milliseconds()),
	}
	for p := range replicas {
		r.TopicPartitions[topic] = append(r.TopicPartitions[topic], p)
	}
	attempt := func() error {
		return k.askAny(func(b *sarama.Broker) error {
			answer, err := b.ElectLeaders(r)
			if err != nil {
				return err
			}
			for p, e := range answer.ReplicaElectionResults[topic] {
				if e.ErrorCode != sarama.ErrNoError && e.ErrorCode != sarama.ErrElectionNotNeeded {
					return fmt.Errorf("partition %d: %w", p, e.ErrorCode)
				}
			}
			if answer.ErrorCode != sarama.ErrNoError {
				return answer.ErrorCode
			}
			return nil
		})
	}
	// A replica that has just come back may not be in sync yet.
	if err := poll(context.Background(), attempt); err != nil {
		return fmt.Errorf("kafkatest: elect leaders of %s: %w", topic, err)
	}
	return k.everywhere(context.Background(), func(v *sarama.MetadataResponse) error {
		for _, p := range v.Topics[0].Partitions {
			if want := replicas[p.ID]; want != nil && p.Leader != want[0] {
				return fmt.Errorf("broker %d leads partition %d, not %d", p.Leader, p.ID, want[0])
			}
		}
		return nil
	}, topic)
}

// SpreadLeaders makes broker p modulo the number of brokers the leader of
// partition p, which is as [Kafka.CreateTopic] had it. All brokers must serve.
func (k *Kafka) SpreadLeaders(topic string) error {
	leaders, err := k.Leaders(topic)
	if err != nil {
		return err
	}
	to := make(map[int32]int32)
	for p, leader := range leaders {
		if want := int32(p % len(k.nodes)); want != leader {
			to[int32(p)] = want
		}
	}
	if len(to) == 0 {
		return nil
	}
	return k.MoveLeaders(topic, to)
}

// Elect returns when others lead what broker, which was killed or frozen, led of
// topic, and everybody knows: it waits for the controller. It returns the
// partitions that broker led when the call began.
func (k *Kafka) Elect(topic string, broker int32) ([]int32, error) {
	if _, err := k.node(broker); err != nil {
		return nil, err
	}
	leaders, err := k.Leaders(topic)
	if err != nil {
		return nil, err
	}
	var moved []int32
	for p, leader := range leaders {
		if leader == broker {
			moved = append(moved, int32(p))
		}
	}
	err = k.everywhere(context.Background(), func(v *sarama.MetadataResponse) error {
		for _, p := range v.Topics[0].Partitions {
			if p.Leader == broker || p.Leader < 0 {
				return fmt.Errorf("broker %d leads partition %d", p.Leader, p.ID)
			}
		}
		return nil
	}, topic)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: nobody leads in the place of broker %d: %w", broker, err)
	}
	return moved, nil
}

// Coordinator returns the broker that coordinates a consumer group, once there is
// one: the first group has the topic created that groups are kept in.
func (k *Kafka) Coordinator(group string) (id int32, err error) {
	r := &sarama.FindCoordinatorRequest{Version: 2, CoordinatorKey: group, CoordinatorType: sarama.CoordinatorGroup}
	err = poll(context.Background(), func() error {
		return k.askAny(func(b *sarama.Broker) error {
			answer, err := b.FindCoordinator(r)
			if err != nil {
				return err
			}
			if answer.Err != sarama.ErrNoError {
				return answer.Err
			}
			id = answer.Coordinator.ID()
			return nil
		})
	})
	if err != nil {
		return 0, fmt.Errorf("kafkatest: the coordinator of %s: %w", group, err)
	}
	return id, nil
}

// Settle returns when every broker serves, all replicas of topic are in sync, and
// its leaders are spread as [Kafka.SpreadLeaders] does it: what a fault begins at.
func (k *Kafka) Settle(topic string) error {
	for id, n := range k.nodes {
		if !n.serving() {
			return fmt.Errorf("kafkatest: broker %d does not serve", id)
		}
	}
	if err := k.awaitBrokers(context.Background()); err != nil {
		return err
	}
	err := k.everywhere(context.Background(), func(v *sarama.MetadataResponse) error {
		for _, p := range v.Topics[0].Partitions {
			if len(p.Isr) != len(p.Replicas) {
				return fmt.Errorf("of partition %d only %v of %v are in sync", p.ID, p.Isr, p.Replicas)
			}
		}
		return nil
	}, topic)
	if err != nil {
		return fmt.Errorf("kafkatest: %s does not settle: %w", topic, err)
	}
	return k.SpreadLeaders(topic)
}

// spread returns nil when every partition is in sync and led by its first
// replica, which is partition modulo brokers.
func spread(v *sarama.MetadataResponse, brokers int) error {
	for _, p := range v.Topics[0].Partitions {
		if p.Leader != p.ID%int32(brokers) || len(p.Isr) != len(p.Replicas) {
			return fmt.Errorf("broker %d leads partition %d, with %v in sync", p.Leader, p.ID, p.Isr)
		}
	}
	return nil
}
