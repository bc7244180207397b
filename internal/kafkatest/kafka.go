package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// WantKafka is the environment variable that switches on the tests on a real
// Apache Kafka.
const WantKafka = "BROKERMAP_KAFKA"

// ErrNotWanted is what a test skips with where [WantKafka] is not set.
var ErrNotWanted = errors.New("set " + WantKafka + "=1 to run this on Apache Kafka, too: " +
	"it takes minutes, and needs Java 17 or later and, once, Maven")

// KafkaConfig configures a real cluster. The zero value is a good one.
type KafkaConfig struct {
	// Brokers is how many brokers the cluster has, with ids from 0. 0: three.
	Brokers int
	// Topics are created at the start, by name, with so many partitions each, as
	// [Kafka.CreateTopic] does.
	Topics map[string]int32
	// Replicas is how many replicas a partition has. 0: three, or as many as there
	// are brokers.
	Replicas int
	// SessionTimeout is how long the controller does without a broker's heartbeat
	// before others lead in its place. 0: 1.5 s; Kafka's own default is 9 s.
	SessionTimeout time.Duration
	// HeapMB bounds the heap of each broker's Java. 0: 256.
	HeapMB int
	// Properties are added to those of every node, and override them.
	Properties map[string]string
	// Front, where there is one, is called for each broker with an address that it
	// listens at for clients alone. It returns the address that clients are told
	// instead, where something listens that passes their bytes on.
	Front func(broker int32, to string) (addr string, err error)
	// Logf, where there is one, is told what takes long.
	Logf func(format string, args ...any)
}

// Kafka is a real Apache Kafka cluster on loopback: a process for each broker,
// and one for the controller (KRaft). Its methods may be called concurrently.
//
// The processes end with [Kafka.Close] and, on Linux, with the process that
// started them, however that ends. Ctrl-C in a terminal does not reach them.
// Nothing moves unless the test says so: no topic is created by itself, no leader
// rebalanced.
type Kafka struct {
	cfg     KafkaConfig
	install *installation
	dir     string   // of data, properties and logs; removed by Close
	held    *os.File // locked for as long as dir is in use
	id      string   // of the cluster
	nodes   []*node
	ctl     *node
	parent  *parent
	conf    *sarama.Config

	closing sync.Once
}

const (
	// controllerID is above every broker's id.
	controllerID = 1000

	// patience bounds everything that waits for the cluster to come to a state. A
	// machine that does much else makes that long.
	patience = 3 * time.Minute
)

// StartKafka starts a real cluster and returns when its brokers know each other,
// after some five seconds; the very first time Kafka is fetched first, with Maven,
// into the user's cache. ctx bounds the start.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	switch {
	case cfg.Brokers < 0 || cfg.Brokers > 100:
		return nil, fmt.Errorf("kafkatest: KafkaConfig.Brokers is %d: it must be 0 to 100", cfg.Brokers)
	case cfg.Replicas < 0 || cfg.Replicas > max(cfg.Brokers, 3):
		return nil, fmt.Errorf("kafkatest: KafkaConfig.Replicas is %d: it must be 0 to the number of brokers", cfg.Replicas)
	case cfg.SessionTimeout < 0 || cfg.HeapMB < 0:
		return nil, errors.New("kafkatest: KafkaConfig.SessionTimeout and HeapMB must not be negative")
	}
	if cfg.Brokers == 0 {
		cfg.Brokers = 3
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = min(3, cfg.Brokers)
	}
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = 1500 * time.Millisecond
	}
	if cfg.HeapMB == 0 {
		cfg.HeapMB = 256
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	inst, err := install(ctx, cfg.Logf)
	if err != nil {
		return nil, fmt.Errorf("kafkatest: Apache Kafka %s: %w", kafkaVersion, err)
	}
	k := &Kafka{cfg: cfg, install: inst, id: randomID(), parent: newParent(), conf: adminConfig()}
	if k.dir, k.held, err = makeDir(); err != nil {
		return nil, err
	}
	if err := k.start(ctx); err != nil {
		err = fmt.Errorf("kafkatest: %w\n%s", err, k.LogTail(20))
		k.Close()
		return nil, err
	}
	return k, nil
}

