package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/brokermap/brokermap/internal/assign"
)

// Abstract is a state of the specification: what a World in a Timeless
// configuration is, seen through the eyes of tla/Mapper.tla. The fields have the
// names, and the values, of the specification's. Workers and connections are
// numbers from 0; none stands for None. What the specification knows and this
// model does not (the ring of hints, Stop, the calm after which all goes well) is
// left out.
type Abstract struct {
	Alive, Reborn []int
	Trig          []string // by worker

	On, Owed, Flying, Stale []int
	Ready                   []int // in order
	Timer, Look             []int
	Awaits                  []int    // by worker, a connection
	Sent                    [][]int  // by worker, connections
	Conn                    []string // by connection

	Calls            [][]int // workers in order; calls by their first worker
	Chan             [][]int // by worker, connections
	Using            []int   // by worker
	Leases           []int   // by connection
	Failed, Unpinned []int   // connections

	Debt, Own []int
	Answer    []int // by worker, a connection

	Asking        []int // by worker
	Exists, Stops []int // by connection
}

// Abstract returns the state of the specification that x is in. It is the one
// place that relates the two.
func (x *World) Abstract() *Abstract {
	s := &Abstract{}
	in := func(set *[]int, i int, is bool) {
		if is {
			*set = append(*set, i)
		}
	}
	for w := range x.cfg.Workers {
		k, b := &x.workers[w], &x.book.workers[w]
		in(&s.Alive, w, k.alive)
		in(&s.Reborn, w, k.alive && k.seen && !k.same)
		s.Trig = append(s.Trig, [...]string{triggerNone: "none", triggerSet: "set", triggerTold: "told"}[k.trigger])
		in(&s.On, w, b.alive)
		in(&s.Owed, w, b.owed)
		in(&s.Flying, w, b.flying)
		in(&s.Stale, w, b.stale)
		x.machine.WorkerState(assign.Worker(w), &x.view)
		in(&s.Timer, w, x.view.Retry)
		in(&s.Look, w, x.view.Look)
		s.Awaits = append(s.Awaits, int(b.awaits))
		s.Sent = append(s.Sent, x.connsOf(b.holds[:b.n]))
		s.Chan = append(s.Chan, x.channelOf(k))
		s.Using = append(s.Using, none)
		if k.using != none {
			s.Using[w] = int(x.connOf(k.using))
		}
		in(&s.Debt, w, k.debt)
		in(&s.Own, w, k.ours)
		s.Answer = append(s.Answer, int(k.answer))
		s.Asking = append(s.Asking, 0)
	}
	for _, w := range x.machine.AppendReady(nil) {
		s.Ready = append(s.Ready, int(w))
	}
	for i := range x.cfg.Calls {
		c := &x.calls[i]
		if c.n == 0 {
			continue
		}
		var call []int
		for _, w := range c.workers[:c.n] {
			call = append(call, int(w))
			s.Asking[w]++
		}
		s.Calls = append(s.Calls, call)
	}
	slices.SortFunc(s.Calls, slices.Compare)
	for c := range x.cfg.Conns {
		k, b := &x.executors[x.executorOf(c)], &x.book.conns[c]
		name := [...]string{bookEmpty: "empty", bookSpawning: "spawning", bookLive: "live", bookStopping: "stopping"}[b.state]
		if b.state == bookLive && b.retiring {
			name = "retiring"
		}
		s.Conn = append(s.Conn, name)
		s.Leases = append(s.Leases, int(k.leases))
		in(&s.Failed, c, k.failed)
		in(&s.Unpinned, c, k.unpinned)
		s.Exists = append(s.Exists, 0)
		s.Stops = append(s.Stops, 0)
		if x.conns[c] || k.state != gone {
			s.Exists[c] = 1
		}
		if k.state == stopping {
			s.Stops[c] = 1
		}
	}
	return s
}

func (x *World) connsOf(executors []int8) []int {
	var conns []int
	for _, e := range executors {
		conns = append(conns, int(x.connOf(e)))
	}
	return conns
}

// channelOf returns what is in the channel of the life that the mapper has seen.
// Of one that has ended only how much it is can be told.
func (x *World) channelOf(k *worker) []int {
	switch {
	case k.current():
		return x.connsOf(k.channel[:k.unread])
	case k.seen:
		return slices.Repeat([]int{none}, int(k.left))
	}
	return nil
}

// String writes s as a record of TLA+, one field a line, in the order of the
// specification's TypeOK.
func (s *Abstract) String() string {
	var b strings.Builder
	field := func(name, value string) { fmt.Fprintf(&b, "%s |-> %s\n", name, value) }
	worker := func(w int) string { return fmt.Sprintf("w%d", w+1) }
	conn := func(c int) string {
		if c == none {
			return "None"
		}
		return fmt.Sprintf("c%d", c+1)
	}
	set := func(name func(int) string, members []int) string {
		return "{" + join(members, name) + "}"
	}
	queue := func(name func(int) string) func([]int) string {
		return func(q []int) string { return "<<" + join(q, name) + ">>" }
	}
	number := func(n int) string { return fmt.Sprint(n) }
	text := func(t string) string { return fmt.Sprintf("%q", t) }

	field("alive", set(worker, s.Alive))
	field("reborn", set(worker, s.Reborn))
	field("trig", function(worker, s.Trig, text))
	field("on", set(worker, s.On))
	field("owed", set(worker, s.Owed))
	field("flying", set(worker, s.Flying))
	field("stale", set(worker, s.Stale))
	field("ready", queue(worker)(s.Ready))
	field("timer", set(worker, s.Timer))
	field("look", set(worker, s.Look))
	field("awaits", function(worker, s.Awaits, conn))
	field("sent", function(worker, s.Sent, queue(conn)))
	field("conn", function(conn, s.Conn, text))
	field("calls", "{"+join(s.Calls, queue(worker))+"}")
	field("chan", function(worker, s.Chan, queue(conn)))
	field("using", function(worker, s.Using, conn))
	field("leases", function(conn, s.Leases, number))
	field("failed", set(conn, s.Failed))
	field("unpinned", set(conn, s.Unpinned))
	field("debt", set(worker, s.Debt))
	field("own", set(worker, s.Own))
	field("answer", function(worker, s.Answer, conn))
	field("asking", function(worker, s.Asking, number))
	field("exists", function(conn, s.Exists, number))
	field("stops", function(conn, s.Stops, number))
	return b.String()
}

func join[T any](values []T, write func(T) string) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = write(v)
	}
	return strings.Join(words, ", ")
}

// function writes one as TLC does: (w1 :> "none" @@ w2 :> "set").
func function[T any](argument func(int) string, values []T, write func(T) string) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = argument(i) + " :> " + write(v)
	}
	return "(" + strings.Join(words, " @@ ") + ")"
}
