package kafkatest

// Testbed is a cluster whose leaders can be moved and whose connections dropped.
// The same tests run on all of them. Brokers are numbered from 0.
type Testbed interface {
	// Addrs returns the brokers' addresses, host:port, by id.
	Addrs() []string
	// CreateTopic creates a topic with its leaders spread, see SpreadLeaders.
	CreateTopic(topic string, partitions int32) error
	// Leaders returns the leaders of topic's partitions, by partition.
	Leaders(topic string) ([]int32, error)
	// MoveLeader makes broker the leader of a partition, in a new leader epoch.
	MoveLeader(topic string, partition, broker int32) error
	// MoveLeaders makes to[p] the leader of each partition p that it has.
	MoveLeaders(topic string, to map[int32]int32) error
	// SpreadLeaders makes broker p modulo the number of brokers the leader of
	// partition p.
	SpreadLeaders(topic string) error
	// Reassign gives a partition these replicas, of which the first leads.
	Reassign(topic string, partition int32, replicas ...int32) error
	// Settle returns when topic is as it was created. All brokers must be there.
	Settle(topic string) error

	// Drop closes the connections to broker and returns how many there were.
	Drop(broker int32) (int, error)

	// Close ends the cluster. It may be called repeatedly.
	Close()
}

// Machines is a [Testbed] whose brokers can be gone.
type Machines interface {
	Testbed

	// Stop has broker hand over what it leads and shut down.
	Stop(broker int32) error
	// Kill ends broker at once. Until [Machines.Elect] has returned it may go on
	// being named as a leader.
	Kill(broker int32) error
	// Revive brings back a broker that was stopped or killed, on the same port.
	Revive(broker int32) error
	// Freeze makes broker neither answer nor close, until Thaw.
	Freeze(broker int32) error
	Thaw(broker int32) error
	// Elect returns when others lead what broker, which is killed or frozen, led
	// of topic. The embedded cluster elects them now, where a controller would
	// wait for the session to time out.
	Elect(topic string, broker int32) ([]int32, error)
	// Coordinator returns the broker that coordinates a consumer group.
	Coordinator(group string) (int32, error)
}

var (
	_ Machines = (*Cluster)(nil)
	_ Machines = (*Kafka)(nil)
	_ Testbed  = (*Remote)(nil)
)
