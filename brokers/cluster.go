package brokers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

const (
	// askTimeout bounds one question, whoever is asked.
	askTimeout = 5 * time.Second
	// A broker that was asked may take slowerThan times what the last answer took,
	// within these bounds, before the next one is asked as well: a frozen broker
	// accepts the question and is silent, one that has just started is slow. But where
	// all are busy, as when a thousand partitions move at once, to ask more of them
	// makes it worse.
	hedgeLeast = 20 * time.Millisecond
	hedgeFirst = 50 * time.Millisecond // where there was no answer yet
	hedgeMost  = 200 * time.Millisecond
	slowerThan = 4
)

// Cluster asks a cluster's brokers what any of them can answer, on connections
// of its own: whichever answers first. Its methods may be called concurrently.
type Cluster struct {
	conf     *sarama.Config
	seeds    func() []string
	hedge    func(took time.Duration) time.Duration // hedgeAfter
	requests atomic.Int64                           // sent, the unanswered ones included
	took     atomic.Int64                           // the last answer, in nanoseconds; 0: there was none

	asking sync.WaitGroup // goroutines; those of who is not waited for any more included

	mu     sync.Mutex
	askers []*asker // in the order in which to ask: who answered last comes first
	closed bool
}

// asker is the connection to one broker. Whoever has put into turn owns conn.
type asker struct {
	addr string
	turn chan struct{}
	conn *Conn // nil when there is none
}

// View is what one answer to a metadata request said.
type View struct {
	Brokers    map[int32]string // addresses by id
	Controller int32            // its id
	Topics     map[string]Topic
}

// Topic is what a [View] says of one topic.
type Topic struct {
	Err        error       // why there are no partitions
	ID         sarama.Uuid // zero below Kafka 2.8
	Partitions []Leader
}

// Leader says who leads a partition.
type Leader struct {
	ID    int32  // of the broker
	Addr  string // host:port
	Epoch int32  // the leader epoch (KIP-320), -1 below Kafka 2.1
	Err   error  // why there is no leader
}

// NewCluster makes a Cluster for a client's configuration. seeds returns the
// addresses to begin with; it is called with every question, so that it may name
// others should all known brokers be gone.
func NewCluster(conf *sarama.Config, seeds func() []string) *Cluster {
	return &Cluster{conf: conf, seeds: seeds, hedge: hedgeAfter}
}

// Requests returns how many requests were sent.
func (c *Cluster) Requests() int64 { return c.requests.Load() }

// Close closes the connections. No question may be in progress.
func (c *Cluster) Close() {
	c.asking.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.askers {
		if a.conn != nil {
			a.conn.Close()
			a.conn = nil
		}
	}
	c.askers, c.closed = nil, true
}

// Metadata returns the answer to a metadata request for topics that was sent
// after the call. Its error says that no broker answered: it wraps
// sarama.ErrOutOfBrokers.
func (c *Cluster) Metadata(ctx context.Context, topics ...string) (*View, error) {
	return ask(ctx, c, func(b *sarama.Broker) (*View, error) {
		r := sarama.NewMetadataRequest(c.conf.Version, topics)
		answer, err := b.GetMetadata(r)
		if err != nil {
			return nil, err
		}
		return readView(answer), nil
	}, c.learn)
}

// ask returns the answer to a question that was asked after the call: that of
// the broker that answered last time, or of the next one where that fails or
// takes longer than hedgeAfter says. Whoever has not answered then is interrupted, but
// not waited for: that takes its time, too.
func ask[T any](ctx context.Context, c *Cluster, question func(*sarama.Broker) (T, error), learn func(T)) (T, error) {
	type answer struct {
		from *asker
		said T
		err  error
		took time.Duration
	}
	var none T
	askers, err := c.candidates()
	if err != nil {
		return none, err
	}
	answers := make(chan answer, len(askers))

	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()

	next := time.NewTimer(0)
	defer next.Stop()
	asked, failed := 0, []error(nil)
	for {
		select {
		case <-next.C:
			if asked == len(askers) {
				continue
			}
			a := askers[asked]
			asked++
			c.asking.Go(func() {
				got := answer{from: a}
				began := time.Now()
				got.err = c.askOne(ctx, a, func(b *sarama.Broker) (err error) {
					got.said, err = question(b)
					return err
				})
				got.took = time.Since(began)
				answers <- got
			})
			next.Reset(c.hedge(time.Duration(c.took.Load())))
		case got := <-answers:
			if got.err == nil {
				c.took.Store(int64(got.took))
				c.prefer(got.from)
				if learn != nil {
					learn(got.said)
				}
				return got.said, nil
			}
			if failed = append(failed, got.err); len(failed) == len(askers) {
				return none, sarama.Wrap(sarama.ErrOutOfBrokers, failed...)
			}
			next.Reset(0)
		case <-ctx.Done():
			return none, sarama.Wrap(sarama.ErrOutOfBrokers, append(failed, fmt.Errorf("no answer: %w", ctx.Err()))...)
		}
	}
}

