//go:build trace

package mapper

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/brokermap/brokermap/internal/assign"
)

// tracer writes what a mapper does, under the names of the actions of
// tla/Mapper.tla, one record of TLA+ a line, into a file of its own in the
// directory BROKERMAP_TRACE. tla/MapperTrace.tla says what the fields are, and
// checks them.
//
// Whoever takes a step of the specification holds mu from before its first access
// to shared words until its record is written, so the records have the order of
// the steps. The loop's fields are read under mu, too: they change in such steps
// only.
type tracer struct {
	mu   sync.Mutex
	file *os.File // nil: nothing is to be traced
	l    *loop

	names   map[Worker]string
	owner   []string          // by handle: the worker that has it, or had it last
	views   map[string]string // by worker: what the machine knew after the last step
	conns   map[string]string // by connection
	ready   []assign.Worker   // its list of those that are due
	unread  []int             // by handle: in the channel, as far as the mapper has looked
	life    []*life           // by handle: whose channel that is
	flagged bool              // a flag was raised, and not taken since

	// Of the step that is being taken.
	rooms   map[assign.Worker]int // channels that were looked at, and their capacity
	starts  []assign.Worker
	answers []string
	conn    string
}

func (t *tracer) open(l *loop) {
	dir := os.Getenv("BROKERMAP_TRACE")
	if dir == "" {
		return
	}
	file, err := os.CreateTemp(dir, "*.trace")
	if err != nil {
		panic(fmt.Sprintf("mapper: BROKERMAP_TRACE: %v", err))
	}
	t.l, t.file = l, file
	t.names, t.views, t.conns = map[Worker]string{}, map[string]string{}, map[string]string{}
	t.rooms = map[assign.Worker]int{}
	t.line("Spawn", fmt.Sprintf("batch |-> %s", boolean(l.m.batch != nil)), fmt.Sprintf("calls |-> %d", l.m.cfg.MaxConcurrentResolves))
}

// begin begins a step; did and the other past tenses end it, or cancel does.
func (t *tracer) begin() { t.mu.Lock() }

func (t *tracer) cancel() { t.mu.Unlock() }

// did records what a caller has done to w, or to the mapper, where that is nil.
func (t *tracer) did(what string, w Worker) { t.didIf(true, what, w) }

func (t *tracer) didIf(did bool, what string, w Worker) {
	defer t.mu.Unlock()
	switch {
	case t.file == nil || !did:
	case w == nil:
		t.line(what)
	default:
		t.line(what, t.w(w))
	}
}

func (t *tracer) failed(x *executorEntry) {
	defer t.mu.Unlock()
	if t.file != nil && slices.Contains(t.l.executors, x) { // else it has stopped since it was found
		t.flagged = true
		t.line("BrokerFailed", t.c(x))
	}
}

func (t *tracer) acquired(w Worker, l Lease) {
	defer t.mu.Unlock()
	if t.file != nil && l.x != nil {
		t.line("AcquireLease", t.w(w), t.c(l.x))
	}
}

func (t *tracer) released(l Lease) {
	defer t.mu.Unlock()
	if t.file != nil {
		t.flagged = true
		t.line("ReleaseLease", t.c(l.x))
	}
}

// looked ends lookAt.
func (t *tracer) looked(e *workerEntry) {
	defer t.mu.Unlock()
	if t.file == nil {
		return
	}
	if e.Value.word.Load()&retiredBit != 0 && t.l.m.workers.Find(e.Key()) != nil {
		return // a late hint of an entry that another one has replaced: it changes nothing
	}
	name := t.name(e.Key())
	if id := *e.Value.handle(); id != noHandle {
		for int(id) >= len(t.owner) {
			t.owner, t.unread, t.life = append(t.owner, ""), append(t.unread, 0), append(t.life, nil)
		}
		if t.owner[id] != name {
			if old := slices.Index(t.owner, name); old >= 0 {
				t.own(assign.Worker(old), fmt.Sprintf("gone%d", old))
			}
			t.own(id, name)
		}
		if t.life[id] != e.Value.on {
			t.life[id], t.unread[id] = e.Value.on, 0
		}
	}
	t.step("Look", field("w", quote(name)))
}

// own notes that a handle is now name's, who is a worker or nobody. There may be an
// entry of an earlier owner, who is dead, among those that are due.
func (t *tracer) own(id assign.Worker, name string) {
	if slices.Contains(t.ready, id) {
		t.line("HandleMoves", field("of", quote(t.owner[id])), field("to", quote(name)))
	}
	t.owner[id] = name
}