func (k *Kafka) start(ctx context.Context) error {
	ports, err := freePorts(2*k.cfg.Brokers + 1)
	if err != nil {
		return err
	}
	k.ctl = k.newNode(controllerID, ports[0])
	for id := range k.cfg.Brokers {
		n := k.newNode(id, ports[id+1])
		if k.cfg.Front != nil {
			n.clients = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[k.cfg.Brokers+1+id]))
			if n.front, err = k.cfg.Front(int32(id), n.clients); err != nil {
				return err
			}
		}
		k.nodes = append(k.nodes, n)
	}
	for _, n := range k.all() {
		if err := n.format(k.install, k.id, k.properties(n)); err != nil {
			return err
		}
		if err := n.launch(); err != nil {
			return err
		}
	}
	if err := k.awaitBrokers(ctx); err != nil {
		return err
	}
	for topic, partitions := range k.cfg.Topics {
		if err := k.CreateTopic(topic, partitions); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kafka) newNode(id, port int) *node {
	return &node{
		id:     id,
		port:   port,
		dir:    filepath.Join(k.dir, "node"+strconv.Itoa(id)),
		java:   k.install.java,
		args:   k.install.javaArgs(k.cfg.HeapMB),
		parent: k.parent,
	}
}

// Close ends the cluster's processes, whatever state they are in, and removes
// what they wrote. It may be called repeatedly.
func (k *Kafka) Close() {
	k.closing.Do(func() {
		for _, n := range k.all() {
			n.kill()
		}
		k.parent.close()
		_ = os.RemoveAll(k.dir)
		_ = k.held.Close()
	})
}

