//go:build explore

package mapper

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/assign"
	"github.com/brokermap/brokermap/internal/explore"
)

// The programs here run the whole of the shipped hand-off, the mapper's loop
// included, through every interleaving with a few callers: what the resolver and
// executors do is instant and happens on the mapper's thread.

// Workers and executors outlive the runs: the same address hashes to the same
// place, and so the runs do the same.
type exploredWorker struct{ ch chan Executor }

func (w *exploredWorker) Assignment() chan<- Executor { return w.ch }
func (w *exploredWorker) self() *exploredWorker       { return w }

type exploredSlotted struct {
	Slot
	exploredWorker
}

type exploredMember interface {
	Worker
	self() *exploredWorker
}

var (
	exploredWorkers   = [3]exploredMember{&exploredWorker{}, &exploredWorker{}, &exploredWorker{}}
	exploredSlotteds  = [3]exploredMember{&exploredSlotted{}, &exploredSlotted{}, &exploredSlotted{}}
	exploredExecutors [8]exploredExecutor
	exploredConn      = sarama.NewBroker("a:1")
)

type exploredExecutor struct {
	conn    *sarama.Broker
	pins    int // leases that are out, by the reckoning of the threads
	stopped int
}

func (e *exploredExecutor) BrokerConn() *sarama.Broker { return e.conn }

func (e *exploredExecutor) Stop() {
	if e.pins != 0 {
		explore.Failf("stopped with %d leases out", e.pins)
	}
	e.stopped++
}

// world is one mapper, and what the test knows of it.
type world struct {
	m         *T
	l         *loop
	workers   [3]exploredMember
	resolved  int
	executors []*exploredExecutor
}

func (r *world) ResolveBroker(Worker) (*sarama.Broker, error) {
	r.resolved++
	return exploredConn, nil
}

func (r *world) SpawnExecutor(conn *sarama.Broker) Executor {
	e := &exploredExecutors[len(r.executors)]
	*e = exploredExecutor{conn: conn}
	r.executors = append(r.executors, e)
	return e
}

// newWorld returns a mapper that has assigned the first n workers.
func newWorld(ringSize, n int) *world { return newWorldOf(exploredWorkers, ringSize, n) }

// newSlottedWorld is newWorld with workers that embed a Slot.
func newSlottedWorld(ringSize, n int) *world {
	for _, w := range exploredSlotteds {
		w.(*exploredSlotted).Slot = Slot{}
	}
	return newWorldOf(exploredSlotteds, ringSize, n)
}

func newWorldOf(workers [3]exploredMember, ringSize, n int) *world {
	r := &world{workers: workers}
	cfg, err := Config{Backoff: func(int) time.Duration { return 0 }, RingSize: ringSize}.withDefaults()
	if err != nil {
		panic(err)
	}
	r.m = newMapper(cfg, r)
	r.m.workers.Hash(workers[0]) // from now on the hash is the address
	r.l = newLoop(r.m)
	r.l.async = func(call func()) { call() }
	for _, w := range workers {
		w.self().ch = make(chan Executor, 8)
	}
	for _, w := range workers[:n] {
		r.m.OnWorkerSpawned(w)
		r.settle()
		<-w.self().ch
	}
	r.resolved = 0
	return r
}

// settle runs the mapper's loop until it has nothing to do.
func (r *world) settle() {
	for range 8 {
		r.l.pass()
	}
}

// loop is the mapper's thread.
func (r *world) loop() {
	for {
		r.l.pass()
		r.l.park(r.m.gate.empty())
	}
}

