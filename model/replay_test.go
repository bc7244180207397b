package model

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// TestScenarioOfDefect: what the search prints of a broken rule, the tests of
// internal/assign replay. There the machine with the defect has the very effects
// that the scenario says, and breaks a rule by them; the one that ships has others,
// and breaks none.
func TestScenarioOfDefect(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("it builds the tests of two packages")
	}
	const shown = 1 // in every run; the others where defects are seeded anyway
	const worker = "../internal/assign/worker.go"
	for i, defect := range []mutants.Mutant{
		{Name: "S1", File: worker, Old: "for held := m.held(r); held > unread+1; held-- {", New: "for held := m.held(r); held > 1; held-- {"},
		{Name: "S9", File: worker, Old: "\tif r.flying {\n\t\tr.stale = true\n\t\treturn\n\t}", New: "\tr.flying = false"},
	} {
		if i >= shown && os.Getenv("BROKERMAP_MUTANTS") == "" {
			continue
		}
		t.Run(defect.Name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "scenario.txt")
			look := func(dir string, m mutants.Mutant, run, rules string) mutants.Verdict {
				t.Helper()
				s := mutants.Suite{Run: run, Env: []string{"BROKERMAP_SCENARIO=" + file, "BROKERMAP_MODEL=" + rules}}
				v, err := s.Test(t.Context(), dir, m)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			if v := look(".", defect, "^TestReachable$", "rules"); !v.Caught {
				t.Fatalf("the search did not find it: %s", v.Output)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("the shortest way:\n%s", text)

			const there = "../internal/assign"
			defect.File = filepath.Base(defect.File)
			v := look(there, defect, "^TestScenarios$", "")
			if !v.Caught || !strings.Contains(v.Output, "!"+defect.Name+":") {
				t.Errorf("replayed with the defect, it does not break %s: %s", defect.Name, v.Output)
			}
			sound := defect
			sound.New = defect.Old
			v = look(there, sound, "^TestScenarios$", "")
			if !v.Caught || regexp.MustCompile(`(?m)^ *![A-Z]`).MatchString(v.Output) {
				t.Errorf("replayed without the defect, it should differ, and break no rule: %s", v.Output)
			}
		})
	}
}