// beginResult begins the step of what a call has come to.
func (t *tracer) beginResult(r *result) {
	t.begin()
	switch {
	case t.file == nil || r.call != nil:
	case r.event.Kind == assign.ExecutorDown:
		t.conn = t.c(t.l.executors[r.event.Executor])
	default:
		t.conn = field("c", connName(r.event.Conn))
	}
}

func (t *tracer) answered(ev assign.Event) {
	if t.file == nil {
		return
	}
	answer := "None"
	if ev.Kind == assign.Answered {
		answer = connName(ev.Conn)
	}
	t.answers = append(t.answers, answer)
}

func (t *tracer) tookResult(r *result) {
	defer t.mu.Unlock()
	if t.file == nil {
		return
	}
	switch {
	case r.call != nil:
		workers := make([]string, len(r.call.asked))
		for i, w := range r.call.asked {
			workers[i] = quote(t.owner[w.id])
		}
		t.step("CallReturns", field("call", sequence(workers)), field("answers", sequence(t.answers)))
	case r.event.Kind == assign.ExecutorDown:
		t.step("StopReturns", t.conn)
	case r.event.Kind == assign.ExecutorUp:
		t.step("SpawnReturns", t.conn, field("suspect", boolean(r.event.Suspect)))
	case r.event.Kind == assign.ExecutorUnfit:
		t.step("SpawnUnfit", t.conn)
	default:
		t.step("SpawnNil", t.conn)
	}
}

func (t *tracer) tookFlags() {
	defer t.mu.Unlock()
	if t.file != nil && t.flagged {
		t.flagged = false
		t.step("TakeFlags")
	}
}

func (t *tracer) ticked() {
	defer t.mu.Unlock()
	if t.file == nil {
		return
	}
	var looks []string
	for w := range t.rooms {
		looks = append(looks, quote(t.owner[w]))
	}
	if fields := t.news(); len(fields) > 0 || len(looks) > 0 { // the mapper ticks whenever it wakes up
		t.line("Tick", append(fields, field("looked", set(looks)))...)
	}
}

// finished records the end of the mapper, and of the trace.
func (t *tracer) finished() {
	t.begin()
	defer t.mu.Unlock()
	if t.file == nil {
		return
	}
	t.line("Finish")
	if err := t.file.Close(); err != nil {
		panic(err)
	}
	t.file = nil
}

// rest records that nothing is left to do: every channel is empty, and no time
// that passes makes a difference. The caller knows.
func (t *tracer) rest() {
	t.begin()
	defer t.mu.Unlock()
	if t.file == nil {
		return
	}
	for id, e := range t.l.workers {
		if e != nil && e.Value.on != nil {
			t.read(assign.Worker(id), len(e.Value.on.ch))
		}
	}
	t.line("Rest")
}

func (t *tracer) asked(w assign.Worker) {
	if t.file != nil {
		t.starts = append(t.starts, w)
	}
}

func (t *tracer) sent(w assign.Worker) {
	if t.file != nil {
		t.unread[w]++
	}
}

// room returns what the machine is to see of w's channel. Reads tell nobody, so
// they are recorded when the mapper finds out, as if they had come just before the
// step. In one step it looks once: what is read meanwhile is found by the next.
func (t *tracer) room(w assign.Worker, unread, capacity int) (int, int) {
	if t.file == nil {
		return unread, capacity
	}
	if _, again := t.rooms[w]; !again {
		t.rooms[w] = capacity
		t.read(w, unread)
	}
	return t.unread[w], capacity
}

func (t *tracer) read(w assign.Worker, unread int) {
	what := "LateRead" // by a worker that has ended its life
	s := &t.l.workers[w].Value
	if word := s.word.Load(); s.on != nil && word&aliveBit != 0 && epochOf(word) == s.on.epoch {
		what = "Read"
	}
	for ; t.unread[w] > unread; t.unread[w]-- {
		t.line(what, field("w", quote(t.owner[w])))
	}
}

// step writes the record of a step of the machine.
func (t *tracer) step(what string, fields ...string) {
	t.line(what, append(fields, t.news()...)...)
}

