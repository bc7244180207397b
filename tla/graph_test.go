package tla_test

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/brokermap/brokermap/model"
)

// TestGraph compares the specification with the machine that ships, run through
// every reachable state by package model: TLC's states are the machine's, seen
// through model.Abstract, each of them, and so are the steps. The machine takes no
// step that the specification does not take under the same name, or that it does
// not see at all; and the specification none that the machine cannot take, but for
// the order of workers that become due at once.
func TestGraph(t *testing.T) {
	jar := requireTLC(t)
	for _, c := range commonConfigs(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			spec := specGraph(t, jar, c.text)
			took := time.Since(began)
			code := codeGraph(t, c.model)
			spec.compare(t, code)
			t.Logf("| %s | %d | %d | %.1f s | %d | %d | %d | %.1f s |", c.name,
				len(spec.states), len(spec.steps), took.Seconds(),
				len(code.states), len(code.steps), code.found.States, code.found.Took.Seconds())
		})
	}
}

// common is what a configuration of the specification and one of the model have
// in common.
type common struct {
	name  string
	text  string // TLC's
	model model.Config
}

var (
	reConstant = regexp.MustCompile(`(?m)^  (\w+) = (.*)$`)
	reWord     = regexp.MustCompile(`"(\w+)"`)
)

// specOnly are words of May for what package model leaves out: the ring of hints,
// Stop, and the calm that liveness waits for.
var specOnly = strings.Fields("ring overflow pause close calm")

// commonConfigs returns the configurations of the manifest without what only one
// side has, each once.
func commonConfigs(t *testing.T) []common {
	var all []common
	seen := map[string]bool{}
	for _, e := range readJSON[entry](t, "manifest.json") {
		if e.Module != "Mapper.tla" {
			continue
		}
		constants := map[string]string{}
		for _, m := range reConstant.FindAllStringSubmatch(readText(t, e.Config), -1) {
			constants[m[1]] = m[2]
		}
		words := map[string]bool{}
		for _, m := range reWord.FindAllStringSubmatch(constants["May"], -1) {
			words[m[1]] = !slices.Contains(specOnly, m[1])
		}
		maps.DeleteFunc(words, func(_ string, common bool) bool { return !common })
		quoted := []string{}
		for _, w := range slices.Sorted(maps.Keys(words)) {
			quoted = append(quoted, fmt.Sprintf("%q", w))
		}
		constants["May"] = "{" + strings.Join(quoted, ", ") + "}"
		constants["Noisy"], constants["Hang"] = "{}", "{}" // they matter to liveness only

		var text strings.Builder
		text.WriteString("SPECIFICATION Spec\nCONSTANTS\n")
		for _, k := range slices.Sorted(maps.Keys(constants)) {
			fmt.Fprintf(&text, "  %s = %s\n", k, constants[k])
		}
		if seen[text.String()] {
			continue
		}
		seen[text.String()] = true
		budget := func(word string) int {
			if words[word] {
				delete(words, word)
				return model.Always
			}
			return 0
		}
		c := common{
			name: strings.TrimSuffix(filepath.Base(e.Config), ".cfg"),
			text: text.String(),
			model: model.Config{
				Name:      e.Config,
				Workers:   strings.Count(constants["Workers"], "w"),
				Conns:     strings.Count(constants["Conns"], "c"),
				Room:      atoi(constants["Room"]),
				Batch:     constants["Batch"] == "TRUE",
				Calls:     atoi(constants["MaxCalls"]),
				MaxLeases: atoi(constants["MaxLeases"]),
				Timeless:  true,
				Budget: model.Budget{
					Lives: model.Always, Stops: budget("stop"), Triggers: budget("trigger"), Refusals: budget("refuse"),
					Nils: budget("nil"), Unfits: budget("unfit"), Reports: budget("report"),
				},
			},
		}
		if c.model.MaxLeases > 0 {
			c.model.Budget.Leases = model.Always
		}
		if len(words) > 0 {
			t.Fatalf("%s: the model does not know %v", e.Config, words)
		}
		all = append(all, c)
	}
	return all
}

// graph is all states, in canonical form, with all steps that change something.
type graph struct {
	states map[string]int32
	texts  []string // by number
	steps  map[step]bool
	found  model.Result // of a search
}

type step struct {
	from, to int32
	action   string
}

func newGraph() *graph { return &graph{states: map[string]int32{}, steps: map[step]bool{}} }

func (g *graph) number(state string) int32 {
	n, ok := g.states[state]
	if !ok {
		n = int32(len(g.texts))
		g.states[state] = n
		g.texts = append(g.texts, state)
	}
	return n
}

func (g *graph) add(from, to int32, action string) {
	if from != to {
		g.steps[step{from, to, action}] = true
	}
}