// whole checks, when nobody has anything to do, that nothing was lost.
func (r *world) whole() error {
	for i, w := range r.workers {
		e := r.m.workers.Find(w)
		if e == nil {
			continue
		}
		s := &e.Value
		word := s.word.Load()
		switch alive := word&aliveBit != 0; {
		case r.m.find(w) != e:
			return fmt.Errorf("worker %d's Slot leads astray", i)
		case !alive:
			return fmt.Errorf("worker %d is dead and still there", i)
		case s.on == nil || s.on.epoch != epochOf(word):
			return fmt.Errorf("worker %d lives, and the mapper does not know", i)
		case word&triggerMask != 0:
			return fmt.Errorf("worker %d is triggered, and the mapper sleeps", i)
		case s.executor.Load() == nil:
			return fmt.Errorf("worker %d was sent nothing", i)
		}
	}
	for i, x := range r.l.executors {
		if x != nil && x.Value.failed.Load()+x.Value.unpinned.Load() != 0 {
			return fmt.Errorf("executor %d has a flag, and the mapper sleeps", i)
		}
	}
	if live := int(r.m.gate.count()); live != r.l.machine.Living() {
		return fmt.Errorf("%d lives are on, the machine knows %d", live, r.l.machine.Living())
	}
	return r.l.machine.Check(assign.Horizon{})
}

var (
	complete = explore.Options{MaxTime: time.Hour}
	// one and two are for programs with more interleavings than a test has time
	// for: those of so many preemptions. BROKERMAP_EXPLORE_FULL=1 allows one more.
	one = explore.Options{Preemptions: 1 + more, MaxTime: time.Hour}
	two = explore.Options{Preemptions: 2 + more, MaxTime: time.Hour}

	more = func() int {
		if os.Getenv("BROKERMAP_EXPLORE_FULL") == "1" {
			return 1
		}
		return 0
	}()
)

// mapped explores a program of callers against the mapper's loop.
func mapped(t *testing.T, o explore.Options, setup func() *world, callers ...func(*world)) {
	t.Helper()
	explore.Verify(t, o, func(p *explore.Program) {
		r := setup()
		p.Daemon(r.loop)
		for _, c := range callers {
			p.Go(func() { c(r) })
		}
		p.Check(r.whole)
	})
}

func assigned(ringSize, n int) func() *world {
	return func() *world { return newWorld(ringSize, n) }
}

func slottedAssigned(ringSize, n int) func() *world {
	return func() *world { return newSlottedWorld(ringSize, n) }
}

// full is assigned with a ring of two that the triggers of the first two workers
// have filled.
func full(n int) func() *world {
	return func() *world {
		r := newWorld(2, n)
		trigger(0)(r)
		trigger(1)(r)
		return r
	}
}

func trigger(i int) func(*world) {
	return func(r *world) { r.m.TriggerReassign(r.workers[i]) }
}

func stop(i int) func(*world) {
	return func(r *world) { r.m.OnWorkerStopped(r.workers[i]) }
}

func spawn(i int) func(*world) {
	return func(r *world) { r.m.OnWorkerSpawned(r.workers[i]) }
}

func then(calls ...func(*world)) func(*world) {
	return func(r *world) {
		for _, c := range calls {
			c(r)
		}
	}
}

func TestExplore_L2_TriggerAgainstLook(t *testing.T) {
	mapped(t, complete, assigned(2, 1), trigger(0))
}

func TestExplore_L2_TwoTriggers(t *testing.T) {
	mapped(t, two, assigned(2, 1), trigger(0), trigger(0))
}

func TestExplore_S5_TriggerAgainstStop(t *testing.T) {
	mapped(t, two, assigned(2, 1), trigger(0), stop(0))
}

func TestExplore_S5_StopAndRespawn(t *testing.T) {
	mapped(t, two, assigned(2, 1), then(stop(0), spawn(0)))
}

func TestExplore_S5_StopRespawnAndStop(t *testing.T) {
	mapped(t, two, assigned(2, 1), then(stop(0), spawn(0), stop(0)))
}

func TestExplore_S5_StopAndRespawnAgainstTrigger(t *testing.T) {
	mapped(t, two, assigned(2, 1), then(stop(0), spawn(0)), trigger(0))
}

