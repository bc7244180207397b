package model

import (
	"cmp"
	"flag"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func init() {
	// The command line has the last word.
	flags := map[string]string{
		"rapid.checks":     cmp.Or(os.Getenv("BROKERMAP_CHECKS"), "2000"),
		"rapid.shrinktime": cmp.Or(os.Getenv("BROKERMAP_SHRINKTIME"), "10s"),
		"rapid.nofailfile": "true", // the scenario that is printed says more, and seeded defects fail on purpose
	}
	if raceEnabled {
		flags["rapid.checks"] = "200"
	}
	for name, value := range flags {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
}

// TestRandom walks where the search does not get: more workers, more connections,
// no bound on what happens, time in small steps, backoffs with jitter, and
// somebody who sends on channels that are not his. The machine goes through all
// of it without being made anew, next to the plain bookkeeping in book.go. What
// fails shrinks to a few actions and is printed as a scenario.
func TestRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Name:    "random",
			Workers: rapid.IntRange(1, MaxWorkers).Draw(t, "workers"),
			Conns:   rapid.IntRange(1, 3).Draw(t, "conns"),
			Room:    rapid.IntRange(1, maxRoom).Draw(t, "room"),
			Batch:   rapid.Bool().Draw(t, "batch"),
			Calls:   rapid.IntRange(1, 3).Draw(t, "calls"),
			Backoff: rapid.SampledFrom([][]int{nil, {1}, {1, 2, 4}, {4, 1}}).Draw(t, "backoff"),
			Late:    true,
			Budget: Budget{
				Lives: Always, Stops: Always, Triggers: Always, Refusals: Always, Nils: Always, Unfits: Always,
				Reports: Always, Leases: Always,
			},
			MaxLeases: 2,

			Passes:    []time.Duration{time.Millisecond, 10 * time.Millisecond, 21 * time.Millisecond, Unit},
			Wait:      10 * time.Millisecond,
			RulesOnly: os.Getenv("BROKERMAP_MODEL") == "rules",

			SendsFail: rapid.Bool().Draw(t, "sends fail"),
		}
		if rapid.Bool().Draw(t, "jitter") {
			cfg.Jitter = func(attempt, ticks int) time.Duration {
				return time.Duration((attempt*7+ticks*5)%11) * time.Millisecond
			}
		}
		x, err := NewWorld(cfg)
		if err != nil {
			t.Fatal(err)
		}
		x.Record()
		if err := walk(t, x); err != nil {
			t.Fatalf("%v. As a scenario for internal/assign/testdata:\n%s", err, x.Recorded())
		}
	})
}

// walk takes random actions and then lets all that lives come to its end.
func walk(t *rapid.T, x *World) error {
	var actions []Action
	for range rapid.IntRange(0, 400).Draw(t, "length") {
		actions = x.Actions(actions[:0])
		if err := x.Do(rapid.SampledFrom(actions).Draw(t, "action")); err != nil {
			return err
		}
	}
	return x.Finish(rapid.Bool().Draw(t, "lazy"))
}
