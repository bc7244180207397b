package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// Every defect fits the source, can be seen by the layer that should catch it, and
// is named once; all those of the classic mapper are there.
func TestDefects(t *testing.T) {
	var twins []struct{ Mut, Property string }
	text, err := os.ReadFile(filepath.Join(root, "tla", "mutants.json"))
	if err == nil {
		err = json.Unmarshal(text, &twins)
	}
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	var specs, code int
	found := [len(classic)]bool{}
	for _, d := range defects {
		if names[d.Name] {
			t.Errorf("there are two of %q", d.Name)
		}
		names[d.Name] = true
		found[d.Classic] = true
		if l, ok := named(d.By); !ok || !l.sees(d) {
			t.Errorf("%q should be caught by %q, which cannot see it", d.Name, d.By)
		}
		if d.Spec != "" {
			specs++
			mut, property, _ := strings.Cut(d.Spec, "/")
			if !slices.Contains(twins, struct{ Mut, Property string }{mut, property}) {
				t.Errorf("%q: the specification has no mutant %s", d.Name, d.Spec)
			}
		}
		if d.File == "" {
			continue
		}
		code++
		source, err := os.ReadFile(filepath.Join(root, d.File))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), d.Old); n != 1 {
			t.Errorf("%q: the text to change is in %s %d times", d.Name, d.File, n)
		}
	}
	if specs < 15 || code < 25 {
		t.Errorf("%d defects of the specification and %d of the code, want at least 15 and 25", specs, code)
	}
	for i, text := range classic {
		if i > 0 && !found[i] {
			t.Errorf("no defect is number %d of the classic mapper: %s", i, text)
		}
	}
}

// The matrix that is published is of these defects and these layers, without holes.
func TestPublished(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "net.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, d := range defects {
		begin := "| " + d.Name + " | " + d.where() + " | " + d.By + " |"
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, begin) })
		if i < 0 {
			t.Errorf("%q is not in docs/net.md as it is here; go run ./internal/net -out docs/net.md", d.Name)
			continue
		}
		if cells := strings.Split(lines[i], "|"); len(cells) != 5+len(layers) || !strings.Contains(lines[i], "**X**") {
			t.Errorf("%q: %s", d.Name, lines[i])
		}
	}
}

func TestMatrix(t *testing.T) {
	d := defects[0]
	cells := map[string]cell{}
	text, holes := matrix(cells)
	if len(holes) > 0 || !strings.Contains(text, "| "+d.Name+" |") {
		t.Errorf("of nothing: holes %q\n%s", holes, text)
	}
	for _, l := range layers {
		cells[key(d, l)] = cell{Took: 1}
	}
	if _, holes = matrix(cells); len(holes) != 2 {
		t.Errorf("caught by nobody: holes %q", holes)
	}
	l, _ := named(d.By)
	cells[key(d, l)] = cell{Took: 1, Caught: true, By: "TestX: a|b"}
	text, holes = matrix(cells)
	if len(holes) > 0 || !strings.Contains(text, "**X**") || !strings.Contains(text, `TestX: a\|b`) {
		t.Errorf("caught: holes %q\n%s", holes, text)
	}
}

func TestResults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "net.jsonl")
	want := map[string]cell{"a": {Key: "a", Layer: "x", Caught: true, Took: 2}, "b": {Key: "b", By: "y", Took: 1}}
	for _, c := range want {
		if err := add(path, c); err != nil {
			t.Fatal(err)
		}
	}
	got, err := read(path)
	if err != nil || len(got) != 2 || got["a"] != want["a"] || got["b"] != want["b"] {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}
