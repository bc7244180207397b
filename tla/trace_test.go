package tla_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// minTraces is how many traces TestTraces demands to have seen.
const minTraces = 1000

// TestTraces has mappers that run write what they do, and TLC validate it: those of
// the random scripts of package model, with a plain reference beside them; those
// of the random tests of package mapper, in virtual time and where goroutines
// race; and that of the demo, which consumes from an embedded cluster. Where
// BROKERMAP_TRACE is set the traces in that directory are validated instead.
func TestTraces(t *testing.T) {
	jar := requireTLC(t)
	dir := os.Getenv("BROKERMAP_TRACE")
	if dir == "" {
		dir = t.TempDir()
		for _, args := range [][]string{
			{"test", "-tags", "trace", "-count=1", "-run", "^TestRandomMapper$", "./model", "-rapid.checks=800"},
			{"test", "-tags", "trace", "-count=1", "-run", "^TestTraced$", "./mapper"},
			{"run", "-tags", "trace", "./cmd/brokermap", "demo", "-duration", "3s", "-seed", "1", "-json"},
		} {
			if err := record(dir, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	traces := readTraces(t, dir)
	if len(traces) < minTraces && os.Getenv("BROKERMAP_TRACE") == "" {
		t.Errorf("%d traces, want %d at least", len(traces), minTraces)
	}
	batches := batchesOf(traces)
	for _, constants := range slices.Sorted(maps.Keys(batches)) {
		t.Run(constants, func(t *testing.T) {
			t.Parallel()
			batch := batches[constants]
			o := validate(t, jar, batch)
			t.Logf("%d traces, %d states, %d s", len(batch), o.Distinct, o.Seconds)
			if o.Result != "ok" {
				t.Error(explain(batch, o))
			}
		})
	}
}

// record runs the go command at the module's root.
func record(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "BROKERMAP_TRACE="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, tail(string(out)))
	}
	return nil
}

// trace is what a mapper has written.
type trace struct {
	name      string
	constants string   // of the specification
	events    []string // records
	workers   map[string]bool
	conns     map[string]bool
}

var (
	reHeader = regexp.MustCompile(`^\[do \|-> "Spawn", batch \|-> (\w+), calls \|-> (\d+)\]$`)
	reName   = regexp.MustCompile(`"([wc]\d+)"`)
)

// batchesOf returns those that one run of TLC can validate, by their constants.
func batchesOf(traces []trace) map[string][]trace {
	batches := map[string][]trace{}
	for _, r := range traces {
		batches[r.constants] = append(batches[r.constants], r)
	}
	return batches
}

func readTraces(t *testing.T, dir string) []trace {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.trace"))
	if err != nil {
		t.Fatal(err)
	}
	var all []trace
	for _, f := range files {
		r, err := parseTrace(filepath.Base(f), readText(t, f))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func parseTrace(name, text string) (trace, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	header := reHeader.FindStringSubmatch(lines[0])
	if header == nil {
		return trace{}, fmt.Errorf("%s begins with %q", name, lines[0])
	}
	r := trace{
		name:      name,
		constants: fmt.Sprintf("Batch = %s, MaxCalls = %s", header[1], header[2]),
		events:    lines[1:],
		workers:   map[string]bool{}, conns: map[string]bool{},
	}
	for _, m := range reName.FindAllStringSubmatch(text, -1) {
		if m[1][0] == 'w' {
			r.workers[m[1]] = true
		} else {
			r.conns[m[1]] = true
		}
	}
	return r, nil
}

// validate runs TLC on traces that have the same constants.
func validate(t *testing.T, jar string, traces []trace) outcome {
	t.Helper()
	var events, indexes []string
	number := map[string]int{}
	workers, conns := map[string]bool{}, map[string]bool{}
	for _, r := range traces {
		maps.Copy(workers, r.workers)
		maps.Copy(conns, r.conns)
		var is []string
		for _, e := range r.events {
			if number[e] == 0 {
				events = append(events, e)
				number[e] = len(events)
			}
			is = append(is, fmt.Sprint(number[e]))
		}
		indexes = append(indexes, "<<"+strings.Join(is, ",")+">>")
	}
	recorded := "---- MODULE Recorded ----\nEXTENDS Mapper\nEvents == <<\n" + strings.Join(events, ",\n") + ">>\n" +
		"Traces == <<\n" + strings.Join(indexes, ",\n") + ">>\n====\n"

	names := func(set map[string]bool) string {
		var quoted []string
		for _, n := range slices.Sorted(maps.Keys(set)) {
			quoted = append(quoted, fmt.Sprintf("%q", n))
		}
		return "{" + strings.Join(quoted, ", ") + "}"
	}
	config := "SPECIFICATION TraceSpec\nCONSTANTS\n  " + strings.ReplaceAll(traces[0].constants, ", ", "\n  ") + `
  Workers = ` + names(workers) + `
  Conns = ` + names(conns) + `
  None = None
  Room = 1000
  MaxLeases = 1000
  May = {"stop", "trigger", "refuse", "report", "nil", "unfit", "close"}
  Noisy = {}
  Hang = {}
  Mut = {}
  Dues <- SeenDues
  Full <- SeenFull
  Symmetry <- NoSymmetry
INVARIANTS
  S1_NoUseAfterStop S2_OneExecutorPerConn S5_NoResurrection S6_HoldsAreKept S9_OneAtATime S10_CallsAreBounded
  L5_NothingIsLeft L6_TimersHaveCause L1_AtRest L2_AtRest L3_AtRest L4_AtRest L5_AtRest
PROPERTIES
  S3_StoppedExactlyOnce S3_NoSpawnForFull S4_OnlyResolved S5_NothingSentToTheDead
  S6_FailureKeeps S9_NewLifeAtOnce L5_NoLifeBegins
`
	return tlc(t, jar, run{module: "MapperTrace.tla", config: config, files: map[string]string{"Recorded.tla": recorded}})
}

var (
	reTrace = regexp.MustCompile(`(?m)^/\\ t = (\d+)$`)
	reEvent = regexp.MustCompile(`(?m)^/\\ i = (\d+)$`)
)

// explain says how far the trace went that TLC has rejected.
func explain(traces []trace, o outcome) string {
	ts, is := reTrace.FindAllStringSubmatch(o.text, -1), reEvent.FindAllStringSubmatch(o.text, -1)
	if ts == nil || is == nil {
		return tail(o.text)
	}
	r, next := traces[atoi(ts[len(ts)-1][1])-1], atoi(is[len(is)-1][1])-1
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s after %d of %d events\n", r.name, o.Result, next, len(r.events))
	const few = 30
	fmt.Fprintf(&b, "The specification goes along with\n%s\n", strings.Join(r.events[max(0, next-few):next], "\n"))
	if o.Result == "deadlock" {
		fmt.Fprintf(&b, "but not with\n%s\n", r.events[next])
	}
	states := strings.Split(o.text, "\nState ")
	return b.String() + "in the state\n" + tail(states[len(states)-1])
}

// TestCorruptTraces corrupts a trace and demands that TLC goes along with it up to
// there, and no further.
func TestCorruptTraces(t *testing.T) {
	jar := requireTLC(t)
	r, err := parseTrace("mapper.trace", readText(t, "testdata/mapper.trace"))
	if err != nil {
		t.Fatal(err)
	}
	if o := validate(t, jar, []trace{r}); o.Result != "ok" {
		t.Fatal(explain([]trace{r}, o))
	}
	for _, c := range []struct {
		name     string
		line     int    // of the trace
		old, new string // in it; or, where both are empty,
		from     int    // the line that is to come before it
		gone     bool   // or it is gone
		matches  int    // how many events of what comes of it
	}{
		{name: "a record is missing", line: 10, gone: true, matches: 11},
		{name: "an answer to a life that has ended counts", line: 27, old: `"owed"}, awaits |-> None`, new: `"owed"}, awaits |-> "c2"`, matches: 25},
		{name: "a trigger during a resolution is forgotten", line: 41, old: `, "owed"`, matches: 39},
		{name: "an executor is sent that nobody resolved to", line: 46, old: `<<"c3", "c3">>`, new: `<<"c3", "c1">>`, matches: 44},
		{name: "last come, first served", line: 52, old: `<<"w2", "w3", "w1">>`, new: `<<"w1", "w2", "w3">>`, matches: 50},
		{name: "an executor has stopped that somebody uses", line: 65, from: 72, matches: 63},
		{name: "a worker reads more than it was sent", line: 65, from: 57, matches: 63},
		{name: "the mapper ends while an executor stops", line: 74, from: 75, matches: 72},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bad := r
			bad.events = slices.Clone(r.events)
			i := c.line - 2 // lines count from 1, and the first is the header
			switch {
			case c.gone:
				bad.events = slices.Delete(bad.events, i, i+1)
			case c.from > 0:
				bad.events = slices.Insert(bad.events, i, r.events[c.from-2])
			default:
				bad.events[i] = strings.Replace(bad.events[i], c.old, c.new, 1)
				if bad.events[i] == r.events[i] {
					t.Fatalf("line %d of the trace has no %q", c.line, c.old)
				}
			}
			o := validate(t, jar, []trace{bad})
			what := explain([]trace{bad}, o)
			t.Log(what)
			if !strings.Contains(what, fmt.Sprintf(": deadlock after %d of ", c.matches)) {
				t.Errorf("%s, want a deadlock after %d events", o.Result, c.matches)
			}
		})
	}
}
