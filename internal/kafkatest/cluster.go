// Package kafkatest runs Kafka clusters whose brokers can be broken on purpose,
// for tests and for the demo.
//
// [Start] runs an embedded cluster, kfake, over loopback TCP. Its faults are
// those that a client sees on the wire: connections dropped, a broker gone and
// back on the same port, a broker that neither answers nor closes, a partition's
// leader moved. What kfake does not show, a real cluster must: see [Cluster].
package kafkatest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config configures an embedded cluster. The zero value is a good one.
type Config struct {
	// Brokers is how many brokers the cluster has, with ids from 0. 0: three.
	Brokers int
	// Topics are created at the start, by name, with so many partitions each;
	// partition p is led by broker p modulo Brokers.
	Topics map[string]int32
	// Options are passed on to kfake.
	Options []kfake.Opt
}

// Cluster is an embedded cluster. Its methods may be called concurrently; after
// Close they return an error.
//
// It differs from Apache Kafka in that nobody elects: a killed or frozen broker
// goes on leading until [Cluster.Elect], which plays the controller whose session
// with the broker timed out, and Metadata goes on listing it. A leader that moves
// does not wake the fetches that are parked on the old one, and a former leader
// does not serve as a follower.
type Cluster struct {
	network Network
	addrs   []string // by broker id
	fake    *kfake.Cluster

	// mu is held shared during every call of fake that its goroutine answers:
	// after fake's Close nobody would.
	mu     sync.RWMutex
	closed bool

	stateMu sync.Mutex
	absent  map[int32]bool // killed or frozen: Elect gives them nothing
	topics  []string
}

var errClosed = errors.New("kafkatest: the cluster is closed")

// Start starts an embedded cluster.
func Start(cfg Config) (*Cluster, error) {
	if cfg.Brokers < 0 {
		return nil, fmt.Errorf("kafkatest: Config.Brokers is %d: it must not be negative", cfg.Brokers)
	}
	if cfg.Brokers == 0 {
		cfg.Brokers = 3
	}
	c := &Cluster{absent: make(map[int32]bool)}
	options := []kfake.Opt{kfake.NumBrokers(cfg.Brokers), kfake.ListenFn(c.network.Listen)}
	for topic, partitions := range cfg.Topics {
		options = append(options, kfake.SeedTopics(partitions, topic))
	}
	fake, err := kfake.NewCluster(append(options, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	c.fake = fake
	c.addrs = fake.ListenAddrs()
	for topic := range cfg.Topics {
		if err := c.adopt(topic); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// CreateTopic creates a topic with its leaders spread, see [Cluster.SpreadLeaders].
func (c *Cluster) CreateTopic(topic string, partitions int32) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return errClosed
	}
	if err := c.fake.CreateTopic(topic, partitions, nil); err != nil {
		return fmt.Errorf("kafkatest: create topic %s: %w", topic, err)
	}
	return c.adopt(topic)
}

// adopt spreads the leaders of a new topic. It must be called with mu held.
func (c *Cluster) adopt(topic string) error {
	for _, info := range c.fake.PartitionInfos(topic) {
		if to := info.Partition % int32(len(c.addrs)); info.Leader != to {
			if err := c.fake.MoveTopicPartition(topic, info.Partition, to); err != nil {
				return fmt.Errorf("kafkatest: %w", err)
			}
		}
	}
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	c.topics = append(c.topics, topic)
	return nil
}

// Close stops the cluster and closes its connections. It may be called repeatedly.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.fake.Close()
}

// Addrs returns the brokers' addresses, host:port, by id.
func (c *Cluster) Addrs() []string { return slices.Clone(c.addrs) }

// Fake returns the kfake cluster, for faults in single requests, groups and
// whatever else kfake can do. After Close most of its methods hang.
func (c *Cluster) Fake() *kfake.Cluster { return c.fake }

// Drop closes broker's connections and returns how many there were.
func (c *Cluster) Drop(broker int32) (int, error) {
	addr, err := c.addr(broker)
	if err != nil {
		return 0, err
	}
	return c.network.Drop(addr)
}

// Stop has others lead what broker leads of the topics that were created through
// the Cluster, then kills it.
func (c *Cluster) Stop(broker int32) error {
	if _, err := c.addr(broker); err != nil {
		return err
	}
	c.stateMu.Lock()
	topics := slices.Clone(c.topics)
	c.stateMu.Unlock()
	for _, topic := range topics {
		if _, err := c.Elect(topic, broker); err != nil {
			return err
		}
	}
	return c.Kill(broker)
}

// Kill closes broker's listener and connections: dials are refused until
// [Cluster.Revive]. It goes on leading its partitions until [Cluster.Elect].
func (c *Cluster) Kill(broker int32) error {
	return c.setAbsent(broker, true, c.network.Kill)
}

// Revive brings a killed broker back, on the same port. It leads what it led.
func (c *Cluster) Revive(broker int32) error {
	return c.setAbsent(broker, false, c.network.Revive)
}

// Freeze makes broker neither answer nor close, until [Cluster.Thaw].
func (c *Cluster) Freeze(broker int32) error {
	return c.setAbsent(broker, true, c.network.Freeze)
}

// Thaw wakes a frozen broker, which then answers what it was sent meanwhile.
func (c *Cluster) Thaw(broker int32) error {
	return c.setAbsent(broker, false, c.network.Thaw)
}

// Connections returns how many connections to broker are open.
func (c *Cluster) Connections(broker int32) int {
	addr, err := c.addr(broker)
	if err != nil {
		return 0
	}
	return c.network.Connections(addr)
}

// Leaders returns the leaders of topic's partitions, by partition.
func (c *Cluster) Leaders(topic string) ([]int32, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return nil, errClosed
	}
	infos := c.fake.PartitionInfos(topic)
	if len(infos) == 0 {
		return nil, fmt.Errorf("kafkatest: there is no topic %q", topic)
	}
	leaders := make([]int32, len(infos))
	for _, info := range infos {
		leaders[info.Partition] = info.Leader
	}
	return leaders, nil
}

