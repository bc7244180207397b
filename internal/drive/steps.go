package drive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

// Run runs s in a bubble of its own, lets everything come to its end and returns
// what has happened, one line for each step and, indented, for what followed. The
// error is the first rule of the contract that was broken.
func Run(t *testing.T, s Script) (log string, err error) {
	var r *rig
	defer func() {
		if p := recover(); p != nil { // goroutines are left, or all hang
			err = errors.Join(err, fmt.Errorf("L5: %v", p))
		}
		if r != nil {
			log = r.log.String()
		}
	}()
	synctest.Test(t, func(*testing.T) {
		if r, err = newRig(s.Config); err != nil {
			return
		}
		if err = r.run(s.Steps); err != nil {
			r.abandon()
		}
	})
	return "", err
}

func (r *rig) run(steps []Step) error {
	for _, s := range steps {
		if err := r.take(s); err != nil {
			return err
		}
	}
	if r.standing != nil {
		if err := r.moveOn(); err != nil {
			return err
		}
	}
	return r.finish()
}

// take takes a step, waits for all that follows, and compares.
func (r *rig) take(s Step) error {
	if s.Kind == Nothing {
		return nil
	}
	if r.standing != nil && (!s.Kind.whileHeld() || r.standing.deeds == manyDeeds) {
		if err := r.moveOn(); err != nil {
			return err
		}
	}
	began := r.now
	if err := r.do(s); err != nil {
		return err
	}
	if r.standing != nil {
		r.standing.deeds++
		synctest.Wait()
		return nil
	}
	return r.settle(began)
}

// moveOn ends a Hold.
func (r *rig) moveOn() error {
	r.goOn()
	return r.settle(r.now)
}

// do performs s on the mapper and on the reference.
func (r *rig) do(s Step) error {
	on := int(s.On)
	i := on % r.cfg.Workers
	switch s.Kind {
	case Begin:
		r.begins(i, s.How)
	case End:
		return r.ends(i)
	case Trigger:
		r.triggers(i)
	case Read:
		return r.reads(i)
	case Fail:
		r.reports(on)
	case FailUnspawn:
		r.reportsEarly(on)
	case Acquire:
		return r.acquires(i)
	case Release:
		if len(r.leases) > 0 {
			r.releases(on % len(r.leases))
		}
	case Answer:
		if len(r.calls) > 0 {
			r.answers(on%len(r.calls), int(s.How))
		}
	case Spawned:
		if len(r.spawnings) > 0 {
			r.returnsSpawned(on%len(r.spawnings), int(s.How))
		}
	case Stopped:
		if len(r.stoppings) > 0 {
			r.returnsStopped(on % len(r.stoppings))
		}
	case Pass:
		r.passes(passes[int(s.How)%len(passes)])
	case Close:
		r.closes()
	case CloseAndLook:
		return r.shutsDown()
	case Hold:
		r.stand(i)
	case answerWell:
		r.answersWell()
	}
	return nil
}

func (r *rig) begins(i int, how uint8) {
	f := r.fetchers[i]
	room := 1 + int(how&1)
	switch {
	case r.living(i):
		r.say("spawn w%d again", i+1)
		r.repeated++
		r.m.OnWorkerSpawned(f.Worker)
		return
	case f.clean && how&2 != 0:
		room = cap(f.ch)
		r.say("spawn w%d, with its old channel", i+1)
	default:
		f.ch = make(chan mapper.Executor, room)
		r.say("spawn w%d, room for %d", i+1, room)
	}
	switch {
	case r.closed:
		r.afterStop++
	case r.standing != nil:
		r.standing.since[i] = unseen{changed: true, alive: true, room: room}
	default:
		r.begin(i, room)
	}
	r.m.OnWorkerSpawned(f.Worker)
}

