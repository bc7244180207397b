package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// layer is one way to look for defects.
type layer struct {
	name, what string
	// dir is the package whose tests are the layer; "own": that of the defect.
	dir   string
	suite mutants.Suite
	// covers are the packages of whose code the layer runs any.
	covers []string
	// spec: it looks at the specification.
	spec bool
	// traces: the suite, in package of, writes traces, whatever it says itself; the
	// tests of dir look at them.
	traces mutants.Suite
	of     string
}

const own = "own"

var (
	lockFree = []string{"internal/ringbuf", "internal/refcount", "internal/shardmap"}
	shell    = []string{"mapper"}
	machine  = []string{"internal/assign"}
	all      = slices.Concat(machine, shell, lockFree)
)

// patience bounds the tests of one cell, and is long: a defect that hangs a test is
// caught, a busy machine is none.
const patience = 8 * time.Minute

// layers are the columns. Another one is another line here.
var layers = []layer{
	{
		name: "TLC", what: "the same defect in the specification, `go test ./tla`",
		dir: "tla", spec: true, suite: mutants.Suite{Env: []string{"BROKERMAP_TLC=1"}},
	},
	{
		name: "model", what: "every reachable state of small worlds, `TestReachable` in `model/`",
		dir: "model", covers: machine, suite: mutants.Suite{Run: "^TestReachable$"},
	},
	{
		name: "rapid", what: "random walks of the machine and of the real mapper beside plain references, `TestRandom...` in `model/`",
		dir: "model", covers: all, suite: mutants.Suite{Run: "^TestRandom", Env: []string{"BROKERMAP_SHRINKTIME=1s"}},
	},
	{
		name: "fuzz", what: "the corpora replayed, `go test ./fuzz`",
		dir: "fuzz", covers: all, suite: mutants.Suite{Run: "^Fuzz"},
	},
	{
		name: "contract", what: "the tests named after rules in `mapper/`",
		dir: "mapper", covers: all, suite: mutants.Suite{Run: `^Test([SLB]\d+_|BadInput)`, Short: true},
	},
	{
		name: "unit", what: "a package's own tests, in plain builds; of the machine, its scenarios",
		dir: own, covers: slices.Concat(machine, lockFree), suite: mutants.Suite{Run: "^Test"},
	},
	{
		name: "explorer", what: "every interleaving of small programs, `-tags explore`, of the lock-free parts and of the shell",
		dir: own, covers: slices.Concat(shell, lockFree), suite: mutants.Suite{Tags: "explore", Run: "^TestExplore"},
	},
	{
		name: "traces", what: "what mappers with the defect have written in 150 random runs, held against the specification, `TestTraces` in `tla/`; of the shell alone",
		dir: "tla", covers: shell, suite: mutants.Suite{Run: "^TestTraces$", Env: []string{"BROKERMAP_TLC=1"}},
		of: "model", traces: mutants.Suite{Tags: "trace", Run: "^TestRandomMapper$", Env: []string{"BROKERMAP_CHECKS=150", "BROKERMAP_SHRINKTIME=1ms"}},
	},
}

const timedOut = "test timed out after"

// sees reports that the layer can see the defect.
func (l layer) sees(d defect) bool {
	if l.spec {
		return d.Spec != ""
	}
	return d.File != "" && slices.Contains(l.covers, path.Dir(d.File))
}

// look has the layer look for d.
func (l layer) look(ctx context.Context, d defect) (cell, error) {
	switch {
	case l.spec:
		return l.check(ctx, d)
	case l.of != "":
		return l.validate(ctx, d)
	}
	dir := l.dir
	if dir == own {
		dir = path.Dir(d.File)
	}
	file, err := filepath.Rel(dir, d.File)
	if err != nil {
		return cell{}, err
	}
	s := l.suite
	s.Timeout = patience
	v, err := s.Test(ctx, dir, mutants.Mutant{Name: d.Name, File: file, Old: d.Old, New: d.New})
	if ctx.Err() != nil {
		return cell{}, ctx.Err() // no verdict
	}
	if err != nil && strings.Contains(v.Output, "Test killed with quit: ran too long") {
		v.By, err = timedOut, nil // it went round where not even a timeout gets in
	}
	return cell{Caught: v.Caught, By: v.By, Took: max(v.Took, 1)}, err
}

// validate has mappers with d write traces, and the layer's tests look at them.
func (l layer) validate(ctx context.Context, d defect) (cell, error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "traces")
	if err != nil {
		return cell{}, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory too many is no verdict
	file, err := filepath.Rel(l.of, d.File)
	if err != nil {
		return cell{}, err
	}
	s := l.traces
	s.Timeout = patience
	s.Env = append(slices.Clone(s.Env), "BROKERMAP_TRACE="+dir)
	if _, err := s.Test(ctx, l.of, mutants.Mutant{Name: d.Name, File: file, Old: d.Old, New: d.New}); err != nil {
		return cell{}, err
	}
	switch n, err := whole(dir); {
	case err != nil:
		return cell{}, err
	case n == 0: // it has crashed at once
		return cell{Took: time.Since(began)}, nil
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=20m", "-run="+l.suite.Run, ".")
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), append(l.suite.Env, "BROKERMAP_TRACE="+dir)...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return cell{}, ctx.Err()
	}
	by := rejected.FindStringSubmatch(string(out))
	switch {
	case err == nil:
		by = []string{"", ""}
	case by == nil:
		return cell{}, fmt.Errorf("no verdict on the traces: %w\n%s", err, out)
	}
	return cell{Caught: err != nil, By: by[1], Took: time.Since(began)}, nil
}

// whole cuts the traces in dir where a mapper that crashed has stopped writing,
// and returns how many there are.
func whole(dir string) (n int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.trace"))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return 0, err
		}
		text = text[:bytes.LastIndexByte(text, '\n')+1]
		if bytes.Count(text, []byte{'\n'}) < 2 {
			err = os.Remove(f)
		} else {
			n++
			err = os.WriteFile(f, text, 0o600)
		}
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// rejected is what TestTraces says of a trace that TLC did not go along with.
var rejected = regexp.MustCompile(`(?m)^ *trace_test\.go:\d+: \S+: (\w+ after \d+ of \d+ events)`)

var verdict = regexp.MustCompile(`(?m)^ *\w+\.go:\d+: (\w+) after \d+ states`)

// check has TLC look for the specification's own version. Its test passes where the
// rule catches it that is there to.
func (l layer) check(ctx context.Context, d defect) (cell, error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=20m", "-run=^TestMutants$/^"+d.Spec+"$", ".")
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), l.suite.Env...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return cell{}, ctx.Err()
	}
	by := verdict.FindStringSubmatch(string(out))
	if by == nil {
		return cell{}, fmt.Errorf("no mutant %s of the specification ran: %w\n%s", d.Spec, err, out)
	}
	return cell{Caught: err == nil, By: by[1], Took: time.Since(began)}, nil
}

// key tells apart the cells of what a layer does and of what a defect is.
func key(d defect, l layer) string {
	text := fmt.Sprintf("%q %q %q", []string{d.File, d.Old, d.New, d.Spec}, []string{l.name, l.dir, l.suite.Run, l.suite.Tags}, l.suite.Env)
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
