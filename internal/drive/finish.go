package drive

import (
	"fmt"

	"github.com/brokermap/brokermap/mapper"
)

// finish has all go well, and checks that everybody is served; then all stop.
func (r *rig) finish() error {
	r.say("# all goes well from here")
	if err := r.calm(); err != nil {
		return err
	}
	for i, w := range r.workers {
		if !w.alive {
			continue
		}
		if err := r.take(Step{Kind: Trigger, On: uint8(i)}); err != nil {
			return err
		}
	}
	if err := r.calm(); err != nil {
		return err
	}
	for i, w := range r.workers {
		if w.alive && (w.using == 0 || r.executors[w.using-1].conn != i%r.cfg.Conns) {
			return fmt.Errorf("L3: w%d uses e%d, want one of c%d", i+1, w.using, i%r.cfg.Conns+1)
		}
	}
	for len(r.leases) > 0 {
		if err := r.take(Step{Kind: Release}); err != nil {
			return err
		}
	}
	for c, k := range r.conns {
		if k.state == placeLive && !r.held(k.executor) {
			return fmt.Errorf("L4: e%d of c%d is there, and nobody holds it", k.executor, c+1)
		}
	}
	for i, w := range r.workers {
		if !w.alive {
			continue
		}
		if err := r.take(Step{Kind: End, On: uint8(i)}); err != nil {
			return err
		}
	}
	if err := r.calm(); err != nil {
		return err
	}
	if err := r.take(Step{Kind: Close}); err != nil {
		return err
	}
	r.stopCalls.Wait()
	return r.checkStats()
}

// calm lets all calls return, everybody read and time pass, until nothing is to
// come any more. Each worker is resolved to a connection of its own.
func (r *rig) calm() error {
	const enough = 2000
	for range enough {
		s, ok := r.calmStep()
		if !ok {
			return nil
		}
		if err := r.take(s); err != nil {
			return err
		}
	}
	return fmt.Errorf("L6: it does not come to rest")
}

func (r *rig) calmStep() (Step, bool) {
	for i, w := range r.workers {
		if w.alive && len(w.unread) > 0 {
			return Step{Kind: Read, On: uint8(i)}, true
		}
	}
	switch {
	case len(r.calls) > 0:
		return Step{Kind: answerWell}, true
	case len(r.spawnings) > 0:
		return Step{Kind: Spawned, How: 7}, true
	case len(r.stoppings) > 0:
		return Step{Kind: Stopped}, true
	}
	next := r.next()
	if next == never {
		return Step{}, false
	}
	for i, d := range passes {
		if r.now+d >= next {
			return Step{Kind: Pass, How: uint8(i)}, true
		}
	}
	return Step{Kind: Pass, How: uint8(len(passes) - 1)}, true
}

// answerWell is the step that answers the oldest call as calm has it.
const answerWell = numKinds

// answersWell gives each worker of the oldest call its own connection.
func (r *rig) answersWell() {
	c := r.calls[0]
	r.calls = r.calls[1:]
	r.say("answer %s", names('w', c.workers))
	answer := make([]mapper.Resolution, len(c.workers))
	for j, w := range c.workers {
		to := w % r.cfg.Conns
		r.say("  # w%d: c%d", w+1, to+1)
		answer[j].BrokerConn = r.brokers[to]
		r.answered(w, to)
	}
	c.answer <- answer
}

// checkStats checks what the mapper has counted, after its end.
func (r *rig) checkStats() error {
	s := r.m.Stats()
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"Workers", s.Workers, 0},
		{"Executors", s.Executors, 0},
		{"Calls", s.Calls, 0},
		{"WorkersStopped", s.WorkersStopped, s.WorkersSpawned},
		{"ExecutorsStopped", s.ExecutorsStopped, s.ExecutorsSpawned},
		{"FullChannels", s.FullChannels, r.full},
		{"FailedSpawns", s.FailedSpawns, r.failedSpawns},
		{"WrongLengths", s.WrongLengths, r.wrongLengths},
		{"RepeatedSpawns", s.RepeatedSpawns, r.repeated},
		{"SpawnsAfterStop", s.SpawnsAfterStop, r.afterStop},
		{"UnknownWorkers", s.UnknownWorkers, r.strangers},
		{"UnknownExecutors", s.UnknownExecutors, r.unknownExecutors},
	} {
		if c.got != c.want {
			return fmt.Errorf("stats: %s is %d, want %d", c.name, c.got, c.want)
		}
	}
	return nil
}