// news returns what the step has changed of what the machine knows, and what
// decided where the specification leaves a choice.
func (t *tracer) news() []string {
	var fields []string
	m := t.l.machine

	ready := m.AppendReady(nil)
	var due []string
	for _, w := range slices.Concat(t.starts, ready) {
		if !slices.Contains(t.ready, w) {
			due = append(due, quote(t.owner[w]))
		}
	}
	if len(due) > 0 {
		fields = append(fields, field("due", sequence(due)))
	}
	if !slices.Equal(ready, t.ready) {
		names := make([]string, len(ready))
		for i, w := range ready {
			names[i] = quote(t.owner[w])
		}
		fields = append(fields, field("ready", sequence(names)))
	}
	if len(t.rooms) > 0 {
		rooms := map[string]string{}
		for w, capacity := range t.rooms {
			rooms[t.owner[w]] = fmt.Sprint(capacity)
		}
		fields = append(fields, field("room", function(rooms)))
	}
	if news := update(t.views, t.knownWorkers(), `[is |-> {}, awaits |-> None, sent |-> <<>>]`); len(news) > 0 {
		fields = append(fields, field("now", function(news)))
	}
	if news := update(t.conns, t.knownConns(), `"empty"`); len(news) > 0 {
		fields = append(fields, field("conn", function(news)))
	}
	t.ready, t.starts, t.answers = ready, t.starts[:0], t.answers[:0]
	clear(t.rooms)
	return fields
}

// update makes old what is new, and returns what has changed. What is not in one
// of them is nothing.
func update(old, is map[string]string, nothing string) map[string]string {
	news := map[string]string{}
	for k, v := range is {
		if was, known := old[k]; v != was && (known || v != nothing) {
			news[k] = v
		}
	}
	for k, was := range old {
		if _, known := is[k]; !known && was != nothing {
			news[k] = nothing
		}
	}
	maps.Copy(old, news)
	return news
}

func (t *tracer) knownWorkers() map[string]string {
	views := map[string]string{}
	var s assign.WorkerState
	for id, e := range t.l.workers {
		if e == nil {
			continue
		}
		t.l.machine.WorkerState(assign.Worker(id), &s)
		var is, sent []string
		for _, f := range []struct {
			is   bool
			name string
		}{{s.Alive, "on"}, {s.Owed, "owed"}, {s.Flying, "flying"}, {s.Stale, "stale"}, {s.Retry, "timer"}, {s.Look, "look"}} {
			if f.is {
				is = append(is, quote(f.name))
			}
		}
		for _, x := range s.Holds {
			sent = append(sent, t.connOf(t.l.executors[x]))
		}
		awaits := "None"
		if s.Awaits >= 0 {
			awaits = connName(s.Awaits)
		}
		views[t.owner[id]] = fmt.Sprintf("[is |-> %s, awaits |-> %s, sent |-> %s]", set(is), awaits, sequence(sent))
	}
	return views
}

func (t *tracer) knownConns() map[string]string {
	states := map[string]string{}
	var s assign.ConnState
	for id, b := range t.l.conns {
		if b == nil {
			continue
		}
		t.l.machine.ConnState(assign.Conn(id), &s)
		state := "empty"
		switch {
		case s.Spawning:
			state = "spawning"
		case s.Retiring:
			state = "retiring"
		case s.Live:
			state = "live"
		case s.Stopping:
			state = "stopping"
		}
		states[fmt.Sprintf("c%d", id+1)] = quote(state)
	}
	return states
}

func (t *tracer) line(what string, fields ...string) {
	fields = append([]string{field("do", quote(what))}, fields...)
	// At once: what a program that crashes has written until then is a trace as well.
	if _, err := t.file.WriteString("[" + strings.Join(fields, ", ") + "]\n"); err != nil {
		panic(err)
	}
}

// name returns that of a worker value: w1 is the first of this mapper.
func (t *tracer) name(w Worker) string {
	name, known := t.names[w]
	if !known {
		name = fmt.Sprintf("w%d", len(t.names)+1)
		t.names[w] = name
	}
	return name
}

func (t *tracer) w(w Worker) string         { return field("w", quote(t.name(w))) }
func (t *tracer) c(x *executorEntry) string { return field("c", t.connOf(x)) }

// connOf returns the name of an executor's connection, which the machine knows.
func (t *tracer) connOf(x *executorEntry) string { return connName(t.l.connHandles[x.Value.conn]) }

// connName is that of a handle, which the machine uses for another connection when
// it has forgotten one; so does the specification.
func connName(c assign.Conn) string { return quote(fmt.Sprintf("c%d", c+1)) }

func field(name, value string) string { return name + " |-> " + value }
func quote(name string) string        { return `"` + name + `"` }
func set(members []string) string {
	return "{" + strings.Join(slices.Sorted(slices.Values(members)), ", ") + "}"
}
func sequence(values []string) string { return "<<" + strings.Join(values, ", ") + ">>" }
func boolean(b bool) string           { return strings.ToUpper(fmt.Sprint(b)) }

func function(f map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(f)) {
		pairs = append(pairs, quote(k)+" :> "+f[k])
	}
	return "(" + strings.Join(pairs, " @@ ") + ")"
}