// makeDir makes a cluster's directory, and removes those that processes left
// behind that were killed: nobody holds their lock.
func makeDir() (dir string, held *os.File, err error) {
	const pattern = "kafkatest-*"
	left, err := filepath.Glob(filepath.Join(os.TempDir(), pattern, "lock"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range left {
		f, err := os.Open(name)
		if err != nil {
			continue // somebody else has removed it, or owns it
		}
		// A young one may be about to be locked.
		if info, err := f.Stat(); err == nil && time.Since(info.ModTime()) > time.Minute && tryLock(f) == nil {
			_ = os.RemoveAll(filepath.Dir(name))
		}
		_ = f.Close()
	}
	if dir, err = os.MkdirTemp("", pattern); err != nil {
		return "", nil, err
	}
	if held, err = os.Create(filepath.Join(dir, "lock")); err == nil {
		err = tryLock(held)
	}
	return dir, held, err
}

// LogTail returns the last lines of each node's log, for a test that failed.
func (k *Kafka) LogTail(lines int) string {
	var text strings.Builder
	for _, n := range k.all() {
		b, err := os.ReadFile(filepath.Join(n.dir, "log"))
		if err != nil {
			continue
		}
		all := strings.Split(strings.TrimSpace(string(b)), "\n")
		fmt.Fprintf(&text, "--- log of node %d\n%s\n", n.id, strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return text.String()
}

// Addrs returns the brokers' addresses, host:port, by id.
func (k *Kafka) Addrs() []string {
	addrs := make([]string, len(k.nodes))
	for i, n := range k.nodes {
		addrs[i] = n.addr()
	}
	return addrs
}

// Fronts returns the addresses that [KafkaConfig].Front has returned, by id.
func (k *Kafka) Fronts() []string {
	fronts := make([]string, len(k.nodes))
	for i, n := range k.nodes {
		fronts[i] = n.front
	}
	return fronts
}

// Kill ends broker with SIGKILL. Its connections break at once, others lead in
// its place after the session timeout.
func (k *Kafka) Kill(broker int32) error {
	n, err := k.node(broker)
	if err == nil {
		n.kill()
	}
	return err
}

// Stop has broker shut down in order (SIGTERM), which hands its partitions over
// first, and returns when it is gone.
func (k *Kafka) Stop(broker int32) error {
	n, err := k.node(broker)
	if err != nil {
		return err
	}
	return n.stop(patience)
}

// Revive starts a broker that is gone, on the same port and with the same data.
// It returns when the other brokers know it, and it answers. It leads nothing
// until [Kafka.SpreadLeaders].
func (k *Kafka) Revive(broker int32) error {
	n, err := k.node(broker)
	if err != nil {
		return err
	}
	if err := n.launch(); err != nil {
		return err
	}
	return k.awaitBrokers(context.Background())
}

// Freeze stops broker's process (SIGSTOP): the kernel goes on accepting
// connections and bytes for it, and nothing is answered until [Kafka.Thaw].
// Others lead in its place after the session timeout.
func (k *Kafka) Freeze(broker int32) error {
	n, err := k.node(broker)
	if err != nil {
		return err
	}
	return n.freeze()
}

// Thaw lets a frozen broker go on. For a moment it believes that it still leads.
func (k *Kafka) Thaw(broker int32) error {
	n, err := k.node(broker)
	if err != nil {
		return err
	}
	return n.thaw()
}

// Drop closes the connections that this process has to broker, so that both
// sides read an end, and returns how many there were. It works on Linux only.
func (k *Kafka) Drop(broker int32) (int, error) {
	n, err := k.node(broker)
	if err != nil {
		return 0, err
	}
	return dropConnections(n.addr())
}

// KillController ends the controller with SIGKILL: brokers go on serving, but
// nobody elects until [Kafka.ReviveController].
func (k *Kafka) KillController() { k.ctl.kill() }

// ReviveController starts the controller again, and returns when the brokers are
// registered with it.
func (k *Kafka) ReviveController() error {
	if err := k.ctl.launch(); err != nil {
		return err
	}
	return k.awaitBrokers(context.Background())
}

// Pids returns the processes of the brokers, by id, and of the controller; 0 for
// one that does not run.
func (k *Kafka) Pids() []int {
	var pids []int
	for _, n := range k.all() {
		pids = append(pids, n.pid())
	}
	return pids
}

// all returns the nodes, the controller last.
func (k *Kafka) all() []*node {
	if k.ctl == nil {
		return k.nodes
	}
	return append(slices.Clone(k.nodes), k.ctl)
}

func (k *Kafka) node(broker int32) (*node, error) {
	if broker < 0 || int(broker) >= len(k.nodes) {
		return nil, fmt.Errorf("kafkatest: there is no broker %d", broker)
	}
	return k.nodes[broker], nil
}

// properties returns the contents of n's server.properties.
func (k *Kafka) properties(n *node) map[string]string {
	replicas := strconv.Itoa(k.cfg.Replicas)
	session := k.cfg.SessionTimeout.Milliseconds()
	p := map[string]string{
		// How long a fault goes unnoticed.
		"broker.session.timeout.ms":    strconv.FormatInt(session, 10),
		"broker.heartbeat.interval.ms": strconv.FormatInt(max(session/6, 1), 10),
		"replica.lag.time.max.ms":      strconv.FormatInt(max(session, 1000), 10),
		"replica.socket.timeout.ms":    "1500",
		"replica.fetch.wait.max.ms":    "200",
		"replica.fetch.backoff.ms":     "50",
		"controller.socket.timeout.ms": "1500",
		// A controller that is alone need not wait long for votes.
		"controller.quorum.request.timeout.ms":      "1000",
		"controller.quorum.fetch.timeout.ms":        "1000",
		"controller.quorum.election.timeout.ms":     "300",
		"controller.quorum.election.backoff.max.ms": "200",
		// Nothing happens by itself.
		"auto.leader.rebalance.enable": "false",
		"auto.create.topics.enable":    "false",
		// Internal topics that are small, and ready at once.
		"min.insync.replicas":                      "1",
		"default.replication.factor":               replicas,
		"offsets.topic.num.partitions":             "3",
		"offsets.topic.replication.factor":         replicas,
		"transaction.state.log.num.partitions":     "3",
		"transaction.state.log.replication.factor": replicas,
		"transaction.state.log.min.isr":            "1",
		"group.initial.rebalance.delay.ms":         "0",
		// Little memory: the cleaner's default alone takes 128 MB.
		"log.cleaner.dedupe.buffer.size": "2097152",
		"log.cleaner.io.buffer.size":     "65536",
		"log.index.size.max.bytes":       "1048576",
		"num.network.threads":            "2",
		"num.io.threads":                 "2",
		"background.threads":             "2",
	}
	maps.Copy(p, k.cfg.Properties)
	maps.Copy(p, n.role(k.ctl.port))
	return p
}
