package model

import (
	"errors"
	"flag"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/brokermap/brokermap/internal/assign"
)

var update = flag.Bool("update", false, "rewrite the scenarios that this package prints")

// all is everything that can happen, as often as it likes.
var all = Budget{
	Lives: Always, Stops: Always, Triggers: Always, Refusals: Always,
	Nils: Always, Unfits: Always, Reports: Always, Leases: Always,
}

// small are configurations that together reach every part of the machine. The
// Timeless ones know no bound on how often things happen: their states are all
// there are. How long waits are, and what resets them, is for the others.
var small = []Config{
	{
		Name: "errors", Workers: 2, Conns: 1, Room: 1, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Refusals: Always, Nils: Always, Unfits: Always},
	},
	{
		Name: "room for two", Workers: 1, Conns: 2, Room: 2, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Triggers: Always, Reports: Always},
	},
	{
		Name: "waits", Workers: 1, Conns: 2, Room: 1, Calls: 1, Backoff: []int{1, 2}, Late: true,
		Budget: Budget{Lives: 1, Stops: 1, Triggers: 3, Refusals: 2},
	},
	{
		Name: "batched waits", Workers: 2, Conns: 1, Room: 1, Batch: true, Calls: 1, Backoff: []int{1, 2},
		Budget: Budget{Lives: 2, Triggers: 1, Refusals: 2},
	},
	{
		Name: "one worker", Workers: 1, Conns: 2, Room: 1, Calls: 1, Timeless: true,
		Budget: all,
	},
	{
		Name: "lives", Workers: 2, Conns: 1, Room: 1, Calls: 2, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Triggers: Always},
	},
	{
		Name: "batches", Workers: 2, Conns: 1, Room: 1, Calls: 1, Batch: true, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Reports: Always, Refusals: Always},
	},
	{
		Name: "leases", Workers: 2, Conns: 1, Room: 1, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Leases: Always, Reports: Always},
	},
	{
		Name: "moves", Workers: 2, Conns: 2, Room: 1, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Triggers: Always},
	},
}

// quick is how many of small are left where everything takes much longer.
const quick = 4

// large take minutes. BROKERMAP_MODEL=large runs them.
var large = []Config{
	{
		Name: "one worker, room for two, all", Workers: 1, Conns: 2, Room: 2, Calls: 1, Timeless: true,
		Budget: all,
	},
	{
		Name: "one worker, three connections", Workers: 1, Conns: 3, Room: 1, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Triggers: Always, Refusals: Always},
	},
	{
		Name: "one connection, all", Workers: 2, Conns: 1, Room: 1, Calls: 1, Timeless: true,
		Budget: all,
	},
	{
		Name: "one connection, all, two batches", Workers: 2, Conns: 1, Room: 1, Calls: 2, Batch: true, Timeless: true,
		Budget: all,
	},
	{
		Name: "three workers", Workers: 3, Conns: 1, Room: 1, Calls: 1, Batch: true, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always},
	},
	{
		Name: "two connections", Workers: 2, Conns: 2, Room: 1, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Triggers: Always},
	},
	{
		Name: "two connections, reports", Workers: 2, Conns: 2, Room: 1, Calls: 1, Batch: true, Timeless: true,
		Budget: Budget{Lives: Always, Reports: Always, Refusals: Always},
	},
	{
		Name: "waits of two", Workers: 2, Conns: 2, Room: 1, Calls: 1, Batch: true, Backoff: []int{1, 2}, Late: true,
		Budget: Budget{Lives: 2, Triggers: 2, Refusals: 1, Reports: 1},
	},
	{
		Name: "long waits", Workers: 1, Conns: 2, Room: 2, Calls: 1, Backoff: []int{1, 3, 2}, Late: true,
		Budget: Budget{Lives: 2, Stops: 1, Triggers: 3, Refusals: 2, Reports: 1, Nils: 1},
	},
}

// huge are worlds that TLC would need days for. BROKERMAP_MODEL=huge runs them, in
// 4 GiB and some minutes of two cores.
var huge = []Config{
	{
		Name: "waits of two, and lives", Workers: 2, Conns: 2, Room: 1, Calls: 1, Batch: true, Backoff: []int{1, 2},
		Budget: Budget{Lives: 3, Stops: 1, Triggers: 3, Refusals: 2},
	},
	{
		Name: "more waits of two", Workers: 2, Conns: 2, Room: 1, Calls: 1, Batch: true, Backoff: []int{1, 2},
		Budget: Budget{Lives: 3, Stops: 1, Triggers: 4, Refusals: 2},
	},
	{
		Name: "two connections, reports and triggers", Workers: 2, Conns: 2, Room: 1, Calls: 1, Timeless: true,
		Budget: Budget{Lives: Always, Stops: Always, Triggers: Always, Reports: Always},
	},
}

