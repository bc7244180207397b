//go:build explore

package refcount_test

import (
	"testing"

	"github.com/brokermap/brokermap/internal/explore/mutants"
)

// Defects that the searches of TestExploreCount must find, but for the last
// three, which are about what callers must not do.
func TestMutants(t *testing.T) {
	mutants.Run(t, mutants.Suite{Tags: "explore", Run: "TestExploreCount"}, []mutants.Mutant{
		{
			Name: "looks, then retains",
			File: "refcount.go",
			Old:  "return c.word.Add(one)&closed == 0",
			New:  "if c.word.Load()&closed != 0 {\n\t\treturn false\n\t}\n\tc.word.Add(one)\n\treturn true",
		},
		{
			Name: "retains what is closed",
			File: "refcount.go",
			Old:  "return c.word.Add(one)&closed == 0",
			New:  "c.word.Add(one)\n\treturn true",
		},
		{
			Name: "refuses while draining, having added",
			File: "refcount.go",
			Old:  "return c.word.Add(one)&closed == 0",
			New:  "return c.word.Add(one)&(closed|draining) == 0",
		},
		{
			Name: "retains by load and store",
			File: "refcount.go",
			Old:  "return c.word.Add(one)&closed == 0",
			New:  "v := c.word.Load() + one\n\tc.word.Store(v)\n\treturn v&closed == 0",
		},
		{
			Name: "releases, then looks",
			File: "refcount.go",
			Old:  "word := c.word.Sub(one)\n",
			New:  "c.word.Sub(one)\n\tword := c.word.Load()\n",
		},
		{
			Name: "looks, then releases",
			File: "refcount.go",
			Old:  "word := c.word.Sub(one)\n",
			New:  "word := c.word.Load() - one\n\tc.word.Sub(one)\n",
		},
		{
			Name: "does not speak up",
			File: "refcount.go",
			Old:  "return word == draining\n",
			New:  "return word == 0\n",
		},
		{
			Name: "speaks up one too early",
			File: "refcount.go",
			Old:  "return word == draining\n",
			New:  "return word == draining|one\n",
		},
		{
			Name: "closes without compare-and-swap",
			File: "refcount.go",
			Old:  "return word == draining && c.word.CompareAndSwap(draining, closed)",
			New:  "if word == draining {\n\t\tc.word.Store(closed)\n\t}\n\treturn word == draining",
		},
		{
			Name: "closes with a reference out",
			File: "refcount.go",
			Old:  "return word == draining && c.word.CompareAndSwap(draining, closed)",
			New:  "return word <= draining|one && c.word.CompareAndSwap(word, closed)",
		},
		{
			Name: "looks for references before it asks for the last one",
			File: "refcount.go",
			Old:  "word = c.word.Add(draining)\n",
			New:  "c.word.Add(draining)\n\t\tword += draining\n",
		},
		{
			Name: "asks by store",
			File: "refcount.go",
			Old:  "word = c.word.Add(draining)\n",
			New:  "word |= draining\n\t\tc.word.Store(word)\n",
		},
		{
			Name: "resumes by store",
			File: "refcount.go",
			Old:  "c.word.Sub(draining)\n",
			New:  "c.word.Store(0)\n",
		},
		{
			Name: "resumes twice",
			File: "refcount.go",
			Old:  "if c.word.Load()&(draining|closed) == draining {",
			New:  "if c.word.Load()&closed == 0 {",
			Run:  "TestResume",
		},
		{
			Name: "says nothing of a release too many",
			File: "refcount.go",
			Old:  "before < one || before&closed != 0",
			New:  "before&closed != 0",
			Run:  "Test",
		},
		{
			Name: "says nothing of a release after the end",
			File: "refcount.go",
			Old:  "before < one || before&closed != 0",
			New:  "before < one",
			Run:  "Test",
		},
	})
}
