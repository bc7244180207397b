package brokers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// PartitionWorker is a worker that the leader of a partition serves.
type PartitionWorker interface {
	mapper.Worker
	// Partition returns what the worker is for. It must not change in a life.
	Partition() (topic string, partition int32)
	// Replica returns the broker to ask instead of the leader (KIP-392), -1 for
	// the leader itself.
	Replica() int32
	// Resolved is called with every answer, before the mapper has it: who leads
	// the partition (also where a replica is asked), or Err why nobody does. It
	// must not block.
	Resolved(Leader)
}

// Leaders resolves [PartitionWorker]s. It implements mapper.BatchResolver. Its
// methods may be called concurrently.
//
// However many workers are to be resolved, one metadata request is on its way at
// a time, and everybody who asks meanwhile shares the next one. A leader epoch
// that is lower than one seen before is not believed (KIP-320): a broker that was
// cut off says for a while that it leads what it led.
type Leaders struct {
	cfg     LeadersConfig
	cluster *Cluster
	rounds  *rounds[string, *View]
	pool    pool

	// Who was refused is not to try again at once: accounts get locked. Of refresh,
	// which runs once at a time.
	held      error
	heldUntil time.Time

	mu      sync.Mutex
	known   map[topicPartition]*belief
	brokers map[int32]string // addresses by id, of the last answer and of hints
}

// LeadersConfig configures [NewLeaders].
type LeadersConfig struct {
	// Cluster answers metadata requests. The caller closes it, after Leaders.
	Cluster *Cluster
	// Spawn makes the executor for a connection to a broker. It is
	// mapper.Resolver's SpawnExecutor.
	Spawn func(conn *sarama.Broker, broker int32) mapper.Executor
	// Check, where it is not nil, is asked before each request; its error is the
	// answer to everyone.
	Check func() error
	// Addr, where it is not nil, returns the address of a broker that was not named
	// by an answer before, "" where it is unknown.
	Addr func(broker int32) string
	// Moved, where it is not nil, is called when an answer names a newer leader of a
	// partition that was resolved before and that nobody asks for now: to resolve it
	// again takes no request. It must not block.
	Moved func(topic string, partition int32)
}

type topicPartition struct {
	topic     string
	partition int32
}

// belief is what is known of one partition.
type belief struct {
	topic   sarama.Uuid
	epoch   int32     // the highest seen, -1 for none
	stale   time.Time // since when there were only lower ones; zero: that is not so
	hint    Leader    // the answer to the next question
	hinted  bool
	current Leader // the last answer
	asked   int    // calls that wait for an answer
}

// staleAtMost is for how long lower epochs are not believed. A topic that was
// deleted and made again begins with epoch 0, and below Kafka 2.8 nothing else
// tells it from the old one. No broker is cut off from its controller for that
// long and goes on answering.
const staleAtMost = 30 * time.Second

// errOutdated is the error of a belief that is not shared.
var errOutdated = errors.New("a broker that does not know")

// NewLeaders makes a resolver. Close ends it.
func NewLeaders(cfg LeadersConfig) *Leaders {
	l := &Leaders{cfg: cfg, cluster: cfg.Cluster, known: make(map[topicPartition]*belief), brokers: make(map[int32]string)}
	l.rounds = newRounds(l.refresh)
	return l
}

// Close interrupts the request on its way, and returns when it has ended. The
// mapper must have stopped.
func (l *Leaders) Close() { l.rounds.close() }

// SpawnExecutor implements mapper.Resolver.
func (l *Leaders) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	return l.cfg.Spawn(conn, l.pool.id(conn))
}

// ResolveBroker implements mapper.Resolver.
func (l *Leaders) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	r := l.ResolveBrokers(context.Background(), []mapper.Worker{w})[0]
	return r.BrokerConn, r.Err
}

