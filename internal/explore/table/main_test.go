package main

import (
	"strings"
	"testing"
)

const verbose = `=== RUN   TestExploreCount
=== RUN   TestExploreCount/two_users
    explore_test.go:106: 258 runs, 10 pruned, 4210 steps, depth 22, 2ms
--- PASS: TestExploreCount (2.78s)
=== RUN   TestMutants
=== RUN   TestMutants/a|b
    mutants.go:91: a|b: caught in 1.5s by TestX/y: 3 < 4
PASS
ok  	example.com/m/count	2.792s
?   	example.com/m/none	[no test files]
`

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := write(&b, strings.NewReader(verbose)); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		"| count | `TestExploreCount/two_users` | 258 | 10 | 2ms |\n",
		"| count | a\\|b | TestX/y: 3 &lt; 4 | 1.5s |\n",
	} {
		if !strings.Contains(b.String(), row) {
			t.Errorf("no row %q in\n%s", row, b.String())
		}
	}
}

func TestTableOfABadRun(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"a failure":        {"--- PASS: TestE", "--- FAIL: TestE", "TestExploreCount"},
		"a package failed": {"ok  \texample.com/m/count", "FAIL\texample.com/m/count", "example.com/m/count"},
		"no defect":        {"caught in", "survived", "0 defects"},
		"no program":       {"runs", "walks", "0 programs"},
		"cut off":          {"ok  \texample.com/m/count\t2.792s\n", "", "ends before"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			err := write(&b, strings.NewReader(strings.ReplaceAll(verbose, c.old, c.new)))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that names %q", err, c.want)
			}
		})
	}
}