var (
	reDotState = regexp.MustCompile(`^(-?\d+) \[label="s = (.*?)"(?:,style = filled)?\];?$`)
	reDotStep  = regexp.MustCompile(`^(-?\d+) -> (-?\d+) \[label="(\w+)"`)
	dotEscapes = strings.NewReplacer(`\"`, `"`, `\n`, "\n", `\\`, `\`)
)

// specGraph has TLC write its graph.
func specGraph(t *testing.T, jar, config string) *graph {
	t.Helper()
	path := filepath.Join(t.TempDir(), "graph")
	o := tlc(t, jar, run{module: "Mapper.tla", config: config, args: []string{"-dump", "dot,actionlabels", path}})
	if o.Result != "ok" {
		t.Fatal(tail(o.text))
	}
	f, err := os.Open(path + ".dot")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := newGraph()
	type edge struct{ from, to, action string }
	var edges []edge
	ids := map[string]int32{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if m := reDotStep.FindStringSubmatch(lines.Text()); m != nil {
			edges = append(edges, edge{m[1], m[2], m[3]})
		} else if m := reDotState.FindStringSubmatch(lines.Text()); m != nil {
			state, err := canonical(dotEscapes.Replace(m[2]))
			if err != nil {
				t.Fatal(err)
			}
			ids[m[1]] = g.number(state)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, e := range edges {
		from, known := ids[e.from]
		to, also := ids[e.to]
		if !known || !also {
			t.Fatalf("TLC has written no state for %v", e)
		}
		g.add(from, to, e.action)
	}
	if len(ids) != o.Distinct || len(g.states) != o.Distinct {
		t.Fatalf("TLC has found %d states, and written %d, of which %d are different", o.Distinct, len(ids), len(g.states))
	}
	return g
}

// alone are the fields of a state that only the specification has, which do not
// change without the words in specOnly.
const alone = `telling |-> {}, hint |-> {}, dirty |-> FALSE, closed |-> FALSE, done |-> FALSE, calm |-> FALSE`

// codeGraph searches all that the machine can do.
func codeGraph(t *testing.T, cfg model.Config) *graph {
	t.Helper()
	g := newGraph()
	numbers := map[string]int32{} // of a state of the model, by its bytes
	var err error
	g.found, err = model.Search(cfg, model.Options{Workers: 1, Visit: func(from []byte, a model.Action, to []byte, x *model.World) {
		n, known := numbers[string(to)]
		if !known {
			state, err := canonical("[" + strings.ReplaceAll(strings.TrimSpace(x.Abstract().String()), "\n", ",") + "," + alone + "]")
			if err != nil {
				t.Error(err)
			}
			n = g.number(state)
			numbers[string(to)] = n
		}
		if from != nil {
			g.add(numbers[string(from)], n, actionOf(a))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// actionOf returns the specification's name for a step of the model.
func actionOf(a model.Action) string {
	if a.Kind == model.SpawnSuspect {
		return "SpawnReturns"
	}
	return a.Kind.String()
}

// compare demands that the graphs are equal, as TestGraph says.
func (g *graph) compare(t *testing.T, code *graph) {
	t.Helper()
	differ := func(what string, some []string) {
		if len(some) > 0 {
			t.Errorf("%d %s, such as\n%s", len(some), what, slices.Min(some))
		}
	}
	lost := func(from, to *graph) (missing []string) {
		for _, s := range from.texts {
			if _, ok := to.states[s]; !ok {
				missing = append(missing, s)
			}
		}
		return missing
	}
	missing, extra := lost(g, code), lost(code, g)
	differ("states of the specification are no states of the machine", missing)
	differ("states of the machine are no states of the specification", extra)

	if len(code.states) == 0 || len(code.steps) == 0 {
		t.Error("there is nothing to compare")
	}
	if t.Failed() {
		return
	}
	untaken := func(from, to *graph) (missing []step) {
		for s := range from.steps {
			if !to.steps[step{to.states[from.texts[s.from]], to.states[from.texts[s.to]], s.action}] {
				missing = append(missing, s)
			}
		}
		return missing
	}
	describe := func(g *graph, steps []step) (texts []string) {
		for _, s := range steps {
			texts = append(texts, fmt.Sprintf("%s from\n%s\nto\n%s", s.action, g.texts[s.from], g.texts[s.to]))
		}
		return texts
	}
	differ("steps of the machine the specification does not allow", describe(code, untaken(code, g)))

	// Who is due first where several become due at once is the machine's choice. It
	// is not always free to choose: its lists have their order from before.
	spare := untaken(g, code)
	if len(spare) == 0 {
		return
	}
	taken := map[looseStep]bool{}
	for s := range code.steps {
		taken[code.loose(s)] = true
	}
	n := len(spare)
	spare = slices.DeleteFunc(spare, func(s step) bool { return taken[g.loose(s)] })
	differ("steps of the specification the machine cannot take, in whatever order", describe(g, spare))
	t.Logf("%d of the specification's steps are the machine's but for the order of who is due", n-len(spare))
}

// looseStep is a step that does not say in which order workers are due.
type looseStep struct {
	from, to string
	action   string
}

var reReady = regexp.MustCompile(`ready\|-><<([^>]*)>>`)

func (g *graph) loose(s step) looseStep {
	to := reReady.ReplaceAllStringFunc(g.texts[s.to], func(ready string) string {
		workers := strings.Split(reReady.FindStringSubmatch(ready)[1], ",")
		slices.Sort(workers)
		return strings.Join(workers, ",")
	})
	return looseStep{g.texts[s.from], to, s.action}
}
