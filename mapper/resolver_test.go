package mapper_test

import (
	"context"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// plain is a mapper.Resolver.
type plain struct{ *world }

func (x plain) ResolveBroker(v mapper.Worker) (*sarama.Broker, error) {
	w := v.(*worker)
	defer x.asked(w)()
	x.mu.Lock()
	hook := x.onResolve
	x.mu.Unlock()
	return x.answer(w, hook)
}

// answer asks hook, or w's leader, and keeps what came for S4.
func (x *world) answer(w *worker, hook func(*worker) (*sarama.Broker, error)) (*sarama.Broker, error) {
	life := w.life.Load()
	var b *sarama.Broker
	var err error
	if hook != nil {
		b, err = hook(w)
	} else if b = w.leader.Load(); b == nil {
		err = errNoLeader
	}
	x.lock(func() {
		if w.life.Load() == life && b != nil && err == nil && x.answers[w] != nil {
			x.answers[w][b] = true
		}
	})
	return b, err
}

// asked notes a call of the resolver, and that it is over.
func (x *world) asked(ws ...*worker) func() {
	x.lock(func() { x.asks = append(x.asks, ask{x.now(), ws}) })
	for _, w := range ws {
		if w.flying.Add(1) != 1 {
			x.t.Errorf("S9: %v is asked for twice at a time", w)
		}
	}
	return func() {
		for _, w := range ws {
			w.flying.Add(-1)
		}
	}
}

func (x plain) SpawnExecutor(conn *sarama.Broker) mapper.Executor {
	var hook func(*sarama.Broker) mapper.Executor
	x.lock(func() {
		x.spawns = append(x.spawns, spawnCall{x.now(), conn})
		if e, there := x.exist[conn]; there {
			x.t.Errorf("S2: an executor is spawned for %s while %v exists", conn.Addr(), e)
		}
		x.exist[conn] = nil
		hook = x.onSpawn
	})
	var e mapper.Executor
	if hook == nil {
		e = x.executor(conn, conn)
	} else {
		e = hook(conn)
	}
	x.lock(func() {
		if x.exist[conn] == nil {
			delete(x.exist, conn) // it came to nothing
		}
	})
	return e
}

// batch is a mapper.BatchResolver.
type batch struct{ plain }

func (x batch) ResolveBroker(mapper.Worker) (*sarama.Broker, error) {
	x.t.Error("ResolveBroker is called though the resolver is a BatchResolver")
	return nil, errNoLeader
}

func (x batch) ResolveBrokers(ctx context.Context, vs []mapper.Worker) []mapper.Resolution {
	ws := make([]*worker, len(vs))
	for i, v := range vs {
		ws[i] = v.(*worker)
	}
	defer x.asked(ws...)()
	var hook func(context.Context, []mapper.Worker) []mapper.Resolution
	x.lock(func() { hook = x.onBatch })
	if hook != nil {
		return hook(ctx, vs)
	}
	return x.answers(vs)
}

// answers is what ResolveBrokers returns by default.
func (x batch) answers(vs []mapper.Worker) []mapper.Resolution {
	var hook func(*worker) (*sarama.Broker, error)
	x.lock(func() { hook = x.onResolve })
	rs := make([]mapper.Resolution, len(vs))
	for i, v := range vs {
		rs[i].BrokerConn, rs[i].Err = x.answer(v.(*worker), hook)
	}
	return rs
}

// funcs is a mapper.Resolver for tests that need no world.
type funcs struct {
	resolve func(mapper.Worker) (*sarama.Broker, error)
	spawn   func(*sarama.Broker) mapper.Executor
}

func (r funcs) ResolveBroker(w mapper.Worker) (*sarama.Broker, error) { return r.resolve(w) }

func (r funcs) SpawnExecutor(c *sarama.Broker) mapper.Executor { return r.spawn(c) }

// chanWorker is a mapper.Worker that is nothing but its channel.
type chanWorker chan mapper.Executor

func (w chanWorker) Assignment() chan<- mapper.Executor { return w }