func TestExplore_S7_SpawnTwiceAtOnce(t *testing.T) {
	mapped(t, two, assigned(2, 0), spawn(0), spawn(0))
}

func TestExplore_S7_RespawnTwiceAtOnce(t *testing.T) {
	mapped(t, two, func() *world {
		r := newWorld(2, 1)
		r.m.OnWorkerStopped(r.workers[0]) // the mapper has not seen it yet
		return r
	}, spawn(0), spawn(0))
}

func TestExplore_S8_FullRing(t *testing.T) {
	mapped(t, two, full(3), trigger(2))
}

// A new worker for whom the ring has no room goes onto the stack.
func TestExplore_S8_SpawnOnFullRing(t *testing.T) {
	mapped(t, two, full(2), spawn(2))
}

// A caller that stops for ever, anywhere in its call, takes nobody else's
// notification with it.
func TestExplore_S7_StoppedCaller(t *testing.T) {
	for name, stopped := range map[string]func(*world){
		"trigger": trigger(0), "other trigger": trigger(1), "other stop": stop(1), "spawn": spawn(2),
	} {
		t.Run(name, func(t *testing.T) {
			explore.Verify(t, one, func(p *explore.Program) {
				r := newWorld(2, 2)
				p.Daemon(r.loop)
				p.Stoppable(func() { stopped(r) })
				before, returned := 0, false
				p.Go(func() {
					before = r.resolved
					r.m.TriggerReassign(r.workers[0])
					returned = true
				})
				p.Check(func() error {
					e := r.m.workers.Find(r.workers[0])
					w := e.Value.word.Load()
					switch {
					case !returned:
						return errors.New("the other caller did not return")
					case r.resolved == before:
						return errors.New("the other caller's trigger was lost")
					case w&triggerMask == triggerTold:
						return errors.New("a trigger that counts as told was lost")
					}
					return nil
				})
			})
		})
	}
}

// Who repeats what another caller has begun, and will never end, tells the mapper
// in his place.
func TestExplore_S7_StoppedBeforeItsHint(t *testing.T) {
	dead := func() *world {
		r := newWorld(2, 1)
		r.m.OnWorkerStopped(r.workers[0])
		return r
	}
	for _, c := range []struct {
		name  string
		setup func() *world
		call  func(*world)
		check func(*world) error
	}{
		{"spawn", assigned(2, 0), spawn(0), (*world).knowsFirst},
		{"spawn with a Slot", slottedAssigned(2, 0), spawn(0), (*world).knowsFirst},
		{"respawn", dead, spawn(0), (*world).knowsFirst},
		{"stop", assigned(2, 1), stop(0), (*world).stoppedFirst},
	} {
		t.Run(c.name, func(t *testing.T) {
			explore.Verify(t, one, func(p *explore.Program) {
				r := c.setup()
				p.Daemon(r.loop)
				p.Stoppable(func() { c.call(r) })
				p.Go(func() { c.call(r) })
				p.Check(func() error { return c.check(r) })
			})
		})
	}
}

func (r *world) knowsFirst() error {
	s := &r.m.workers.Find(r.workers[0]).Value
	if s.on == nil || s.on.epoch != epochOf(s.word.Load()) {
		return errors.New("the worker lives, and the mapper does not know")
	}
	return nil
}

func (r *world) stoppedFirst() error {
	if r.executors[0].stopped != 1 {
		return errors.New("the worker has stopped, and the mapper does not know")
	}
	return nil
}

func TestExplore_L5_StoppedCloser(t *testing.T) {
	explore.Verify(t, one, func(p *explore.Program) {
		r := newWorld(2, 0)
		p.Daemon(r.l.run)
		p.Stoppable(r.m.close)
		p.Go(r.m.close)
		p.Check(func() error {
			select {
			case <-r.m.done:
				return nil
			default:
				return errors.New("the mapper has not ended")
			}
		})
	})
}

