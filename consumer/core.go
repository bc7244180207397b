package consumer

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/brokers"
	"github.com/brokermap/brokermap/mapper"
)

// core is what a Consumer and a Reader have in common: the partitions that are
// consumed, the mapper, and what resolves and fetches for it.
type core struct {
	client   sarama.Client
	conf     *sarama.Config
	cfg      Config
	cluster  *brokers.Cluster
	leaders  *brokers.Leaders
	mapper   *mapper.T
	ranges   ranges
	buffers  *buffers // of a Reader, nil where messages keep their memory
	standbys standbys

	mu       sync.Mutex
	children map[topicPartition]*partition
	fetched  map[int32]*atomic.Int64 // records by broker
	closed   bool

	closing chan struct{} // closed with the first close
	once    sync.Once
}

type topicPartition struct {
	topic     string
	partition int32
}

func newCore(client sarama.Client, cfg Config) (*core, error) {
	if client == nil {
		return nil, fmt.Errorf("consumer: the client is nil")
	}
	if client.Closed() {
		return nil, sarama.ErrClosedClient
	}
	cfg, err := cfg.withDefaults(client.Config())
	if err != nil {
		return nil, err
	}
	c := &core{
		client:   client,
		conf:     client.Config(),
		cfg:      cfg,
		ranges:   ranges{client: client},
		children: make(map[topicPartition]*partition),
		fetched:  make(map[int32]*atomic.Int64),
		closing:  make(chan struct{}),
	}
	c.standbys.core, c.standbys.most = c, standbyMost
	c.cluster = brokers.NewCluster(c.conf, c.seeds)
	c.leaders = brokers.NewLeaders(brokers.LeadersConfig{Cluster: c.cluster, Spawn: c.spawn, Check: c.check, Addr: c.addr, Moved: c.moved})
	c.mapper, err = mapper.Spawn(mapper.Config{Backoff: cfg.Backoff, Logger: cfg.Logger}, c.leaders)
	if err != nil {
		return nil, err
	}
	go c.watch()
	return c, nil
}

// seeds returns the addresses that the client knows.
func (c *core) seeds() []string {
	var addrs []string
	for _, b := range c.client.Brokers() {
		addrs = append(addrs, b.Addr())
	}
	if len(addrs) == 0 {
		if b := c.client.LeastLoadedBroker(); b != nil {
			addrs = append(addrs, b.Addr())
		}
	}
	slices.Sort(addrs)
	return addrs
}

// addr returns a broker's address as the client knows it, "" where it does not.
func (c *core) addr(broker int32) string {
	for _, b := range c.client.Brokers() {
		if b.ID() == broker {
			return b.Addr()
		}
	}
	return ""
}

// moved has a partition resolved of which an answer has named a newer leader.
func (c *core) moved(topic string, partition int32) {
	if p := c.child(topicPartition{topic, partition}); p != nil {
		c.mapper.TriggerReassign(p)
	}
}

func (c *core) check() error {
	if c.client.Closed() {
		return sarama.ErrClosedClient
	}
	return nil
}

// add resolves a starting offset and consumes a partition from there, with run as
// the goroutine that owns it from then on.
func (c *core) add(p *partition, offset int64) error {
	if err := c.check(); err != nil {
		return err
	}
	start, newest, err := c.start(p.topic, p.id, offset)
	if err != nil {
		return err
	}
	leader, epoch, err := c.client.LeaderAndEpoch(p.topic, p.id)
	if err != nil {
		return err
	}
	p.highWatermark.Store(newest)
	p.at = position{offset: start, size: c.conf.Consumer.Fetch.Default}

	key := topicPartition{p.topic, p.id}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return fmt.Errorf("consumer: it is closed, %s/%d cannot be consumed: %w", p.topic, p.id, sarama.ErrClosedClient)
	case c.children[key] != nil:
		return sarama.ConfigurationError("That topic/partition is already being consumed")
	}
	c.children[key] = p
	// No request is needed for what the client has just looked up.
	p.seen = brokers.Leader{ID: leader.ID(), Addr: leader.Addr(), Epoch: epoch}
	c.leaders.Hint(p.topic, p.id, p.seen)
	return nil
}

// start is the offset to begin at, and the newest.
func (c *core) start(topic string, partition int32, offset int64) (start, newest int64, err error) {
	oldest, newest, err := c.ranges.find(topic, partition)
	if err != nil {
		return 0, 0, err
	}
	switch {
	case offset == sarama.OffsetNewest:
		return newest, newest, nil
	case offset == sarama.OffsetOldest:
		return oldest, newest, nil
	case offset >= oldest && offset <= newest:
		return offset, newest, nil
	}
	return 0, 0, sarama.ErrOffsetOutOfRange
}

// remove says that p is not consumed any more.
func (c *core) remove(p *partition) {
	c.mapper.OnWorkerStopped(p)
	c.mu.Lock()
	delete(c.children, topicPartition{p.topic, p.id})
	none := len(c.children) == 0
	c.mu.Unlock()
	if none {
		c.standbys.drop()
	}
}

// any returns one of the partitions that are consumed, or nil.
func (c *core) any() *partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.children {
		return p
	}
	return nil
}

// child returns the partition that is consumed, or nil.
func (c *core) child(key topicPartition) *partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.children[key]
}

// each calls do with every partition that is consumed.
func (c *core) each(do func(*partition)) {
	c.mu.Lock()
	all := make([]*partition, 0, len(c.children))
	for _, p := range c.children {
		all = append(all, p)
	}
	c.mu.Unlock()
	for _, p := range all {
		do(p)
	}
}

func (c *core) highWaterMarks() map[string]map[int32]int64 {
	marks := make(map[string]map[int32]int64)
	c.each(func(p *partition) {
		if marks[p.topic] == nil {
			marks[p.topic] = make(map[int32]int64)
		}
		marks[p.topic][p.id] = p.highWatermark.Load()
	})
	return marks
}

// spawn makes the executor for a connection. Its goroutines end with its Stop.
func (c *core) spawn(conn *sarama.Broker, broker int32) mapper.Executor {
	f := newFetcher(c, conn, broker)
	f.start()
	return f
}

// watchEvery is how often the client's metadata is looked at. Looking costs no
// request.
const watchEvery = 250 * time.Millisecond

// watch follows the client's metadata, which others refresh too: an old leader may
// go on answering. It ends with close; not before a call of the client that it is
// in, which is why nobody waits for it.
func (c *core) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.closing:
			return
		case <-tick.C:
		}
		if c.client.Closed() {
			continue
		}
		c.each(c.follow)
	}
}

func (c *core) follow(p *partition) {
	if p.failing.Load() {
		return // it asks more than the client does
	}
	leader, epoch, err := c.client.LeaderAndEpoch(p.topic, p.id)
	if err != nil {
		return
	}
	now := brokers.Leader{ID: leader.ID(), Addr: leader.Addr(), Epoch: epoch}
	if now == p.seen {
		return
	}
	p.seen = now
	if now.ID == p.leader.Load() && epoch <= p.epoch.Load() {
		return
	}
	if c.leaders.Hint(p.topic, p.id, now) {
		c.mapper.TriggerReassign(p)
	}
}

// close ends every partition, and returns when nothing is left.
func (c *core) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.once.Do(func() { close(c.closing) })
	c.each((*partition).asyncClose)
	c.each(func(p *partition) { <-p.done })
	c.mapper.Stop()
	c.standbys.close() // the last fetchers have begun some
	c.leaders.Close()
	c.cluster.Close()
}
