package model

import (
	"fmt"
	"strings"
	"time"

	"github.com/brokermap/brokermap/internal/assign"
)

// Bounds of every configuration.
const (
	MaxWorkers = 4
	MaxConns   = 4
	maxRoom    = 2 // of a channel
	maxCalls   = 4
)

// Unit is how far time moves at once where it is coarse: the longest interval
// between two looks at a channel (L4).
const Unit = 10 * time.Second

// none is no worker, executor or connection.
const none = -1

// Config is a configuration of the model.
type Config struct {
	Name string
	// Workers, Conns: how many there are. By S2 as many executors as connections
	// can exist at a time; handles are used again as the mapper uses them.
	Workers, Conns int
	// Room of each worker's channel.
	Room int
	// Batch and Calls configure the machine.
	Batch bool
	Calls int
	// Backoff in Units, by attempt; the last one is repeated. Empty: no backoff.
	Backoff []int
	// Late: a call may begin as late as just before it ends.
	Late bool
	// Timeless leaves the time out: a worker may have to wait for its next
	// resolution or not, and any timers may fire, in any order. Backoff and Late
	// say nothing then.
	Timeless bool
	// MaxLeases on one executor at a time; 0: one.
	MaxLeases int
	// RulesOnly leaves out the comparison with the plain bookkeeping in book.go, to
	// see what the rules find by themselves.
	RulesOnly bool
	// Budget bounds what may happen in all.
	Budget Budget

	// What follows is for walks, which need not remember where they have been.

	// Passes is how far time may move at once, in growing order, if not by Unit.
	Passes []time.Duration
	// Wait is the unit of Backoff, if not Unit.
	Wait time.Duration
	// SendsFail: somebody else may send on a worker's channel.
	SendsFail bool
	// Jitter is added to Backoff; it may change with every Tick.
	Jitter func(attempt, ticks int) time.Duration
}

// Budget is how often things may happen in all, or Always. Reads, looks, calls
// that return and the passing of time are free: they only use up what there is.
type Budget struct {
	Lives, Stops int // of workers
	Triggers     int
	Refusals     int // errors of the resolver
	Nils, Unfits int // spawns that give no executor, or one of another connection
	Reports      int // of broken connections
	Leases       int
}

// Always is as often as you like. It is not counted, and makes no states of its
// own.
const Always = -1

// used counts against a Budget.
type used struct{ lives, stops, triggers, refusals, nils, unfits, reports, leases uint8 }

// left reports that n more may happen.
func left(budget int, used uint8, n int) bool { return budget == Always || int(used)+n <= budget }

// use counts one.
func use(budget int, used *uint8) {
	if budget != Always {
		*used++
	}
}

func (c Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d workers, %d connections, room %d, %d calls", c.Name, c.Workers, c.Conns, c.Room, c.Calls)
	if c.Batch {
		b.WriteString(", batched")
	}
	switch {
	case c.Timeless:
		b.WriteString(", timeless")
	case len(c.Backoff) > 0:
		fmt.Fprintf(&b, ", backoff %v", c.Backoff)
	}
	for _, n := range []struct {
		name string
		n    int
	}{
		{"lives", c.Budget.Lives}, {"stops", c.Budget.Stops}, {"triggers", c.Budget.Triggers}, {"refusals", c.Budget.Refusals},
		{"nils", c.Budget.Nils}, {"unfits", c.Budget.Unfits}, {"reports", c.Budget.Reports}, {"leases", c.Budget.Leases},
	} {
		switch n.n {
		case 0:
		case Always:
			fmt.Fprintf(&b, ", %s", n.name)
		default:
			fmt.Fprintf(&b, ", %d %s", n.n, n.name)
		}
	}
	return b.String()
}

func (c Config) check() error {
	switch {
	case c.Workers < 1 || c.Workers > MaxWorkers || c.Conns < 1 || c.Conns > MaxConns:
		return fmt.Errorf("model: %d workers, %d connections", c.Workers, c.Conns)
	case c.Room < 1 || c.Room > maxRoom:
		return fmt.Errorf("model: room for %d", c.Room)
	case c.Calls < 1 || c.Calls > maxCalls:
		return fmt.Errorf("model: %d calls", c.Calls)
	}
	return nil
}

// backoff is the machine's Config.Backoff, and the reference's.
func (c *Config) backoff(attempt, ticks int) time.Duration {
	if c.Timeless {
		return Unit
	}
	if len(c.Backoff) == 0 {
		return 0
	}
	d := time.Duration(c.Backoff[min(attempt, len(c.Backoff)-1)]) * c.unit()
	if c.Jitter != nil {
		d += c.Jitter(attempt, ticks)
	}
	return d
}

func (c *Config) unit() time.Duration {
	if c.Wait > 0 {
		return c.Wait
	}
	return Unit
}

// horizon is what states need not tell apart in this configuration.
func (x *World) horizon() assign.Horizon {
	h := assign.Horizon{Handles: max(MaxWorkers, MaxConns)}
	if x.cfg.Timeless {
		h.Times = x.times
		return h
	}
	longest := 0
	for _, n := range x.cfg.Backoff {
		longest = max(longest, n)
	}
	h.Age = max(1, assign.Time(longest)*assign.Time(Unit))
	h.Attempt = max(1, len(x.cfg.Backoff)-1)
	h.Pure, h.Coarse = true, true
	return h
}