// A spawner that stops for ever before its hint leaves a life of which the mapper
// knows nothing. Who triggers that worker tells the mapper, also where the ring
// is full.
func TestExplore_S7_StoppedSpawner(t *testing.T) {
	explore.Verify(t, one, func(p *explore.Program) {
		r := full(2)()
		p.Daemon(r.loop)
		p.Stoppable(func() { spawn(2)(r) })
		p.Go(func() { trigger(2)(r) })
		p.Check(func() error {
			if r.m.Stats().UnknownWorkers > 0 {
				return nil // the trigger was too early
			}
			if e := r.m.workers.Find(r.workers[2]); e.Value.on == nil {
				return errors.New("the trigger was lost")
			}
			return nil
		})
	})
}

// pin is a lease taken and given back, with the executor told of it.
func pin(i int) func(*world) {
	return func(r *world) {
		l, ok := r.m.Acquire(r.workers[i])
		if !ok {
			return
		}
		e := l.Executor().(*exploredExecutor)
		if e.stopped != 0 {
			explore.Failf("a lease on an executor that was stopped")
		}
		e.pins++
		e.pins--
		l.Release()
	}
}

// stoppedOnce checks that the executors of dead workers were stopped.
func (r *world) stoppedOnce() error {
	for i, e := range r.executors {
		if e.stopped != 1 {
			return fmt.Errorf("executor %d was stopped %d times", i, e.stopped)
		}
	}
	return r.whole()
}

func TestExplore_S1_LeaseAgainstStop(t *testing.T) {
	explore.Verify(t, complete, func(p *explore.Program) {
		r := newWorld(2, 1)
		p.Daemon(r.loop)
		p.Go(func() { pin(0)(r) })
		p.Go(func() { stop(0)(r) })
		p.Check(r.stoppedOnce)
	})
}

// A new life was sent nothing until the mapper has taken notice of it.
func TestExplore_S4_AcquireAgainstRespawn(t *testing.T) {
	explore.Verify(t, two, func(p *explore.Program) {
		r := newWorld(2, 1)
		p.Daemon(r.loop)
		p.Go(func() {
			then(stop(0), spawn(0))(r)
			if l, ok := r.m.Acquire(r.workers[0]); ok {
				if s := &r.m.workers.Find(r.workers[0]).Value; s.on == nil || s.on.epoch != epochOf(s.word.Load()) {
					explore.Failf("a lease on the executor of an earlier life")
				}
				l.Release()
			}
		})
		p.Check(r.whole)
	})
}

// What Acquire pins was sent to the worker. One thread runs the mapper here, for
// a few passes, which leaves the preemptions to the others.
func TestExplore_S4_AcquireOfWhatWasNeverSent(t *testing.T) {
	explore.Verify(t, two, func(p *explore.Program) {
		r := newWorld(2, 1)
		first := r.executors[0]
		var pinned *exploredExecutor
		p.Go(func() {
			if l, ok := r.m.Acquire(r.workers[0]); ok {
				pinned = l.Executor().(*exploredExecutor)
				l.Release()
			}
		})
		p.Go(func() {
			then(stop(0), spawn(0))(r)
			for range 3 {
				r.l.pass()
			}
		})
		p.Go(func() { stop(0)(r) })
		p.Check(func() error {
			sent := pinned == nil || pinned == first
			for ch := r.workers[0].self().ch; len(ch) > 0; {
				sent = <-ch == Executor(pinned) || sent
			}
			if !sent {
				return errors.New("a lease on an executor that the worker was not sent")
			}
			return nil
		})
	})
}

