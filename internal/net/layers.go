package main

import (
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
}

// sees reports that the layer can see the defect.
func (l layer) sees(d defect) bool {
	if l.spec {
		return d.Spec != ""
	}
	return d.File != "" && slices.Contains(l.covers, path.Dir(d.File))
}

// look has the layer look for d.
func (l layer) look(ctx context.Context, d defect) (cell, error) {
	if l.spec {
		return l.check(ctx, d)
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
	return cell{Caught: v.Caught, By: v.By, Took: max(v.Took, 1)}, err
}

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