func (r *rig) ends(i int) error {
	w, f := r.workers[i], r.fetchers[i]
	r.say("stop w%d", i+1)
	for w.alive && len(w.unread) > 0 {
		if err := r.receives(i); err != nil {
			return err
		}
	}
	switch {
	case !r.living(i):
		r.strangers++
	case r.standing != nil:
		f.clean, w.using = false, 0
		r.standing.since[i] = unseen{changed: true}
	default:
		f.clean = !w.inFlight && !w.owed && w.awaits < 0
		r.end(i)
	}
	r.m.OnWorkerStopped(f.Worker)
	return nil
}

func (r *rig) triggers(i int) {
	r.say("trigger w%d", i+1)
	switch {
	case !r.living(i):
		r.strangers++
	case r.standing != nil:
		r.standing.since[i].triggered = true
	default:
		r.trigger(r.workers[i])
	}
	r.m.TriggerReassign(r.fetchers[i].Worker)
}

func (r *rig) reads(i int) error {
	if w := r.workers[i]; !w.alive || len(w.unread) == 0 {
		return nil
	}
	r.say("read w%d", i+1)
	return r.receives(i)
}

// receives takes an executor from the channel of worker i, which has one.
func (r *rig) receives(i int) error {
	w := r.workers[i]
	got, _ := (<-r.fetchers[i].ch).(*executor)
	want := w.unread[0]
	w.unread = w.unread[1:]
	w.using = want
	if got == nil || got.n != want {
		return fmt.Errorf("S4, B3: w%d was sent %+v, want e%d", i+1, got, want)
	}
	return nil
}

// reports is BrokerFailed for executor number n, whatever has become of it.
func (r *rig) reports(n int) {
	const manyUnknown = 30 // beyond, the mapper may take any executor for one of them
	if len(r.executors) == 0 {
		return
	}
	e := r.executors[n%len(r.executors)]
	if !e.known {
		if r.unknown == manyUnknown {
			return
		}
		r.unknown++
		r.unknownExecutors++
		for _, s := range r.spawnings {
			s.reported = append(s.reported, e)
		}
	}
	r.say("fail e%d", e.n)
	switch {
	case !e.known:
	case r.standing != nil:
		r.standing.failed = append(r.standing.failed, e.n)
	default:
		r.failed(e.n)
	}
	r.m.BrokerFailed(e, errors.New("broken"))
}

// reportsEarly is BrokerFailed for what a call of SpawnExecutor is to return.
func (r *rig) reportsEarly(n int) {
	if len(r.spawnings) == 0 {
		return
	}
	s := r.spawnings[n%len(r.spawnings)]
	if s.next == nil {
		s.next = r.executor(s.conn, r.brokers[s.conn])
	}
	r.reports(s.next.n - 1)
}

// executor makes one.
func (r *rig) executor(conn int, b *sarama.Broker) *executor {
	e := &executor{r: r, n: len(r.executors) + 1, conn: conn, broker: b, resume: make(chan struct{})}
	r.executors = append(r.executors, e)
	return e
}

func (r *rig) acquires(i int) error {
	want := r.lastOf(i)
	l, ok := r.m.Acquire(r.fetchers[i].Worker)
	e, _ := l.Executor().(*executor)
	if ok != (want != 0) || ok && e.n != want {
		return fmt.Errorf("S1: Acquire(w%d) gave %+v, %v, want e%d", i+1, e, ok, want)
	}
	if ok {
		r.say("acquire w%d: e%d", i+1, e.n)
		r.leases = append(r.leases, lease{l, e.conn, e.n})
		r.conns[e.conn].leases++
	}
	return nil
}

func (r *rig) releases(i int) {
	l := r.leases[i]
	r.say("release e%d", l.executor)
	r.leases = slices.Delete(r.leases, i, i+1)
	r.conns[l.conn].leases--
	if r.standing == nil {
		r.letGo()
	}
	l.Release()
}

