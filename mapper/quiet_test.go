package mapper_test

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// scheduled returns a number that grows by about one for every eight times that
// a goroutine of this process was scheduled: the runtime's own sample.
func scheduled() uint64 {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	n := uint64(0)
	for _, c := range sample[0].Value.Float64Histogram().Counts {
		n += c
	}
	return n
}

// lull is how long an early trigger, or a retry, waits.
const lull = 20 * time.Second

// rig is one small mapper among many, and its one worker.
type rig struct {
	m     *mapper.T
	mu    sync.Mutex
	conn  *sarama.Broker // what the worker resolves to; nil: an error
	w     chanWorker
	last  mapper.Executor
	lease mapper.Lease
}

type rigExecutor struct{ conn *sarama.Broker }

func (e *rigExecutor) BrokerConn() *sarama.Broker { return e.conn }
func (e *rigExecutor) Stop()                      {}

func newRig(t *testing.T) *rig {
	r := &rig{conn: broker("a"), w: make(chanWorker, 2)}
	m, err := mapper.Spawn(mapper.Config{RingSize: 1, Backoff: constant(lull)}, funcs{
		resolve: func(mapper.Worker) (*sarama.Broker, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.conn == nil {
				return nil, errNoLeader
			}
			return r.conn, nil
		},
		spawn: func(c *sarama.Broker) mapper.Executor { return &rigExecutor{c} },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.m = m
	return r
}

func (r *rig) lead(b *sarama.Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn = b
}

// A timer that fires wakes the mapper, and its waking is seen in the
// scheduler's figures: a thousand mappers are brought into the same state and
// left alone for days. In a quiet state none of them may wake, not once.
func TestL6_NothingPendingNoTimer(t *testing.T) {
	type phase = func(r *rig)
	spawn := func(r *rig) { r.m.OnWorkerSpawned(r.w) }
	trigger := func(r *rig) { r.m.TriggerReassign(r.w) }
	end := func(r *rig) { r.m.OnWorkerStopped(r.w) }
	read := func(r *rig) { r.last = <-r.w }
	move := func(r *rig) { r.lead(broker("b")); r.m.TriggerReassign(r.w) }
	fail := func(r *rig) { r.lead(nil); r.m.TriggerReassign(r.w) }
	acquire := func(r *rig) { r.lease, _ = r.m.Acquire(r.w) }
	recovers := func(r *rig) { r.lead(broker("c")) }
	broken := func(r *rig) { r.m.BrokerFailed(r.last, nil) }
	wait := func(*rig) {} // before each phase a lull passes

	cases := []struct {
		name    string
		phases  []phase
		pending bool
	}{
		{"unused", nil, false},
		{"assigned", []phase{spawn, read}, false},
		{"first assignment unread", []phase{spawn}, false},
		{"confirmation unread", []phase{spawn, trigger}, false},
		{"lease out", []phase{spawn, read, acquire}, false},
		{"only a lease is out", []phase{spawn, read, acquire, end}, false},
		{"late trigger answered", []phase{spawn, read, trigger, read}, false},
		{"early trigger answered", []phase{spawn, read, func(r *rig) { trigger(r); settle(); trigger(r) }, wait}, false},
		{"broker failure answered", []phase{spawn, read, broken, read}, false},
		{"retry has succeeded", []phase{func(r *rig) { r.lead(nil); spawn(r) }, recovers, wait, read}, false},
		{"late read was found", []phase{spawn, read, move, wait, read, wait}, false},
		{"prompt read was found", []phase{spawn, read, func(r *rig) { move(r); settle(); read(r) }, wait}, false},
		{"stopped with a retry pending", []phase{spawn, read, fail, end}, false},
		{"stopped with a trigger pending", []phase{spawn, read, func(r *rig) { trigger(r); settle(); trigger(r) }, func(r *rig) { read(r); trigger(r); settle(); end(r) }}, false},
		{"stopped with a look pending", []phase{spawn, read, move, end}, false},

		// So that a quiet test does not pass because nothing can be seen.
		{"retry owed", []phase{spawn, read, fail}, true},
		{"superseded executor held", []phase{spawn, read, move}, true},
	}
	const (
		rigs  = 256 // so one wake-up of each is 32 on the scale
		noise = 10
	)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				all := make([]*rig, rigs)
				for i := range all {
					all[i] = newRig(t)
				}
				for _, phase := range c.phases {
					pass(lull)
					for _, r := range all {
						phase(r)
					}
				}
				settle()
				runtime.GC() // lest it fall into what is measured
				before := scheduled()
				if c.pending {
					pass(3 * lull) // so many retries, and more looks
				} else {
					pass(100 * time.Hour)
				}
				woken := scheduled() - before
				if !c.pending && woken > noise {
					t.Errorf("about %d wake-ups of %d mappers in which nothing is pending", 8*woken, rigs)
				}
				if c.pending && woken < rigs/8 {
					t.Errorf("%d wake-ups of %d mappers are seen: too few for the other cases to prove anything", 8*woken, rigs)
				}
				for _, r := range all {
					r.m.OnWorkerStopped(r.w) // at most counted
					r.lease.Release()
					r.m.Stop()
				}
			})
		})
	}
}
