package assign

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the effects in testdata/*.txt, to be read before they are committed")

// TestScenarios replays testdata/*.txt, each named after the rule that it shows.
//
// A file begins with a line that configures the machine, for instance
//
//	batch calls 1 backoff 10ms 20ms
//
// (batch or plain; the last backoff is repeated), followed by one event a line:
//
//	spawn w1         stop w1          trigger w1      advance 10ms
//	answer w1 c1     refuse w1        return          tick
//	up c1 e1         up c1 e1 suspect spawnfailed c1  unfit c1 e1
//	fail e1          unpinned e1      closed e1       down e1
//	sendfailed w1
//
// Beneath each event stand its effects, indented. An answer or a refusal may end
// with "began 3ms", the time since the start of the scenario at which the
// resolution began; otherwise that is when it was asked for. The channels of the
// workers have room for one executor. About them, and what to look at:
//
//	read w1          the worker takes an executor from its channel
//	cap w1 2         its channel has room for two from now on
//	gone w1          its life has ended, "stop w1" is still to come: a send is dropped
//	report e1        its failure was reported, "fail e1" is still to come
//	times early w1   all were resolved long ago, but w1 just now, and no timer is due;
//	                 after due: but these, in this order; after looks: looks at these
//	next             says when the next Tick is needed
//	show w1          says what the machine knows of w1; also of a connection
//
// The runner watches the rules of the contract that can be told from outside, so
// that a scenario which breaks one fails, whatever effects stand in its file.
//
// model prints what it finds in this form.
//
// BROKERMAP_SCENARIO names a file that is replayed alone.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios:", err)
	}
	if file := os.Getenv("BROKERMAP_SCENARIO"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := replay(string(want), nil)
			if err != nil {
				t.Fatalf("%v:\n%s", err, lastLines(got))
			}
			if *update && got != string(want) {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Fatal(difference(string(want), got))
			}
		})
	}
}

var shows = regexp.MustCompile(`(?m)^show .*\n`)

// TestStateSaysEnough replays the scenarios with a machine that is made anew
// from its state bytes, or cloned, after every event: it must not show.
func TestStateSaysEnough(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	renewals := map[string]func(r *runner){
		"load": func(r *runner) {
			state := r.machine.AppendState(nil, r.now, Horizon{})
			m := New(r.machine.cfg)
			m.Load(state, r.now, Horizon{})
			if again := m.AppendState(nil, r.now, Horizon{}); !bytes.Equal(state, again) {
				r.broken("state", "%x became %x", state, again)
			}
			r.machine = m
		},
		"load later": func(r *runner) { // states are relative to the time
			state := r.machine.AppendState(nil, r.now, Horizon{})
			const later = Time(time.Hour)
			r.now += later
			r.shift += later
			for w := range r.asked {
				r.asked[w] += later
			}
			r.machine.Load(state, r.now, Horizon{})
		},
		"clone": func(r *runner) {
			old := r.machine
			r.machine = old.Clone()
			old.Load(New(old.cfg).AppendState(nil, r.now, Horizon{}), r.now, Horizon{}) // nothing is shared
		},
	}
	for name, renew := range renewals {
		t.Run(name, func(t *testing.T) {
			for _, file := range files {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				// A state does not say what can make no difference; show does.
				scenario := shows.ReplaceAllString(string(text), "")
				want, _ := replay(scenario, nil)
				if got, err := replay(scenario, renew); err != nil || got != want {
					t.Errorf("%s: %v: %s", file, err, difference(want, got))
				}
			}
		})
	}
}

// difference says where two scenarios part.
func difference(want, got string) string {
	w, g := strings.SplitAfter(want, "\n"), strings.SplitAfter(got, "\n")
	i := 0
	for i < min(len(w), len(g)) && w[i] == g[i] {
		i++
	}
	upTo := func(lines []string) string { return lastLines(strings.Join(lines[:min(i+1, len(lines))], "")) }
	return fmt.Sprintf("line %d differs. Want:\n%s\nGot:\n%s", i+1, upTo(w), upTo(g))
}

func lastLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "")
}

// runner replays one scenario.
type runner struct {
	machine *Machine
	now     Time
	shift   Time // how much later it is than the scenario believes
	out     strings.Builder

	channels map[Worker]*channel
	asked    map[Worker]Time     // resolutions in flight, and when they were asked for
	old      map[Worker]bool     // those of a life that has ended
	answers  map[Worker]Conn     // the last answer in this life
	conns    map[Executor]Conn   // of those that exist
	stopping map[Executor]bool   // those that were asked to stop
	spawning map[Conn]bool       //
	pinned   map[Executor]bool   // those that were asked to retire
	failed   map[Executor]bool   // the report is not yet an event
	sent     map[Worker]Executor // by the last event
}

// channel is a worker's, and the executor that the worker took last.
type channel struct {
	unread   []Executor
	capacity int
	using    Executor
	alive    bool
	gone     bool // the machine does not yet know that it is dead
}

func (r *runner) channel(w Worker) *channel {
	c := r.channels[w]
	if c == nil {
		c = &channel{capacity: 1, using: none}
		r.channels[w] = c
	}
	return c
}

// replay returns the scenario with the effects that its events have. After each
// event it calls renew, if there is one.
func replay(scenario string, renew func(*runner)) (string, error) {
	const start = Time(time.Hour) // so that there is a time before
	r := &runner{
		now: start, shift: start,
		channels: map[Worker]*channel{}, asked: map[Worker]Time{}, old: map[Worker]bool{}, answers: map[Worker]Conn{},
		conns: map[Executor]Conn{}, stopping: map[Executor]bool{}, spawning: map[Conn]bool{}, pinned: map[Executor]bool{}, failed: map[Executor]bool{},
	}
	lines := strings.Split(strings.TrimSuffix(scenario, "\n"), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, " ") {
			continue // an effect, which the event writes anew
		}
		r.out.WriteString(line + "\n")
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		var err error
		if r.machine == nil {
			err = r.configure(words)
		} else {
			err = r.event(words)
		}
		if err != nil {
			return r.out.String(), fmt.Errorf("line %d: %q: %w", i+1, line, err)
		}
		if err := r.machine.Check(Horizon{}); err != nil {
			r.broken("check", "%v", err)
		}
		if sending := len(r.sent) > 0 && slices.ContainsFunc(lines[i+1:], isSendFailed); renew != nil && !sending {
			renew(r)
		}
	}
	if i := strings.Index(r.out.String(), "  !"); i >= 0 {
		return r.out.String(), errors.New("a rule is broken, see the line with an exclamation mark")
	}
	return r.out.String(), nil
}

// isSendFailed: a Send is over when it is certain that it did not fail; a state is
// of a moment between Steps.
func isSendFailed(line string) bool { return strings.HasPrefix(line, "sendfailed") }

func (r *runner) configure(words []string) error {
	cfg := Config{Room: func(w Worker) (int, int) {
		c := r.channel(w)
		return len(c.unread), c.capacity
	}, Failed: func(e Executor) bool { return r.failed[e] }}
	var backoffs []time.Duration
	cfg.Backoff = func(attempt int) time.Duration { return backoffs[min(attempt, len(backoffs)-1)] }
	if len(words) < 5 || words[0] != "plain" && words[0] != "batch" || words[1] != "calls" || words[3] != "backoff" {
		return errors.New(`want something like "plain calls 1 backoff 10ms 20ms"`)
	}
	cfg.Batch = words[0] == "batch"
	var err error
	if cfg.MaxCalls, err = strconv.Atoi(words[2]); err != nil {
		return err
	}
	for _, word := range words[4:] {
		d, err := time.ParseDuration(word)
		if err != nil {
			return err
		}
		backoffs = append(backoffs, d)
	}
	r.machine = New(cfg)
	return nil
}

// args are the words of an event.
type args struct {
	words []string
	err   error
}

// handle takes the next word: a letter and a number, counted from 1.
func (a *args) handle(letter byte) int32 {
	if len(a.words) == 0 || a.words[0][0] != letter {
		a.err = fmt.Errorf("want %c and a number", letter)
		return 0
	}
	n, err := strconv.Atoi(a.words[0][1:])
	if err != nil || n < 1 {
		a.err = fmt.Errorf("want %c and a number", letter)
		return 0
	}
	a.words = a.words[1:]
	return int32(n - 1)
}

func (a *args) worker() Worker     { return Worker(a.handle('w')) }
func (a *args) executor() Executor { return Executor(a.handle('e')) }
func (a *args) conn() Conn         { return Conn(a.handle('c')) }

func (a *args) duration() Time {
	if len(a.words) == 0 {
		a.err = errors.New("want a duration")
		return 0
	}
	d, err := time.ParseDuration(a.words[0])
	if err != nil {
		a.err = err
	}
	a.words = a.words[1:]
	return Time(d)
}

func (a *args) flag(name string) bool {
	if len(a.words) > 0 && a.words[0] == name {
		a.words = a.words[1:]
		return true
	}
	return false
}

func (r *runner) event(words []string) error {
	a := &args{words: words[1:]}
	var ev Event
	switch words[0] {
	case "spawn":
		ev = Event{Kind: Spawned, Worker: a.worker()}
	case "stop":
		ev = Event{Kind: Stopped, Worker: a.worker()}
	case "trigger":
		ev = Event{Kind: Triggered, Worker: a.worker()}
	case "answer":
		ev = Event{Kind: Answered, Worker: a.worker(), Conn: a.conn()}
		ev.At = r.began(a, ev.Worker)
	case "refuse":
		ev = Event{Kind: Refused, Worker: a.worker()}
		ev.At = r.began(a, ev.Worker)
	case "return":
		ev = Event{Kind: CallReturned}
	case "up":
		ev = Event{Kind: ExecutorUp, Conn: a.conn(), Executor: a.executor(), Suspect: a.flag("suspect")}
	case "spawnfailed":
		ev = Event{Kind: SpawnFailed, Conn: a.conn()}
	case "unfit":
		ev = Event{Kind: ExecutorUnfit, Conn: a.conn(), Executor: a.executor()}
	case "fail":
		ev = Event{Kind: BrokerFailed, Executor: a.executor()}
	case "unpinned":
		ev = Event{Kind: Unpinned, Executor: a.executor()}
	case "closed":
		ev = Event{Kind: Closed, Executor: a.executor()}
	case "down":
		ev = Event{Kind: ExecutorDown, Executor: a.executor()}
	case "sendfailed":
		ev = Event{Kind: SendFailed, Worker: a.worker()}
	case "tick":
		ev = Event{Kind: Tick}
	default:
		return r.surroundings(words[0], a)
	}
	if a.err == nil && len(a.words) > 0 {
		a.err = fmt.Errorf("what is %q?", a.words)
	}
	if a.err == nil {
		a.err = r.before(ev)
	}
	if a.err != nil {
		return a.err
	}
	if ev.Kind != SendFailed {
		r.sent = map[Worker]Executor{}
	}
	for _, f := range slices.Clone(r.machine.Step(r.now, ev)) {
		r.effect(f)
	}
	return nil
}

// began returns when the resolution of w that an event ends has begun.
func (r *runner) began(a *args, w Worker) Time {
	if a.flag("began") {
		began := a.duration() + r.shift
		if a.err == nil && (began < r.asked[w] || began > r.now) {
			a.err = errors.New("began before it was asked for, or later than now")
		}
		return began
	}
	return r.asked[w]
}

// surroundings performs what is no event of the machine.
func (r *runner) surroundings(what string, a *args) error {
	switch what {
	case "advance":
		r.now += a.duration()
	case "read":
		c := r.channel(a.worker())
		if len(c.unread) == 0 {
			return errors.New("its channel is empty")
		}
		c.using, c.unread = c.unread[0], c.unread[1:]
		r.say("e%d", c.using+1)
	case "cap":
		w := a.worker()
		if len(a.words) != 1 {
			return errors.New("want a number")
		}
		r.channel(w).capacity, a.err = strconv.Atoi(a.words[0])
	case "gone":
		r.channel(a.worker()).gone = true
	case "report":
		r.failed[a.executor()] = true
	case "times":
		r.recast(a)
	case "next":
		if due, ok := r.machine.Next(); ok {
			r.say("timer in %v", time.Duration(due-r.now))
		} else {
			r.say("no timer")
		}
	case "show":
		if len(a.words) > 0 && a.words[0][0] == 'c' {
			r.showConn(a.conn())
		} else {
			r.showWorker(a.worker())
		}
	default:
		return errors.New("no such event")
	}
	return a.err
}

// recast gives the machine other times, as if all had happened at other moments.
func (r *runner) recast(a *args) {
	const long = Time(5 * time.Second)
	began, due, looks := map[Worker]Time{}, map[Worker]Time{}, map[Worker]Time{}
	lists := map[string]map[Worker]Time{"early": began, "due": due, "looks": looks}
	list := began
	for a.err == nil && len(a.words) > 0 {
		if l := lists[a.words[0]]; l != nil {
			list = l
			a.words = a.words[1:]
			continue
		}
		w := a.worker()
		list[w] = r.now
		if rank := Time(len(due) + len(looks)); rank > 0 {
			list[w] -= 100 - rank
		}
	}
	h := Horizon{Times: func(w Worker) Times {
		_, flying := r.asked[w]
		t := Times{Began: r.now - 20*long, Due: r.now + long, Look: r.now + long}
		if at, ok := began[w]; ok {
			t.Began = at
		} else if flying {
			t.Due = r.now // of the one that follows
		}
		if at, ok := due[w]; ok {
			t.Due = at
		}
		if at, ok := looks[w]; ok {
			t.Look = at
		}
		return t
	}}
	r.machine.Load(r.machine.AppendState(nil, r.now, h), r.now, h)
	for w := range r.asked {
		r.asked[w] = h.Times(w).Began
	}
}

func (r *runner) say(format string, args ...any) { fmt.Fprintf(&r.out, "  "+format+"\n", args...) }

func (r *runner) showWorker(w Worker) {
	var s WorkerState
	r.machine.WorkerState(w, &s)
	words := []string{"dead"}
	if s.Alive {
		words[0] = "alive, attempt " + strconv.Itoa(s.Attempt)
	}
	switch {
	case s.Stale:
		words = append(words, "flying for an earlier life")
	case s.Flying:
		words = append(words, "flying")
	}
	switch wait := time.Duration(s.Due - r.now); {
	case s.Owed && wait > 0:
		words = append(words, fmt.Sprintf("owed in %v", wait))
	case s.Owed:
		words = append(words, "owed")
	}
	if s.Awaits != none {
		words = append(words, fmt.Sprintf("awaits c%d", s.Awaits+1))
	}
	if len(s.Holds) > 0 {
		words = append(words, "holds")
		for _, e := range s.Holds {
			words[len(words)-1] += fmt.Sprintf(" e%d", e+1)
		}
	}
	r.say("%s", strings.Join(words, ", "))
}

func (r *runner) showConn(c Conn) {
	var s ConnState
	r.machine.ConnState(c, &s)
	words := []string{"empty"}
	switch {
	case s.Spawning:
		words[0] = "spawning"
	case s.Retiring:
		words[0] = fmt.Sprintf("e%d, held by nobody", s.Executor+1)
	case s.Live:
		words[0] = fmt.Sprintf("e%d", s.Executor+1)
	case s.Stopping:
		words[0] = fmt.Sprintf("e%d is stopping", s.Executor+1)
	}
	for _, w := range s.Waiters {
		words = append(words, fmt.Sprintf("w%d waits", w+1))
	}
	r.say("%s", strings.Join(words, ", "))
}
