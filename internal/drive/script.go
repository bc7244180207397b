package drive

import (
	"fmt"
	"time"
)

// Bounds of a Config.
const (
	MaxWorkers = 5
	MaxConns   = 4
	MaxCalls   = 3
)

// Config is what a run begins with.
type Config struct {
	Workers, Conns int
	// Calls is the mapper's MaxConcurrentResolves.
	Calls int
	// Batch: the resolver is a BatchResolver.
	Batch bool
	// RingSize is the mapper's; 1 makes it look for what it has no room to be told.
	RingSize int
}

func (c Config) check() error {
	if c.Workers < 1 || c.Workers > MaxWorkers || c.Conns < 1 || c.Conns > MaxConns || c.Calls < 1 || c.Calls > MaxCalls {
		return fmt.Errorf("drive: %+v: want 1 to %d workers, 1 to %d connections, 1 to %d calls", c, MaxWorkers, MaxConns, MaxCalls)
	}
	return nil
}

// Kind says what a Step does.
type Kind uint8

// The kinds of steps. On chooses the worker, call, executor or lease that a step is
// about, modulo how many there are. A step that is about none does nothing.
const (
	Nothing      Kind = iota // what shrinking makes of a step that is not needed
	Begin                    // OnWorkerSpawned, a repeated one where the worker lives. How: room for one or two; the old channel, where that is allowed
	End                      // OnWorkerStopped, for one that is dead too
	Trigger                  // TriggerReassign, the same
	Read                     // a worker takes an executor from its channel
	Fail                     // BrokerFailed for any executor that there ever was
	FailUnspawn              // BrokerFailed for one that SpawnExecutor is about to return
	Acquire                  // a lease on what a worker was sent last
	Release                  // a lease ends
	Answer                   // a call of the resolver returns. How: see the outcomes
	Spawned                  // a call of SpawnExecutor returns. How: see the outcomes
	Stopped                  // a call of Stop returns
	Pass                     // time passes. How: how much
	Close                    // Stop is called
	CloseAndLook             // Shutdown is called with a context that has ended
	Hold                     // the mapper's goroutine stands still for the notifications, reads and leases that follow at once; it begins with a trigger
	numKinds
)

// whileHeld: it may happen while the mapper's goroutine stands still.
func (k Kind) whileHeld() bool {
	switch k {
	case Begin, End, Trigger, Read, Fail, Acquire, Release:
		return true
	}
	return false
}

// Step is one thing that happens.
type Step struct {
	Kind    Kind
	On, How uint8
}

// Script is a run.
type Script struct {
	Config
	Steps []Step
}

// passes are the times that pass at once. 10 s is the longest that a late read
// goes unnoticed.
var passes = []time.Duration{
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond,
	time.Second, 10 * time.Second,
}

// backoff is the reference's Config.Backoff, and the mapper's.
func backoff(attempt int) time.Duration { return 10 * time.Millisecond << min(attempt, 4) }

// weights are the kinds in the proportions in which they make runs of interest.
var weights = []Kind{
	Begin, Begin, Begin, End, Trigger, Trigger, Trigger, Read, Read, Read, Fail, FailUnspawn, Acquire, Release,
	Answer, Answer, Answer, Answer, Answer, Spawned, Spawned, Spawned, Stopped, Stopped, Pass, Pass, Pass, Begin, End, Fail,
	Hold, Close,
}

const maxSteps = 400

// FromBytes makes a script of any bytes: four for the Config, then three a step.
func FromBytes(b []byte) Script {
	var head [4]byte
	b = b[copy(head[:], b):]
	s := Script{Config: Config{
		Workers: 1 + int(head[0])%MaxWorkers, Conns: 1 + int(head[1])%MaxConns, Calls: 1 + int(head[2])%MaxCalls,
		Batch: head[3]&1 != 0, RingSize: 1 + int(head[3]>>1&3)*5,
	}}
	for ; len(b) >= 3 && len(s.Steps) < maxSteps; b = b[3:] {
		s.Steps = append(s.Steps, Choose(b[0], b[1], b[2]))
	}
	return s
}

// Choose makes a step of any three bytes, of the kinds in good proportions.
func Choose(kind, on, how byte) Step {
	s := Step{weights[int(kind)%len(weights)], on, how}
	switch seldom := how >> 4; {
	case s.Kind != Close:
	case seldom == 1:
		s.Kind = CloseAndLook
	case seldom > 1:
		s.Kind = Hold // most of a run is before its end
	}
	return s
}
