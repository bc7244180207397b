package tla_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what TLC has found into the manifests, to be read before it is committed")

// entry is a line of a manifest: a configuration and what comes of it.
type entry struct {
	Config    string `json:"config"`
	Module    string `json:"module"`
	Covers    string `json:"covers"`
	Result    string `json:"result"`
	Generated int    `json:"generated"`
	Distinct  int    `json:"distinct"`
	Depth     int    `json:"depth"`
	Seconds   int    `json:"seconds"` // about: they depend on the machine
}

// mutant is a seeded defect of the specification and the rule that catches it.
type mutant struct {
	Mut      string `json:"mut"`
	Config   string `json:"config"`
	Property string `json:"property"`
	Defect   string `json:"defect"`
}

func readJSON[T any](t *testing.T, path string) []T {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v []T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConfigurations runs the configurations of the manifest and demands what it
// says: the result and the very number of states.
func TestConfigurations(t *testing.T) { check(t, "manifest.json") }

func check(t *testing.T, manifest string) {
	jar := requireTLC(t)
	entries := readJSON[entry](t, manifest)
	t.Cleanup(func() {
		if *update {
			writeManifest(t, manifest, entries)
		}
	})
	for i := range entries {
		e := &entries[i]
		t.Run(strings.TrimSuffix(filepath.Base(e.Config), ".cfg"), func(t *testing.T) {
			t.Parallel()
			o := tlc(t, jar, run{module: e.Module, config: readText(t, e.Config)})
			t.Logf("%s: %d states generated, %d distinct, depth %d, %d s", o.Result, o.Generated, o.Distinct, o.Depth, o.Seconds)
			got := *e
			got.Result, got.Generated, got.Distinct, got.Depth = o.Result, o.Generated, o.Distinct, o.Depth
			if got != *e {
				if *update {
					got.Seconds = max(1, o.Seconds)
					*e = got
					return
				}
				t.Errorf("got  %+v\nwant %+v\n%s", got, *e, tail(o.text))
			}
		})
	}
}

func writeManifest(t *testing.T, path string, entries []entry) {
	var b strings.Builder
	for i, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			t.Error(err)
			return
		}
		b.WriteString(map[bool]string{true: "[\n", false: ",\n"}[i == 0])
		b.WriteString("  " + strings.ReplaceAll(string(line), `,"`, `, "`))
	}
	b.WriteString("\n]\n")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Error(err)
	}
}

// TestMutants seeds each defect into the specification and demands that the rule
// that is there to catch it does, alone.
func TestMutants(t *testing.T) {
	jar := requireTLC(t)
	for _, m := range readJSON[mutant](t, "mutants.json") {
		t.Run(m.Mut+"/"+m.Property, func(t *testing.T) {
			t.Parallel()
			config, err := m.config(readText(t, m.Config))
			if err != nil {
				t.Fatal(err)
			}
			o := tlc(t, jar, run{module: "Mapper.tla", config: config})
			t.Logf("%s after %d states: %s", o.Result, o.Generated, m.Defect)
			if o.Result != m.Property {
				t.Errorf("the mutant lives: %s", tail(o.text))
			}
		})
	}
}

var reSection = regexp.MustCompile(`(?ms)^(INVARIANTS|PROPERTIES)\n( [^\n]*\n)+`)

// config returns the configuration with the mutant in it and, of all rules, the
// one that must catch it.
func (m mutant) config(base string) (string, error) {
	for _, section := range []string{"INVARIANTS", "PROPERTIES"} {
		if slices.Contains(listed(base, section), m.Property) {
			base = strings.Replace(base, "Mut = {}", fmt.Sprintf("Mut = {%q}", m.Mut), 1)
			return reSection.ReplaceAllString(base, "") + section + "\n  " + m.Property + "\n", nil
		}
	}
	return "", fmt.Errorf("%s does not check %s", m.Config, m.Property)
}