// TestReachableHuge holds its memory to 4 GiB, what is not of the search included.
func TestReachableHuge(t *testing.T) {
	if os.Getenv("BROKERMAP_MODEL") != "huge" {
		t.Skip("BROKERMAP_MODEL=huge runs it")
	}
	const most = 4 << 30
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(most))
	for _, cfg := range huge {
		t.Run(cfg.Name, func(t *testing.T) {
			mustHold(t, cfg, Options{MaxStates: 100e6, MaxBytes: most * 7 / 8})
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			t.Logf("%d MB of memory were in use at a time", m.Sys>>20)
		})
		debug.FreeOSMemory()
	}
}

func TestReachableLarge(t *testing.T) {
	if os.Getenv("BROKERMAP_MODEL") != "large" {
		t.Skip("BROKERMAP_MODEL=large runs it")
	}
	for _, cfg := range large {
		t.Run(cfg.Name, func(t *testing.T) { mustHold(t, cfg, Options{MaxStates: 30e6}) })
	}
}

// TestReachable goes through every state of the small configurations.
func TestReachable(t *testing.T) {
	var seen Seen
	configs := small
	if raceEnabled || testing.Short() {
		configs = small[:quick]
	}
	for _, cfg := range configs {
		t.Run(cfg.Name, func(t *testing.T) { seen.add(mustHold(t, cfg, Options{MaxStates: maxSmall})) })
	}
	if t.Failed() || len(configs) < len(small) {
		return
	}
	// A rule that is never put to the test holds for nothing.
	for k := WorkerSpawned; k < endOfActions; k++ {
		if seen.actions>>k&1 == 0 && k != SomebodyElse {
			t.Errorf("%v never happened", k)
		}
	}
	for k := assign.Spawned; k <= assign.Tick; k++ {
		if seen.events>>k&1 == 0 && k != assign.SendFailed {
			t.Errorf("no event was of the kind %q", eventLine(assign.Event{Kind: k}))
		}
	}
	for k := assign.Ask; k <= assign.ForgetConn; k++ {
		if seen.effects>>k&1 == 0 {
			t.Errorf("no effect was of the kind %q", effectLine(assign.Effect{Kind: k}))
		}
	}
}

const maxSmall = 1e6

func mustHold(t *testing.T, cfg Config, opts Options) Seen {
	t.Helper()
	cfg.RulesOnly = os.Getenv("BROKERMAP_MODEL") == "rules"
	r, err := Search(cfg, opts)
	t.Logf("%v: %v", cfg, r)
	var broken *BrokenError
	switch {
	case errors.As(err, &broken):
		if file := os.Getenv("BROKERMAP_SCENARIO"); file != "" {
			if err := os.WriteFile(file, []byte(broken.Scenario), 0o600); err != nil {
				t.Error(err)
			}
		}
		t.Fatalf("%v, after %d actions. As a scenario for internal/assign/testdata:\n%s", broken.Violation, len(broken.Actions), broken.Scenario)
	case err != nil:
		t.Fatal(err)
	}
	return r.Seen
}

// TestScenario prints two walks as scenarios, which internal/assign replays: what
// this package prints can be tried there.
func TestScenario(t *testing.T) {
	for name, cfg := range map[string]Config{
		"model_timeless": {Workers: 2, Conns: 2, Room: 2, Calls: 2, Timeless: true, Budget: all},
		"model_waits":    {Workers: 2, Conns: 2, Room: 1, Calls: 1, Batch: true, Backoff: []int{1, 2}, Late: true, Budget: all},
	} {
		x, err := NewWorld(cfg)
		if err != nil {
			t.Fatal(err)
		}
		random := rand.New(rand.NewSource(1)) // the scenario stays the same
		var actions []Action
		for range 150 {
			choices := x.Actions(nil)
			a := choices[random.Intn(len(choices))]
			actions = append(actions, a)
			if err := x.Do(a); err != nil {
				t.Fatal(err)
			}
		}
		got, err := Scenario(cfg, actions)
		if err != nil {
			t.Fatal(err)
		}
		got = "# A walk of package model, printed by its TestScenario -update.\n" + got
		file := filepath.Join("..", "internal", "assign", "testdata", name+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(file); err != nil || string(want) != got {
			t.Errorf("%s: %v; the model prints something else:\n%s", file, err, got)
		}
	}
}
