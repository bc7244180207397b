// Package mutants checks tests by seeding defects: it builds a package with one
// small change at a time and expects its tests to fail.
//
// A package keeps its table in a test file of its own:
//
//	//go:build explore
//
//	func TestMutants(t *testing.T) {
//		mutants.Run(t, mutants.Suite{Tags: "explore"}, []mutants.Mutant{{
//			Name: "decrements, then looks",
//			File: "count.go",
//			Old:  "return c.n.Dec() == 0",
//			New:  "c.n.Dec(); return c.n.Load() == 0",
//		}})
//	}
//
// Every run of the test makes sure that the table still fits the source: Old
// must be there exactly once. The mutants themselves are built and run where
// BROKERMAP_MUTANTS=1 is set, each by a go test of its own with the changed file
// laid over the original, which is never touched. The log says which test
// caught which mutant, and how.
package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// maxMemory is the address space that a test of a mutant may take, in bytes.
const maxMemory = "4294967296"

// variable is the name of the environment variable that has mutants run.
const variable = "BROKERMAP_MUTANTS"

// Mutant is a defect: in File, relative to the package's directory, the text Old
// becomes New.
type Mutant struct {
	Name string
	File string
	Old  string
	New  string
	// Run overrides the Suite's, for a mutant that other tests should catch.
	Run string
}

// Suite says which tests are to catch mutants.
type Suite struct {
	Tags    string        // build tags
	Run     string        // pattern of tests, as for go test; "" for all
	Short   bool          // -short
	Timeout time.Duration // for one mutant; 0 for two minutes
	Env     []string      // more variables, as "NAME=value"
	// Bounded: no mutant can make the tests run for ever, so one that runs out of
	// time was not caught, only slow.
	Bounded bool
}

// Run checks a table against the package whose test calls it. See the package
// documentation.
func Run(t *testing.T, s Suite, table []Mutant) {
	t.Helper()
	dir, err := os.Getwd() // go test runs a test in its package's directory
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range table {
		if _, err := m.source(dir); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() || os.Getenv(variable) == "" {
		return
	}
	for _, m := range table {
		t.Run(m.Name, func(t *testing.T) {
			switch v, err := s.Test(t.Context(), dir, m); {
			case err != nil:
				t.Error(err)
			case !v.Caught:
				t.Errorf("survived:\n%s", v.Output)
			default:
				t.Logf("%s: caught in %v by %s", m.Name, v.Took, v.By)
			}
		})
	}
}

// source returns File with the defect in it.
func (m Mutant) source(dir string) (string, error) {
	source, err := os.ReadFile(filepath.Join(dir, m.File))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		return "", fmt.Errorf("mutant %q: the text to change is in %s %d times", m.Name, m.File, n)
	}
	return strings.Replace(string(source), m.Old, m.New, 1), nil
}

// Verdict is what a suite has made of a mutant.
type Verdict struct {
	Caught bool
	By     string // the test that failed, and what it said
	Took   time.Duration
	Output string
}

// Test runs the suite, of the package in directory dir, on m. The error says why
// there is no verdict: the mutant does not fit, or does not compile.
func (s Suite) Test(ctx context.Context, dir string, m Mutant) (Verdict, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Verdict{}, err
	}
	source, err := m.source(dir)
	if err != nil {
		return Verdict{}, err
	}
	temp, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return Verdict{}, err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // a directory too many is no verdict
	began := time.Now()
	output, err := s.run(ctx, dir, temp, m, source)
	v := Verdict{Caught: err != nil, Took: time.Since(began).Round(100 * time.Millisecond), Output: output}
	if v.Caught {
		if v.By = caughtBy(output); v.By == "" {
			return v, fmt.Errorf("mutant %q: no test ran: %w\n%s", m.Name, err, output)
		}
		if s.Bounded && strings.Contains(v.By, "test timed out") {
			return v, fmt.Errorf("mutant %q: no verdict in %v: %s", m.Name, v.Took, v.By)
		}
	}
	return v, nil
}

func (s Suite) run(ctx context.Context, dir, temp string, m Mutant, source string) (output string, err error) {
	file := filepath.Join(temp, "mutant.go")
	overlay, err := json.Marshal(map[string]any{
		"Replace": map[string]string{filepath.Join(dir, m.File): file},
	})
	if err != nil {
		return "", err
	}
	layout := filepath.Join(temp, "overlay.json")
	if err := errors.Join(os.WriteFile(file, []byte(source), 0o600), os.WriteFile(layout, overlay, 0o600)); err != nil {
		return "", err
	}
	run := s.Run
	if m.Run != "" {
		run = m.Run
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+5*time.Minute) // the build's
	defer cancel()
	args := []string{"test", "-count=1", "-failfast", "-vet=off", "-v",
		"-overlay=" + layout, "-tags=" + s.Tags, "-run=" + run, "-timeout=" + timeout.String()}
	if s.Short {
		args = append(args, "-short")
	}
	if limit, err := exec.LookPath("prlimit"); err == nil {
		args = append(args, "-exec="+limit+" --as="+maxMemory) // some defects go round in circles, and take more each time
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, variable+"=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, s.Env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var (
	failed  = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	message = regexp.MustCompile(`(?m)^ +\w+\.go:\d+: (.*)$`)
	crash   = regexp.MustCompile(`(?m)^(panic|fatal error): (.*)$`)
	verdict = regexp.MustCompile(`(?m)^(=== RUN| *--- )`)
	running = regexp.MustCompile(`(?m)^=== RUN +(\S+)$`)
)

// caughtBy returns the test that failed and the first line of what it said, or
// "" where no test did.
func caughtBy(output string) string {
	tests := failed.FindAllStringSubmatch(output, -1)
	if m := crash.FindString(output); m != "" {
		if all := running.FindAllStringSubmatch(output, -1); len(all) > 0 {
			return all[len(all)-1][1] + ": " + m
		}
	}
	if len(tests) == 0 {
		return ""
	}
	by := tests[len(tests)-1][1] // the innermost: a parent's verdict comes first
	// What the test said follows its own === RUN, the reason at the end.
	_, said, _ := strings.Cut(output, "=== RUN   "+by+"\n")
	if end := verdict.FindStringIndex(said); end != nil {
		said = said[:end[0]]
	}
	if all := message.FindAllStringSubmatch(said, -1); len(all) > 0 {
		by += ": " + all[len(all)-1][1]
	}
	return by
}