// TestManifest checks that nothing has been left out: no configuration, no rule,
// no mutant.
func TestManifest(t *testing.T) {
	entries := readJSON[entry](t, "manifest.json")
	mutants := readJSON[mutant](t, "mutants.json")
	spec := readText(t, "Mapper.tla")

	files, err := filepath.Glob("configs/*.cfg")
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for _, e := range entries {
		i := slices.Index(files, filepath.FromSlash(e.Config))
		if i < 0 {
			t.Errorf("%s is in a manifest twice, or does not exist", e.Config)
			continue
		}
		files = slices.Delete(files, i, i+1)
		config := readText(t, e.Config)
		properties := listed(config, "PROPERTIES")
		for _, rule := range append(listed(config, "INVARIANTS"), properties...) {
			checked[rule] = checked[rule] || e.Result == "ok"
		}
		if e.Result != "ok" && slices.Contains(properties, e.Result) && len(properties) > 1 {
			t.Errorf("%s: TLC does not say which of several temporal properties is violated", e.Config)
		}
		if strings.Contains(config, "SYMMETRY") && strings.Contains(config, "FairSpec") {
			t.Errorf("%s: liveness cannot be checked with symmetry", e.Config)
		}
		if e.Covers == "" {
			t.Errorf("%s: what does it cover?", e.Config)
		}
	}
	if len(files) > 0 {
		t.Errorf("%v are in no manifest", files)
	}

	caught := map[string]bool{}
	for _, m := range mutants {
		caught[m.Property] = true
		if _, err := m.config(readText(t, m.Config)); err != nil {
			t.Error(err)
		}
		if m.Defect == "" {
			t.Errorf("%s: what is the defect?", m.Mut)
		}
	}
	seeded := map[string]bool{}
	for _, m := range regexp.MustCompile(`"(\w+)" \\(?:not)?in Mut`).FindAllStringSubmatch(spec, -1) {
		seeded[m[1]] = true
	}
	for mut := range seeded {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.Mut == mut }) {
			t.Errorf("mutant %s is in Mapper.tla and not in mutants.json", mut)
		}
	}
	for _, m := range mutants {
		if !seeded[m.Mut] {
			t.Errorf("mutant %s is in mutants.json and not in Mapper.tla", m.Mut)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^([SL]\d+_\w+)\s*==`).FindAllStringSubmatch(spec, -1) {
		if !checked[m[1]] {
			t.Errorf("%s is in no configuration that is to be ok", m[1])
		}
		if !caught[m[1]] {
			t.Errorf("%s catches no mutant", m[1])
		}
	}
	// S7 and the Bs are a matter of code and of time.
	for _, rule := range strings.Fields("S1 S2 S3 S4 S5 S6 S8 S9 S10 L1 L2 L3 L4 L5 L6") {
		if !regexp.MustCompile(`(?m)^` + rule + `_`).MatchString(spec) {
			t.Errorf("no rule of Mapper.tla is named after %s", rule)
		}
	}
}

// TestDesign checks the table of rules in DESIGN.md: it has each rule, and what it
// says checks a rule is there; of the properties none is left out.
func TestDesign(t *testing.T) {
	design := readText(t, "../DESIGN.md")
	spec := readText(t, "Mapper.tla") + readText(t, "Classic.tla")
	var tests strings.Builder
	files, err := filepath.Glob("../mapper/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		tests.WriteString(readText(t, f))
	}
	rules := strings.Fields("S1 S2 S3 S4 S5 S6 S7 S8 S9 S10 L1 L2 L3 L4 L5 L6 B1 B2 B3 B4")
	for _, rule := range rules {
		row := regexp.MustCompile(`(?m)^\| ` + rule + `\b.*$`).FindString(design)
		if row == "" {
			t.Errorf("DESIGN.md has no row for %s", rule)
			continue
		}
		for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row, -1) {
			name := m[1]
			var there bool
			if strings.HasPrefix(name, "Test") {
				there = strings.Contains(name, rule+"_") && strings.Contains(tests.String(), "func "+name)
			} else {
				there = strings.HasPrefix(name, rule+"_") && regexp.MustCompile(`(?m)^`+name+`\s*==`).MatchString(spec)
			}
			if !there {
				t.Errorf("DESIGN.md says of %s that %s checks it, which is not there", rule, name)
			}
		}
		if !strings.Contains(row, "`Test"+rule+"_`") {
			t.Errorf("DESIGN.md names no test of %s", rule)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^([SL]\d+_\w+)\s*==`).FindAllStringSubmatch(readText(t, "Mapper.tla"), -1) {
		if !strings.Contains(design, "`"+m[1]+"`") {
			t.Errorf("DESIGN.md says nothing of %s", m[1])
		}
	}
}