// hedgeAfter is how long to wait for one broker before the next one is asked as
// well, where the last answer took so long; 0 where there was none.
func hedgeAfter(took time.Duration) time.Duration {
	if took == 0 {
		return hedgeFirst
	}
	return min(max(slowerThan*took, hedgeLeast), hedgeMost)
}

// candidates returns whom to ask, in this order.
func (c *Cluster) candidates() ([]*asker, error) {
	seeds := c.seeds()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, sarama.ErrClosedClient
	}
	c.add(seeds)
	if len(c.askers) == 0 {
		return nil, sarama.ErrOutOfBrokers
	}
	return slices.Clone(c.askers), nil
}

// add must be called with mu held.
func (c *Cluster) add(addrs []string) {
	for _, addr := range addrs {
		if !slices.ContainsFunc(c.askers, func(a *asker) bool { return a.addr == addr }) {
			c.askers = append(c.askers, &asker{addr: addr, turn: make(chan struct{}, 1)})
		}
	}
}

func (c *Cluster) askOne(ctx context.Context, a *asker, question func(*sarama.Broker) error) error {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		used := a.conn != nil
		if !used {
			a.conn = NewConn(ConnConfig{Client: c.conf}, sarama.NewBroker(a.addr))
		}
		err := a.conn.Do(ctx, func(b *sarama.Broker) error {
			c.requests.Add(1)
			return question(b)
		})
		if err == nil {
			return nil
		}
		a.conn.Close()
		a.conn = nil
		// A connection that nobody used for long may have been closed by the broker.
		if !used || ctx.Err() != nil || errors.Is(err, sarama.ErrUnsupportedVersion) {
			return err
		}
	}
}

// prefer puts a in front, for the next question.
func (c *Cluster) prefer(a *asker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.askers, a); i > 0 {
		c.askers = slices.Insert(slices.Delete(c.askers, i, i+1), 0, a)
	}
}

// distrust has another broker asked first: who answered last knows less than is
// known.
func (c *Cluster) distrust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.askers) > 1 {
		c.askers = append(c.askers[1:len(c.askers):len(c.askers)], c.askers[0])
	}
}

// learn makes the brokers that an answer named those to ask, besides the seeds.
func (c *Cluster) learn(v *View) {
	keep := c.seeds()
	for _, addr := range v.Brokers {
		keep = append(keep, addr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.add(keep)
	c.askers = slices.DeleteFunc(c.askers, func(a *asker) bool {
		if slices.Contains(keep, a.addr) {
			return false
		}
		select {
		case a.turn <- struct{}{}:
		default:
			return false // it is being asked; another time
		}
		if a.conn != nil {
			a.conn.Close()
			a.conn = nil
		}
		<-a.turn
		return true
	})
}

func readView(answer *sarama.MetadataResponse) *View {
	v := &View{
		Brokers:    make(map[int32]string, len(answer.Brokers)),
		Controller: answer.ControllerID,
		Topics:     make(map[string]Topic, len(answer.Topics)),
	}
	for _, b := range answer.Brokers {
		v.Brokers[b.ID()] = b.Addr()
	}
	for _, t := range answer.Topics {
		v.Topics[t.Name] = v.readTopic(t, answer.Version)
	}
	return v
}

func (v *View) readTopic(t *sarama.TopicMetadata, version int16) Topic {
	topic := Topic{ID: t.Uuid}
	if t.Err != sarama.ErrNoError {
		topic.Err = t.Err
		return topic
	}
	// Partitions are numbered from 0, but an answer may leave some out.
	n := len(t.Partitions)
	for _, p := range t.Partitions {
		if p.ID >= 0 && p.ID < maxPartitions {
			n = max(n, int(p.ID)+1)
		}
	}
	topic.Partitions = make([]Leader, n)
	for i := range topic.Partitions {
		topic.Partitions[i] = Leader{ID: -1, Epoch: -1, Err: sarama.ErrUnknownTopicOrPartition}
	}
	for _, p := range t.Partitions {
		if p.ID < 0 || p.ID >= maxPartitions {
			continue
		}
		l := Leader{ID: p.Leader, Epoch: p.LeaderEpoch}
		if version < 7 {
			l.Epoch = -1
		}
		addr, known := v.Brokers[p.Leader]
		switch {
		case p.Err != sarama.ErrNoError && p.Err != sarama.ErrReplicaNotAvailable:
			l.Err = p.Err
		case !known:
			l.Err = sarama.ErrLeaderNotAvailable
		}
		l.Addr = addr
		topic.Partitions[p.ID] = l
	}
	return topic
}

// maxPartitions bounds the memory that a strange answer takes.
const maxPartitions = 1 << 20
