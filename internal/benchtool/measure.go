package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A suite is one command of a round.
type suite struct {
	pkg       string // relative to the module
	bench     string // regular expression for -test.bench
	benchtime string
	quick     string // the same for -quick; "": left out
}

// The sizes beyond 100 000 are switched on by the environment, or are in the
// expressions of the packages that know no switch.
var suites = []suite{
	{".", "^BenchmarkTrigger$", "200ms", "^BenchmarkTrigger$/^state=(storm|stuck)$/^workers=100000$/^procs=1x$/^producers=(1|8|64)$"},
	{".", "^BenchmarkTriggerLatency$", "100000x", "^BenchmarkTriggerLatency$"},
	{".", "^BenchmarkAcquire$", "100ms", "^BenchmarkAcquire$"},
	{".", "^BenchmarkSpawn$", "300ms", "^BenchmarkSpawn$"},
	{".", "^BenchmarkFailover$", "1x", "^BenchmarkFailover$"},
	{".", "^BenchmarkScale$", "1x", "^BenchmarkScale$"},
	{"internal/ringbuf", ".", "100ms", "^Benchmark(PushPop|Wake|Throughput|Oversubscribed)$"},
	{"internal/shardmap", "^Benchmark(Load|Churn)$/^impl=(ours|xsync|mutex64)$", "100ms",
		"^Benchmark(Load|Churn)$/^impl=(ours|xsync|mutex64)$/^entries=(1000|100000)$"},
	{"internal/refcount", ".", "100ms", "."},
}

// measure runs the suites and writes their output to w, each round after a line
// "round: n".
func measure(w *bytes.Buffer, module string, rounds int, quick bool) error {
	dir, err := os.MkdirTemp("", "benchtool")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary directory
	binaries := make(map[string]string)
	for _, s := range suites {
		if binaries[s.pkg] != "" {
			continue
		}
		path := filepath.Join(dir, strings.ReplaceAll(s.pkg, "/", "-")+".test")
		build := exec.Command("go", "test", "-c", "-o", path, "./"+s.pkg)
		build.Dir = module
		if msg, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", build, err, msg)
		}
		binaries[s.pkg] = path
	}
	env := os.Environ()
	if !quick {
		env = append(env, "BROKERMAP_BENCH=large")
	}
	for round := range rounds {
		fmt.Fprintf(w, "round: %d\n", round+1)
		began := time.Now()
		for _, s := range suites {
			bench := s.bench
			if quick {
				bench = s.quick
			}
			if bench == "" {
				continue
			}
			run := exec.Command(binaries[s.pkg], "-test.run", "^$", "-test.bench", bench, "-test.benchtime", s.benchtime, "-test.timeout", "30m")
			run.Dir = filepath.Join(module, s.pkg)
			run.Env = env
			var msg bytes.Buffer
			run.Stdout, run.Stderr = w, &msg
			if err := run.Run(); err != nil {
				return fmt.Errorf("%s: %w\n%s", run, err, msg.Bytes())
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d: %.0f s\n", round+1, rounds, time.Since(began).Seconds())
	}
	return nil
}
