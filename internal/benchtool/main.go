// Benchtool runs the benchmarks of brokermap and writes their results, as ratios
// beside their targets, to benchmarks.md, and as a plot to benchmarks.svg:
//
//	go -C internal/benchtool run . -out ../../docs
//
// The benchmarks run in interleaved processes: each round runs all of them once,
// with the implementations that are compared right after each other, so that what
// else the machine does strikes all alike. A ratio is taken within each round, and
// the table shows the median of the rounds' ratios and their quartiles.
//
// It is a module of its own, so that users of brokermap inherit none of what it
// needs.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchtool:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		out    = flag.String("out", "", "directory for benchmarks.md and benchmarks.svg; none: the table goes to standard output")
		module = flag.String("module", "../..", "directory of the module whose benchmarks run")
		rounds = flag.Int("rounds", 0, "how often each benchmark runs; 0: 5, with -quick 3")
		quick  = flag.Bool("quick", false, "only the rows that matter most, up to 100 000 workers; about 2 minutes")
		in     = flag.String("in", "", "read what -raw has written instead of running anything")
		raw    = flag.String("raw", "", "file that is to keep the output of the benchmarks, for -in or benchstat")
	)
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *rounds == 0 {
		*rounds = 5
		if *quick {
			*rounds = 3
		}
	}

	var text []byte
	if *in != "" {
		var err error
		if text, err = os.ReadFile(*in); err != nil {
			return err
		}
	} else {
		var buf bytes.Buffer
		fmt.Fprintf(&buf, "go: %s\ncores: %d\n", runtime.Version(), runtime.NumCPU())
		if load, err := os.ReadFile("/proc/loadavg"); err == nil {
			fmt.Fprintf(&buf, "load: %s\n", strings.Fields(string(load))[0])
		}
		if err := measure(&buf, *module, *rounds, *quick); err != nil {
			return err
		}
		text = buf.Bytes()
		if *raw != "" {
			if err := os.WriteFile(*raw, text, 0o644); err != nil {
				return err
			}
		}
	}
	res, err := parse(bytes.NewReader(text))
	if err != nil {
		return err
	}
	if *out == "" {
		_, err := os.Stdout.Write(markdown(res))
		return err
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "benchmarks.md"), markdown(res), 0o644); err != nil {
		return err
	}
	return writePlots(filepath.Join(*out, "benchmarks.svg"), res)
}
