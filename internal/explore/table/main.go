// Table makes docs/explorer.md of what the explorer's tests say with -v: how many
// interleavings of each program there were, and who caught which seeded defect.
//
//	export BROKERMAP_MUTANTS=1
//	{ go test -tags explore -v -timeout 3h -run 'Explore|TestMutants' ./internal/...
//	  go test -tags explore -v -timeout 3h -run Explore ./mapper; } | go run ./internal/explore/table >docs/explorer.md
//
// It fails where a test has failed, or where it finds no program or no defect.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	out := bufio.NewWriter(os.Stdout)
	err := write(out, os.Stdin)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// program is one that was explored.
type program struct {
	pkg, name          string
	runs, pruned, took string
}

// defect is one that was seeded.
type defect struct{ pkg, name, took, by string }

var (
	testLine    = regexp.MustCompile(`^=== (?:RUN|NAME) +(\S+)`)
	programLine = regexp.MustCompile(`^ +\S+\.go:\d+: (\d+) runs, (\d+) pruned, \d+ steps, depth \d+, (\S+)$`)
	defectLine  = regexp.MustCompile(`^ +mutants\.go:\d+: (.*): caught in (\S+) by (\S+): (.*)$`)
	packageLine = regexp.MustCompile(`^(ok|FAIL)\s+(\S+)\s`)
	failedLine  = regexp.MustCompile(`^ *--- FAIL: (\S+)`)
)

// read takes the output of go test -v apart.
func read(in io.Reader) (programs []program, defects []defect, err error) {
	var test string
	var failed []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<24)
	p, d := 0, 0 // of the package that is being read
	for lines.Scan() {
		line := lines.Text()
		if m := testLine.FindStringSubmatch(line); m != nil {
			test = m[1]
		} else if m := programLine.FindStringSubmatch(line); m != nil {
			programs = append(programs, program{name: test, runs: m[1], pruned: m[2], took: m[3]})
		} else if m := defectLine.FindStringSubmatch(line); m != nil {
			defects = append(defects, defect{name: m[1], took: m[2], by: m[3] + ": " + m[4]})
		} else if m := failedLine.FindStringSubmatch(line); m != nil {
			failed = append(failed, m[1])
		} else if m := packageLine.FindStringSubmatch(line); m != nil {
			name := m[2][strings.LastIndexByte(m[2], '/')+1:]
			for ; p < len(programs); p++ {
				programs[p].pkg = name
			}
			for ; d < len(defects); d++ {
				defects[d].pkg = name
			}
			if m[1] == "FAIL" {
				failed = append(failed, m[2])
			}
		}
	}
	switch err := lines.Err(); {
	case err != nil:
		return nil, nil, err
	case len(failed) > 0:
		return nil, nil, fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	case len(programs) == 0 || len(defects) == 0:
		return nil, nil, fmt.Errorf("%d programs and %d defects: the input is to be that of go test -v with BROKERMAP_MUTANTS=1 and -tags explore", len(programs), len(defects))
	case p < len(programs) || d < len(defects):
		return nil, nil, errors.New("the input ends before the result of a package")
	}
	return programs, defects, nil
}

func write(out io.Writer, in io.Reader) error {
	programs, defects, err := read(in)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(`# Every interleaving

Made by the command in [internal/explore/table](../internal/explore/table/main.go). The explorer runs the code that
ships, its atomics exchanged for scheduling points by the build tag ` + "`explore`" + `, in every order that makes a difference;
pruned are the orders given up because another one is the same. How far a program goes (all interleavings, or all with
so many preemptions) stands with its test.

## Programs

| package | program | interleavings | pruned | time |
|---|---|---:|---:|---:|
`)
	for _, p := range programs {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", p.pkg, p.name, p.runs, p.pruned, p.took)
	}
	fmt.Fprintf(&b, `
## Seeded defects

%d small changes to that code, one at a time, each of which some test must catch; the first that did, and what it said.

| package | defect | caught by | time |
|---|---|---|---:|
`, len(defects))
	for _, d := range defects {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", d.pkg, cell(d.name), cell(d.by), d.took)
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// cell makes a text fit into a table.
func cell(s string) string {
	if r := []rune(s); len(r) > 160 {
		s = string(r[:160]) + " ..."
	}
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s)
}
