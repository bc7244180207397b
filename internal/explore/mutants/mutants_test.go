package mutants

import "testing"

func TestCaughtBy(t *testing.T) {
	for _, c := range []struct{ name, output, want string }{
		{"nothing ran", "# example.com/p\n./p.go:3:1: syntax error\nFAIL\texample.com/p [build failed]\n", ""},
		{"passed", "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", ""},
		{
			"a test failed",
			"=== RUN   TestA\n--- PASS: TestA (0.00s)\n=== RUN   TestB\n    b_test.go:7: lost an item\n--- FAIL: TestB (0.00s)\nFAIL\n",
			"TestB: lost an item",
		},
		{
			"a subtest failed",
			"=== RUN   TestA\n=== RUN   TestA/x\n    a_test.go:7: log\n=== RUN   TestA/y\n    a_test.go:7: 5 runs\n    a_test.go:8: deadlock\n        more\n" +
				"--- FAIL: TestA (0.00s)\n    --- PASS: TestA/x (0.00s)\n    --- FAIL: TestA/y (0.00s)\n",
			"TestA/y: deadlock",
		},
		{
			"a crash",
			"=== RUN   TestA\n--- FAIL: TestA (0.00s)\npanic: test timed out after 1s\n\ngoroutine 1 [running]:\n",
			"TestA: panic: test timed out after 1s",
		},
	} {
		if got := caughtBy(c.output); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
