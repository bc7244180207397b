package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
)

const (
	// metadataTimeout bounds one question, whoever is asked.
	metadataTimeout = time.Second
	// hedgeAfter is how long the broker asked first may take before the next one
	// is asked as well: a frozen broker accepts the question and is silent.
	hedgeAfter = 50 * time.Millisecond
)

// metadata asks a cluster about one topic, on connections of its own, and counts
// its requests. Its methods may be called concurrently.
type metadata struct {
	topic    string
	requests atomic.Int64 // sent, the unanswered ones included

	mu     sync.Mutex
	askers []*asker // in the order in which to ask: who answered last comes first
}

// asker is the connection to one broker. Whoever has put into turn owns link.
type asker struct {
	addr string
	turn chan struct{}
	link *link // nil when there is none
}

// clusterView is what one answer said.
type clusterView struct {
	brokers    map[int32]string // addresses by id
	controller int32
	topicErr   error        // why there are no leaders
	leaders    []leadership // by partition
}

// leadership says who leads a partition.
type leadership struct {
	broker int32
	addr   string
	epoch  int32
	err    error // why there is no leader
}

func newMetadata(topic string, addrs []string) *metadata {
	m := &metadata{topic: topic}
	for _, addr := range addrs {
		m.askers = append(m.askers, newAsker(addr))
	}
	return m
}

func newAsker(addr string) *asker { return &asker{addr: addr, turn: make(chan struct{}, 1)} }

// close closes the connections. No call may be in progress.
func (m *metadata) close() {
	for _, a := range m.askers {
		if a.link != nil {
			a.link.close()
		}
	}
}

// ask returns the answer to a request that began after the call: that of the
// broker that answered last time, or of the next one where that fails or takes
// longer than hedgeAfter. It takes no longer than metadataTimeout, and no
// goroutine outlives it.
func (m *metadata) ask(ctx context.Context) (*clusterView, error) {
	type answer struct {
		from *asker
		view *clusterView
		err  error
	}
	m.mu.Lock()
	askers := slices.Clone(m.askers)
	m.mu.Unlock()
	answers := make(chan answer, len(askers))

	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel() // before the Wait: whoever has not answered is interrupted

	next := time.NewTimer(0)
	defer next.Stop()
	asked, failed := 0, 0
	for {
		select {
		case <-next.C:
			if asked == len(askers) {
				continue
			}
			a := askers[asked]
			asked++
			asking.Go(func() {
				view, err := m.askOne(ctx, a)
				answers <- answer{a, view, err}
			})
			next.Reset(hedgeAfter)
		case got := <-answers:
			if got.err == nil {
				m.learn(got.from, got.view)
				return got.view, nil
			}
			if failed++; failed == len(askers) {
				return nil, got.err
			}
			next.Reset(0)
		case <-ctx.Done():
			return nil, fmt.Errorf("no answer to a metadata request: %w", ctx.Err())
		}
	}
}

func (m *metadata) askOne(ctx context.Context, a *asker) (*clusterView, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if a.link == nil {
		a.link = newLink(sarama.NewBroker(a.addr), metadataTimeout)
	}
	var view *clusterView
	err := a.link.request(ctx, func(b *sarama.Broker) error {
		m.requests.Add(1)
		answer, err := b.GetMetadata(sarama.NewMetadataRequest(a.link.conf.Version, []string{m.topic}))
		if err == nil {
			view, err = m.read(answer)
		}
		return err
	})
	if err != nil {
		a.link.close()
		a.link = nil
	}
	return view, err
}

func (m *metadata) read(answer *sarama.MetadataResponse) (*clusterView, error) {
	v := &clusterView{brokers: make(map[int32]string), controller: answer.ControllerID}
	for _, b := range answer.Brokers {
		v.brokers[b.ID()] = b.Addr()
	}
	if len(answer.Topics) != 1 || answer.Topics[0].Name != m.topic {
		return nil, fmt.Errorf("a metadata request for topic %q was answered with others", m.topic)
	}
	t := answer.Topics[0]
	if t.Err == sarama.ErrNoError {
		return v, v.readLeaders(t)
	}
	v.topicErr = t.Err
	return v, nil
}

func (v *clusterView) readLeaders(t *sarama.TopicMetadata) error {
	v.leaders = make([]leadership, len(t.Partitions))
	for i := range v.leaders {
		v.leaders[i].err = sarama.ErrUnknownTopicOrPartition
	}
	for _, p := range t.Partitions {
		if p.ID < 0 || int(p.ID) >= len(v.leaders) {
			return fmt.Errorf("metadata of topic %q has %d partitions, and one numbered %d", t.Name, len(t.Partitions), p.ID)
		}
		l := leadership{broker: p.Leader, epoch: p.LeaderEpoch}
		addr, known := v.brokers[p.Leader]
		switch {
		case p.Err != sarama.ErrNoError && p.Err != sarama.ErrReplicaNotAvailable:
			l.err = p.Err
		case !known:
			l.err = sarama.ErrLeaderNotAvailable
		}
		l.addr = addr
		v.leaders[p.ID] = l
	}
	return nil
}

// learn puts from in front, for the next question, and adds the brokers that the
// answer named.
func (m *metadata) learn(from *asker, v *clusterView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.askers, from); i > 0 {
		m.askers = slices.Insert(slices.Delete(m.askers, i, i+1), 0, from)
	}
	for _, addr := range v.brokers {
		if !slices.ContainsFunc(m.askers, func(a *asker) bool { return a.addr == addr }) {
			m.askers = append(m.askers, newAsker(addr))
		}
	}
}