// MoveLeader makes broker the leader of a partition, in a new leader epoch.
func (c *Cluster) MoveLeader(topic string, partition, broker int32) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return errClosed
	}
	if err := c.fake.MoveTopicPartition(topic, partition, broker); err != nil {
		return fmt.Errorf("kafkatest: move %s/%d to broker %d: %w", topic, partition, broker, err)
	}
	return nil
}

// MoveLeaders makes to[p] the leader of each partition p that it has, one after
// the other, in new leader epochs.
func (c *Cluster) MoveLeaders(topic string, to map[int32]int32) error {
	for _, p := range slices.Sorted(maps.Keys(to)) {
		if err := c.MoveLeader(topic, p, to[p]); err != nil {
			return err
		}
	}
	return nil
}

// Reassign makes the first of the replicas the leader: there are no others.
func (c *Cluster) Reassign(topic string, partition int32, replicas ...int32) error {
	if len(replicas) == 0 {
		return fmt.Errorf("kafkatest: reassign %s/%d: there must be a replica", topic, partition)
	}
	return c.MoveLeader(topic, partition, replicas[0])
}

// SpreadLeaders makes broker p modulo the number of brokers the leader of
// partition p: the preferred leaders. Partitions that it leads already are left
// alone.
func (c *Cluster) SpreadLeaders(topic string) error {
	leaders, err := c.Leaders(topic)
	if err != nil {
		return err
	}
	for p, leader := range leaders {
		if to := int32(p % len(c.addrs)); to != leader {
			if err := c.MoveLeader(topic, int32(p), to); err != nil {
				return err
			}
		}
	}
	return nil
}

// Settle is SpreadLeaders, when every broker is there.
func (c *Cluster) Settle(topic string) error {
	c.stateMu.Lock()
	for id, absent := range c.absent {
		if absent {
			c.stateMu.Unlock()
			return fmt.Errorf("kafkatest: broker %d does not serve", id)
		}
	}
	c.stateMu.Unlock()
	return c.SpreadLeaders(topic)
}

// Coordinator returns the broker that coordinates a consumer group.
func (c *Cluster) Coordinator(group string) (int32, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return 0, errClosed
	}
	return c.fake.CoordinatorFor(group), nil
}

// Elect gives the partitions of topic that broker leads to those other brokers,
// in turn, that are neither killed nor frozen. It returns the partitions moved.
func (c *Cluster) Elect(topic string, broker int32) ([]int32, error) {
	leaders, err := c.Leaders(topic)
	if err != nil {
		return nil, err
	}
	var present []int32
	c.stateMu.Lock()
	for id := range int32(len(c.addrs)) {
		if id != broker && !c.absent[id] {
			present = append(present, id)
		}
	}
	c.stateMu.Unlock()
	if len(present) == 0 {
		return nil, fmt.Errorf("kafkatest: no broker is left to lead what broker %d led", broker)
	}
	var moved []int32
	for p, leader := range leaders {
		if leader != broker {
			continue
		}
		if err := c.MoveLeader(topic, int32(p), present[len(moved)%len(present)]); err != nil {
			return moved, err
		}
		moved = append(moved, int32(p))
	}
	return moved, nil
}

func (c *Cluster) setAbsent(broker int32, absent bool, change func(addr string) error) error {
	addr, err := c.addr(broker)
	if err != nil {
		return err
	}
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	if err := change(addr); err != nil {
		return err
	}
	c.absent[broker] = absent
	return nil
}

func (c *Cluster) addr(broker int32) (string, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return "", errClosed
	}
	if broker < 0 || int(broker) >= len(c.addrs) {
		return "", fmt.Errorf("kafkatest: there is no broker %d", broker)
	}
	return c.addrs[broker], nil
}