// A lease that is out when the worker stops keeps the executor; its release lets
// it go.
func TestExplore_L4_LastReleaseAgainstDrain(t *testing.T) {
	explore.Verify(t, two, func(p *explore.Program) {
		r := newWorld(2, 1)
		l, _ := r.m.Acquire(r.workers[0])
		e := l.Executor().(*exploredExecutor)
		e.pins++
		p.Daemon(r.loop)
		p.Go(func() { stop(0)(r) })
		p.Go(func() { e.pins--; l.Release() })
		p.Check(r.stoppedOnce)
	})
}

// A failure that is reported while the executor changes hands leads to a
// resolution of who held it.
func TestExplore_L2_BrokerFailed(t *testing.T) {
	explore.Verify(t, two, func(p *explore.Program) {
		r := newWorld(2, 1)
		p.Daemon(r.loop)
		before := 0
		p.Go(func() {
			before = r.resolved
			r.m.BrokerFailed(r.executors[0], nil)
		})
		p.Go(func() { trigger(0)(r) })
		p.Check(func() error {
			if r.resolved == before {
				return errors.New("the failure was lost")
			}
			return r.whole()
		})
	})
}

// Flags are for who comes while they are up, too.
func TestExplore_L2_BrokerFailedTwice(t *testing.T) {
	failed := func(r *world) { r.m.BrokerFailed(r.executors[0], nil) }
	mapped(t, two, assigned(2, 1), failed, failed)
}

// The mapper ends when the gate has closed and the last worker has stopped,
// whichever is first.
func TestExplore_L5_StopAgainstClose(t *testing.T) {
	explore.Verify(t, two, func(p *explore.Program) {
		r := newWorld(2, 1)
		p.Go(func() { r.l.run() }) // must end
		p.Go(func() { r.m.close() })
		p.Go(func() { stop(0)(r) })
		p.Check(func() error {
			select {
			case <-r.m.done:
			default:
				return errors.New("the mapper has not ended")
			}
			return r.stoppedOnce()
		})
	})
}

func TestExplore_L5_SpawnAgainstClose(t *testing.T) {
	explore.Verify(t, two, func(p *explore.Program) {
		r := newWorld(2, 0)
		p.Go(func() { r.l.run() })
		p.Go(func() { r.m.close() })
		p.Go(func() { spawn(0)(r); stop(0)(r) })
		p.Check(func() error {
			select {
			case <-r.m.done:
			default:
				return errors.New("the mapper has not ended")
			}
			return r.stoppedOnce()
		})
	})
}

// The same hand-off with workers that embed a Slot.
func TestExplore_Slot(t *testing.T) {
	respawn := func() *world {
		r := newSlottedWorld(2, 1)
		r.m.OnWorkerStopped(r.workers[0])
		return r
	}
	retired := func() *world { // its room is taken, by an entry that is out of the map
		r := respawn()
		r.settle()
		return r
	}
	for _, c := range []struct {
		name    string
		o       explore.Options
		setup   func() *world
		callers []func(*world)
	}{
		{"trigger against look", complete, slottedAssigned(2, 1), []func(*world){trigger(0)}},
		{"stop, respawn and stop", two, slottedAssigned(2, 1), []func(*world){then(stop(0), spawn(0), stop(0))}},
		{"stop and respawn against trigger", one, slottedAssigned(2, 1), []func(*world){then(stop(0), spawn(0)), trigger(0)}},
		{"spawn twice at once", two, slottedAssigned(2, 0), []func(*world){spawn(0), spawn(0)}},
		{"spawn against stop and respawn", two, slottedAssigned(2, 0), []func(*world){spawn(0), then(stop(0), spawn(0))}},
		{"respawn twice at once", one, respawn, []func(*world){spawn(0), spawn(0)}},
		{"respawn twice at once after the end", one, retired, []func(*world){spawn(0), then(spawn(0), trigger(0))}},
		{"respawn against lease", two, slottedAssigned(2, 1), []func(*world){then(stop(0), spawn(0)), pin(0)}},
	} {
		t.Run(c.name, func(t *testing.T) { mapped(t, c.o, c.setup, c.callers...) })
	}
}