// answers lets call i return. For each worker how chooses a connection, an error
// or nil, or both; the greatest one an answer of the wrong length.
func (r *rig) answers(i, how int) {
	c := r.calls[i]
	r.calls = slices.Delete(r.calls, i, i+1)
	outcomes := r.cfg.Conns + 3
	if how == 255 && r.cfg.Batch {
		r.say("answer %s: too many", names('w', c.workers))
		r.wrongLengths++
		for _, w := range c.workers {
			r.refused(w)
		}
		c.answer <- make([]mapper.Resolution, len(c.workers)+1)
		return
	}
	r.say("answer %s", names('w', c.workers))
	answer := make([]mapper.Resolution, len(c.workers))
	for j, w := range c.workers {
		a := &answer[j]
		switch k := (how + j*(how/outcomes)) % outcomes; k - r.cfg.Conns {
		default:
			r.say("  # w%d: c%d", w+1, k+1)
			a.BrokerConn = r.brokers[k]
			r.answered(w, k)
			continue
		case 0:
			a.Err = errNoLeader
		case 1:
		case 2:
			a.BrokerConn, a.Err = r.brokers[0], errNoLeader
		}
		r.say("  # w%d: none", w+1)
		r.refused(w)
	}
	c.answer <- answer
}

// returnsSpawned lets a call of SpawnExecutor return: how says what.
func (r *rig) returnsSpawned(i, how int) {
	s := r.spawnings[i]
	r.spawnings = slices.Delete(r.spawnings, i, i+1)
	e := s.next
	switch how % 8 {
	case 0:
		r.say("spawned c%d: nil", s.conn+1)
		r.spawnFailed(s.conn, 0)
		s.result <- nil
		return
	case 1:
		e = r.executor(s.conn, r.elsewhere)
		r.say("spawned c%d: e%d of another connection", s.conn+1, e.n)
		e.known = true
		r.spawnFailed(s.conn, e.n)
		s.result <- e
		return
	case 2: // one that exists, of another connection
		other := slices.IndexFunc(r.executors, func(o *executor) bool { return o.known && o.broker != r.elsewhere })
		if other >= 0 {
			e = r.executors[other]
			r.say("spawned c%d: e%d, which is there already", s.conn+1, e.n)
			r.spawnFailed(s.conn, 0)
			s.result <- e
			return
		}
	case 3: // one that has stopped
		again := slices.IndexFunc(r.executors, func(o *executor) bool { return o.broker == r.brokers[s.conn] })
		if again >= 0 && s.next == nil {
			e = r.executors[again]
		}
	}
	if e == nil {
		e = r.executor(s.conn, r.brokers[s.conn])
	}
	r.say("spawned c%d: e%d", s.conn+1, e.n)
	e.known = true
	r.spawned(s.conn, e.n, slices.Contains(s.reported, e))
	s.result <- e
}

func (r *rig) returnsStopped(i int) {
	e := r.stoppings[i]
	r.say("stopped e%d", e.n)
	r.stoppings = slices.Delete(r.stoppings, i, i+1)
	e.known = false
	r.down(e.conn)
	e.resume <- struct{}{}
}

func (r *rig) passes(d time.Duration) {
	r.say("pass %v", d)
	r.pass(r.now + d)
	time.Sleep(d)
}

func (r *rig) closes() {
	r.say("Stop the mapper")
	r.closed = true
	r.stopCalls.Go(func() {
		r.m.Stop()
		r.mu.Lock()
		r.ended = true
		r.mu.Unlock()
	})
}

// shutsDown is Shutdown with a context that has ended: it says whether anything is
// left, and begins to stop.
func (r *rig) shutsDown() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	left := r.left() > 0 || len(r.calls) > 0
	r.say("Shutdown, with a context that has ended")
	r.closes()
	switch err := r.m.Shutdown(ctx); {
	case left && !errors.Is(err, context.Canceled):
		return errors.Join(errors.New("L5: something is left, and that is not what Shutdown returned"), err)
	case !left && err != nil:
		return fmt.Errorf("L5: nothing is left, and Shutdown returned: %w", err)
	}
	return nil
}
