package brokers

import (
	"context"
	"sync"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// GroupWorker is a worker that the coordinator of a consumer group serves.
type GroupWorker interface {
	mapper.Worker
	// Group returns the group's id. It must not change in a life.
	Group() string
	// Resolved is called with every answer, before the mapper has it: the
	// coordinator's id, or the error. It must not block.
	Resolved(coordinator int32, err error)
}

// Coordinators resolves [GroupWorker]s. It implements mapper.BatchResolver. Its
// methods may be called concurrently.
//
// It asks once for each group, however many of its workers are to be resolved, and
// whoever asks for a group while a request for it is on its way shares the next
// one.
type Coordinators struct {
	cfg  CoordinatorsConfig
	pool pool

	mu     sync.Mutex
	groups map[string]*rounds[struct{}, coordinator]
	closed bool
}

// CoordinatorsConfig configures [NewCoordinators].
type CoordinatorsConfig struct {
	// Cluster answers the requests. The caller closes it, after Coordinators.
	Cluster *Cluster
	// Spawn makes the executor for a connection to a broker. It is
	// mapper.Resolver's SpawnExecutor.
	Spawn func(conn *sarama.Broker, broker int32) mapper.Executor
	// Check, where it is not nil, is asked before each request; its error is the
	// answer to everyone.
	Check func() error
}

type coordinator struct {
	id   int32
	addr string
}

// NewCoordinators makes a resolver. Close ends it.
func NewCoordinators(cfg CoordinatorsConfig) *Coordinators {
	return &Coordinators{cfg: cfg, groups: make(map[string]*rounds[struct{}, coordinator])}
}

// Close interrupts the requests on their way, and returns when they have ended.
// The mapper must have stopped.
func (c *Coordinators) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, r := range c.groups {
		r.close()
	}
}

// SpawnExecutor implements mapper.Resolver.
func (c *Coordinators) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	return c.cfg.Spawn(conn, c.pool.id(conn))
}

// ResolveBroker implements mapper.Resolver.
func (c *Coordinators) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) {
	r := c.ResolveBrokers(context.Background(), []mapper.Worker{w})[0]
	return r.BrokerConn, r.Err
}

// ResolveBrokers implements mapper.BatchResolver. The workers must be
// [GroupWorker]s.
func (c *Coordinators) ResolveBrokers(ctx context.Context, workers []mapper.Worker) []mapper.Resolution {
	type found struct {
		coordinator
		err error
	}
	byGroup := make(map[string]*found)
	var asking sync.WaitGroup
	for _, w := range workers {
		group := w.(GroupWorker).Group()
		if byGroup[group] != nil {
			continue
		}
		f := new(found)
		byGroup[group] = f
		r := c.rounds(group)
		asking.Go(func() { f.coordinator, f.err = r.join(ctx, nil) })
	}
	asking.Wait()

	resolutions := make([]mapper.Resolution, len(workers))
	for i, w := range workers {
		w := w.(GroupWorker)
		f := byGroup[w.Group()]
		w.Resolved(f.id, f.err)
		if resolutions[i].Err = f.err; f.err == nil {
			resolutions[i].BrokerConn = c.pool.get(f.id, f.addr)
		}
	}
	return resolutions
}

func (c *Coordinators) rounds(group string) *rounds[struct{}, coordinator] {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.groups[group]
	if r == nil {
		r = newRounds(func(ctx context.Context, _ []struct{}) (coordinator, error) {
			if c.cfg.Check != nil {
				if err := c.cfg.Check(); err != nil {
					return coordinator{id: -1}, err
				}
			}
			id, addr, err := c.cfg.Cluster.Coordinator(ctx, group)
			return coordinator{id, addr}, err
		})
		c.groups[group] = r
		if c.closed {
			r.close()
		}
	}
	return r
}

// Coordinator returns the coordinator of a group, its id and address, as the answer
// to a request that was sent after the call names it. The error is the broker's,
// or says that no broker answered.
func (c *Cluster) Coordinator(ctx context.Context, group string) (id int32, addr string, err error) {
	answer, err := ask(ctx, c, func(b *sarama.Broker) (*sarama.FindCoordinatorResponse, error) {
		r := &sarama.FindCoordinatorRequest{CoordinatorKey: group, CoordinatorType: sarama.CoordinatorGroup}
		if c.conf.Version.IsAtLeast(sarama.V2_0_0_0) {
			r.Version = 2
		} else if c.conf.Version.IsAtLeast(sarama.V0_11_0_0) {
			r.Version = 1
		}
		return b.FindCoordinator(r)
	}, nil)
	switch {
	case err != nil:
		return -1, "", err
	case answer.Err != sarama.ErrNoError:
		return -1, "", answer.Err
	case answer.Coordinator == nil:
		return -1, "", sarama.ErrConsumerCoordinatorNotAvailable
	}
	return answer.Coordinator.ID(), answer.Coordinator.Addr(), nil
}