// ResolveBrokers implements mapper.BatchResolver. The workers must be
// [PartitionWorker]s.
func (l *Leaders) ResolveBrokers(ctx context.Context, workers []mapper.Worker) []mapper.Resolution {
	resolutions := make([]mapper.Resolution, len(workers))
	var asking []int // indexes of those that need a request
	var topics []string
	seen := make(map[string]bool)
	for i, w := range workers {
		w := w.(PartitionWorker)
		if conn := l.shortcut(w); conn != nil {
			resolutions[i].BrokerConn = conn
			continue
		}
		asking = append(asking, i)
		if topic, _ := w.Partition(); !seen[topic] {
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	if len(asking) == 0 {
		return resolutions
	}
	l.ask(workers, asking, 1)
	view, err := l.rounds.join(ctx, topics)
	outdated := false
	for _, i := range asking {
		w := workers[i].(PartitionWorker)
		leader := Leader{ID: -1, Epoch: -1, Err: err}
		if err == nil {
			leader = l.believe(view, w)
		}
		outdated = outdated || errors.Is(leader.Err, errOutdated)
		w.Resolved(leader)
		resolutions[i] = l.resolution(w, leader)
	}
	l.ask(workers, asking, -1)
	if outdated {
		l.cluster.distrust()
	}
	return resolutions
}

// ask takes note of calls that wait for an answer, n more of them.
func (l *Leaders) ask(workers []mapper.Worker, asking []int, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, i := range asking {
		l.belief(workers[i].(PartitionWorker).Partition()).asked += n
	}
}

// refresh sends one request for topics.
func (l *Leaders) refresh(ctx context.Context, topics []string) (*View, error) {
	if l.cfg.Check != nil {
		if err := l.cfg.Check(); err != nil {
			return nil, err
		}
	}
	if time.Now().Before(l.heldUntil) {
		return nil, l.held
	}
	v, err := l.cluster.Metadata(ctx, topics...)
	if unauthenticated(err) {
		l.held, l.heldUntil = err, time.Now().Add(authPause)
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.brokers = v.Brokers
	l.mu.Unlock()
	l.pool.retain(v.Brokers)
	if l.cfg.Moved != nil {
		for _, m := range l.moved(v) {
			l.cfg.Moved(m.topic, m.partition)
		}
	}
	return v, nil
}

// moved makes hints of the newer leaders in an answer that nobody waits for, and
// returns their partitions. Who led them may not know yet, and keep a fetch parked.
func (l *Leaders) moved(v *View) (moved []topicPartition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, topic := range v.Topics {
		for i, now := range topic.Partitions {
			k := topicPartition{name, int32(i)}
			b := l.known[k]
			if b == nil || b.asked > 0 || b.epoch < 0 || now.Err != nil || now.Epoch <= b.epoch {
				continue
			}
			if b.topic != (sarama.Uuid{}) && topic.ID != b.topic {
				continue // another topic of that name
			}
			b.topic = topic.ID
			b.epoch, b.stale = now.Epoch, time.Time{}
			b.hint, b.hinted = now, true
			moved = append(moved, k)
		}
	}
	return moved
}

// authPause is how long nobody is asked after the brokers have refused us.
const authPause = time.Second

// unauthenticated says that brokers do not let us in.
func unauthenticated(err error) bool {
	return errors.Is(err, sarama.ErrSASLAuthenticationFailed) ||
		errors.Is(err, sarama.ErrUnsupportedSASLMechanism) ||
		errors.Is(err, sarama.ErrIllegalSASLState) ||
		errors.Is(err, sarama.ErrClusterAuthorizationFailed)
}

// resolution turns a leader into a connection: its, or that of the replica.
func (l *Leaders) resolution(w PartitionWorker, leader Leader) mapper.Resolution {
	if leader.Err != nil {
		return mapper.Resolution{Err: leader.Err}
	}
	id, addr := leader.ID, leader.Addr
	if replica := w.Replica(); replica >= 0 && replica != id {
		l.mu.Lock()
		there, known := l.brokers[replica]
		l.mu.Unlock()
		if known {
			id, addr = replica, there
		}
	}
	return mapper.Resolution{BrokerConn: l.pool.get(id, addr)}
}

// shortcut answers without a request where a hint came, or where the worker goes
// to a replica; it returns nil where there is no such answer.
func (l *Leaders) shortcut(w PartitionWorker) *sarama.Broker {
	topic, partition := w.Partition()
	l.mu.Lock()
	b := l.known[topicPartition{topic, partition}]
	if b == nil {
		l.mu.Unlock()
		return nil
	}
	leader, ok := b.hint, b.hinted
	b.hinted = false // if it is wrong, a request is next
	if ok {
		b.current = leader
	} else if replica := w.Replica(); replica >= 0 && b.current.Err == nil {
		_, ok = l.brokers[replica]
		leader = b.current
	}
	l.mu.Unlock()
	if !ok {
		return nil
	}
	w.Resolved(leader)
	return l.resolution(w, leader).BrokerConn
}

// believe returns what the answer says of the worker's partition, unless more is
// known.
func (l *Leaders) believe(v *View, w PartitionWorker) Leader {
	name, partition := w.Partition()
	topic, there := v.Topics[name]
	switch {
	case !there:
		topic.Err = fmt.Errorf("a metadata request for topic %q was answered without it", name)
	case topic.Err == nil && int(partition) >= len(topic.Partitions):
		topic.Err = sarama.ErrUnknownTopicOrPartition
	}
	if topic.Err != nil {
		return Leader{ID: -1, Epoch: -1, Err: topic.Err}
	}
	now := topic.Partitions[partition]
	if now.Err != nil {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.belief(name, partition)
	if topic.ID != (sarama.Uuid{}) && topic.ID != b.topic {
		if b.topic != (sarama.Uuid{}) {
			b.epoch = -1 // another topic of that name
		}
		b.topic = topic.ID
	}
	if now.Epoch >= 0 && now.Epoch < b.epoch {
		if b.stale.IsZero() {
			b.stale = time.Now()
		}
		if time.Since(b.stale) < staleAtMost {
			now.Err = fmt.Errorf("broker %d leads %s/%d in epoch %d, says %w of epoch %d: %w",
				now.ID, name, partition, now.Epoch, errOutdated, b.epoch, sarama.ErrLeaderNotAvailable)
			return now
		}
		b.epoch = now.Epoch
	}
	b.stale = time.Time{}
	b.epoch = max(b.epoch, now.Epoch)
	b.hinted = false
	b.current = now
	return now
}

// belief must be called with mu held.
func (l *Leaders) belief(topic string, partition int32) *belief {
	k := topicPartition{topic, partition}
	b := l.known[k]
	if b == nil {
		b = &belief{epoch: -1}
		l.known[k] = b
	}
	return b
}

// Hint says that a partition has a leader, of which a client or a broker's answer
// (KIP-951) told. The next resolution of the partition takes it in the place of a
// request. A hint that is older than what is known is not taken, nor one of the
// same epoch by one who names another broker; Hint reports whether it was.
// Addr may be empty where the broker was named before.
func (l *Leaders) Hint(topic string, partition int32, leader Leader) bool {
	if leader.ID < 0 || leader.Err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if leader.Addr == "" {
		leader.Addr = l.brokers[leader.ID]
	}
	if leader.Addr == "" && l.cfg.Addr != nil {
		leader.Addr = l.cfg.Addr(leader.ID)
	}
	if leader.Addr == "" {
		return false
	}
	b := l.belief(topic, partition)
	again := leader.Epoch == b.epoch && leader.ID == b.current.ID && leader.Addr == b.current.Addr
	if b.epoch >= 0 && leader.Epoch <= b.epoch && !again {
		return false
	}
	if _, known := l.brokers[leader.ID]; !known {
		l.brokers[leader.ID] = leader.Addr
	}
	b.epoch = max(b.epoch, leader.Epoch)
	b.stale = time.Time{}
	b.hint, b.hinted = leader, true
	return true
}
