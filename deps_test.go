package brokermap_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/brokermap/brokermap"

// mayImport is the table of ARCHITECTURE: what the shipped files of each
// package, those that are no tests, may import besides the standard library.
// Own packages go by their path in the module, others by the module's path. A
// package that is not here fails the test: it must say what it needs.
var mayImport = map[string][]string{
	".":                        {"mapper", "brokers", "consumer", "offsets"},
	"mapper":                   {"internal/assign", "internal/ringbuf", "internal/refcount", "internal/shardmap", "internal/atomicx", "github.com/IBM/sarama"},
	"internal/assign":          {},
	"internal/ringbuf":         {"internal/atomicx"},
	"internal/refcount":        {"internal/atomicx"},
	"internal/shardmap":        {"internal/atomicx"},
	"internal/atomicx":         {"go.uber.org/atomic"},
	"internal/explore":         {},
	"internal/explore/mutants": {},
	"internal/explore/table":   {},
	"internal/classic":         {"mapper", "github.com/IBM/sarama"},
	"internal/drive":           {"mapper", "github.com/IBM/sarama"},
	"internal/kafkatest":       {"github.com/IBM/sarama", "github.com/twmb/franz-go"},
	"internal/net":             {"internal/explore/mutants"},
	"internal/stall":           {"internal/kafkatest", "github.com/IBM/sarama", "github.com/twmb/franz-go"},
	"model":                    {"internal/assign"},
	"tla":                      {},
	"fuzz":                     {"mapper", "brokers", "consumer", "offsets", "internal/assign", "internal/ringbuf", "internal/shardmap", "internal/drive", "model"},
	"brokers":                  {"mapper", "github.com/IBM/sarama"},
	"consumer":                 {"mapper", "brokers", "github.com/IBM/sarama", "github.com/klauspost/compress", "github.com/pierrec/lz4"},
	"offsets":                  {"mapper", "brokers", "github.com/IBM/sarama"},
	"cmd/brokermap":            {"mapper", "brokers", "consumer", "offsets", "internal/kafkatest", "internal/stall", "github.com/IBM/sarama", "github.com/xdg-go/scram"},
}

// testOnly are the packages that no shipped file of another package may import,
// save in the exploring build.
var testOnly = []string{"internal/explore", "internal/explore/mutants", "internal/drive"}

// lockFree are the packages that take every shared word from atomicx, so that
// each access is a scheduling point in the exploring build, and that have no
// locks. mapper needs a WaitGroup besides, for whom it waits at the end.
var lockFree = map[string][]string{
	"mapper":            {"WaitGroup"},
	"internal/ringbuf":  nil,
	"internal/refcount": nil,
	"internal/shardmap": nil,
}

// source is a parsed shipped file.
type source struct {
	name      string
	pkg       string // its directory
	exploring bool   // only in the exploring build
	tracing   bool   // only in the tracing build
	file      *ast.File
	fset      *token.FileSet
}

// imports returns the paths that the file imports.
func (s source) imports() []string {
	var all []string
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		all = append(all, p)
	}
	return all
}

// shipped parses the files of the module in tree that are no tests. Modules in
// it are left out, as are directories that the go command does not look at.
func shipped(tree fs.FS) ([]source, error) {
	var all []source
	fset := token.NewFileSet()
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if _, err := fs.Stat(tree, path.Join(name, "go.mod")); err == nil || strings.ContainsRune("._", rune(d.Name()[0])) || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{name, path.Dir(name), needs(file, "explore"), needs(file, "trace"), file, fset})
		return nil
	})
	return all, err
}

// needs reports whether a file is only built with the tag.
func needs(file *ast.File, tag string) bool {
	for _, group := range file.Comments {
		if group.Pos() > file.Package {
			break
		}
		for _, line := range group.List {
			if x, err := constraint.Parse(line.Text); err == nil {
				return !x.Eval(func(t string) bool { return t != tag })
			}
		}
	}
	return false
}

// violations returns what is wrong in the tree, one line for each.
func violations(tree fs.FS) ([]string, error) {
	sources, err := shipped(tree)
	var wrong []string
	for _, s := range sources {
		wrong = append(wrong, s.wrongImports()...)
		if free, there := lockFree[s.pkg]; there && !s.exploring && !s.tracing {
			wrong = append(wrong, s.locks(free)...)
		}
		if s.pkg == "internal/assign" {
			wrong = append(wrong, s.impurities()...)
		}
	}
	return wrong, err
}

func (s source) wrongImports() []string {
	may, known := mayImport[s.pkg]
	if !known {
		return []string{fmt.Sprintf("%s: package %s is not in the table: say what it may import", s.name, s.pkg)}
	}
	var wrong []string
	for _, p := range s.imports() {
		own, isOwn := strings.CutPrefix(p+"/", module+"/")
		own = path.Clean(own) // "." is the root
		first, _, _ := strings.Cut(p, "/")
		var ok bool
		switch {
		case isOwn:
			ok = slices.Contains(may, own) || s.exploring && slices.Contains(testOnly, own)
			p = own
		case strings.Contains(first, "."):
			ok = slices.ContainsFunc(may, func(m string) bool { return p == m || strings.HasPrefix(p, m+"/") })
		default:
			ok = true // the standard library
		}
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s must not import %s", s.name, s.pkg, p))
		}
	}
	return wrong
}

// uses calls f for each name that the file uses of package p, which it imports
// under its own name.
func (s source) uses(p string, f func(name string, at token.Pos)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == p {
				f(sel.Sel.Name, sel.Pos())
			}
		}
		return true
	})
}

// locks returns the uses of package sync beyond those that are free, and of
// atomics that do not come from atomicx.
func (s source) locks(free []string) []string {
	var wrong []string
	for _, p := range s.imports() {
		if p == "sync/atomic" {
			wrong = append(wrong, fmt.Sprintf("%s: %s must take its atomics from internal/atomicx, not from %s", s.name, s.pkg, p))
		}
	}
	s.uses("sync", func(name string, at token.Pos) {
		if !slices.Contains(free, name) {
			wrong = append(wrong, fmt.Sprintf("%v: %s must not use sync.%s: it is lock-free", s.fset.Position(at), s.pkg, name))
		}
	})
	return wrong
}

// impurities returns what a machine that knows no goroutine, no channel and no
// clock must not have.
func (s source) impurities() []string {
	var wrong []string
	bad := func(at token.Pos, what string) {
		wrong = append(wrong, fmt.Sprintf("%v: %s must be pure, but has %s", s.fset.Position(at), s.pkg, what))
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			bad(n.Pos(), "a goroutine")
		case *ast.SelectStmt:
			bad(n.Pos(), "a select")
		case *ast.SendStmt, *ast.ChanType:
			bad(n.Pos(), "a channel")
		}
		return true
	})
	s.uses("time", func(name string, at token.Pos) {
		if !slices.Contains([]string{"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}, name) {
			bad(at, "time."+name)
		}
	})
	for _, p := range s.imports() {
		if slices.Contains([]string{"context", "log", "log/slog", "math/rand", "math/rand/v2", "net", "os", "runtime", "sync", "sync/atomic", "unsafe"}, p) {
			bad(s.file.Package, p)
		}
	}
	return wrong
}

func TestDependencies(t *testing.T) {
	wrong, err := violations(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// The rules above bite: each of these trees breaks one.
func TestDependenciesOfBrokenTrees(t *testing.T) {
	for _, c := range []struct{ file, text, says string }{
		{"mapper/a.go", `package mapper; import "github.com/brokermap/brokermap/brokers"`, "mapper must not import brokers"},
		{"mapper/a.go", `package mapper; import "github.com/brokermap/brokermap"`, "mapper must not import ."},
		{"mapper/a.go", `package mapper; import "github.com/brokermap/brokermap/utils"`, "mapper must not import utils"},
		{"mapper/a.go", `package mapper; import "go.uber.org/atomic"`, "mapper must not import go.uber.org/atomic"},
		{"mapper/a.go", `package mapper; import "sync/atomic"`, "take its atomics from internal/atomicx"},
		{"mapper/a.go", `package mapper; import "sync"; var l sync.Mutex`, "must not use sync.Mutex"},
		{"mapper/a.go", `package mapper; import "github.com/brokermap/brokermap/internal/explore"`, "mapper must not import internal/explore"},
		{"internal/assign/a.go", `package assign; import "github.com/IBM/sarama"`, "must not import github.com/IBM/sarama"},
		{"internal/assign/a.go", `package assign; import "github.com/brokermap/brokermap/internal/atomicx"`, "must not import internal/atomicx"},
		{"internal/assign/a.go", `package assign; import "sync"`, "has sync"},
		{"internal/assign/a.go", `package assign; func f() { go f() }`, "has a goroutine"},
		{"internal/assign/a.go", `package assign; var c chan int`, "has a channel"},
		{"internal/assign/a.go", `package assign; func f() { select {} }`, "has a select"},
		{"internal/assign/a.go", `package assign; import "time"; var t = time.Now()`, "has time.Now"},
		{"internal/ringbuf/a.go", `package ringbuf; import "github.com/IBM/sarama"`, "must not import github.com/IBM/sarama"},
		{"internal/ringbuf/a.go", `package ringbuf; import "sync"; var l sync.RWMutex`, "must not use sync.RWMutex"},
		{"internal/refcount/a.go", `package refcount; import "github.com/brokermap/brokermap/internal/ringbuf"`, "must not import internal/ringbuf"},
		{"internal/shardmap/a.go", `package shardmap; import "sync"; var l sync.Map`, "must not use sync.Map"},
		{"internal/atomicx/a.go", `package atomicx; import "github.com/brokermap/brokermap/internal/explore"`, "must not import internal/explore"},
		{"internal/explore/a.go", `package explore; import "go.uber.org/atomic"`, "must not import go.uber.org/atomic"},
		{"model/a.go", `package model; import "github.com/brokermap/brokermap/mapper"`, "must not import mapper"},
		{"brokers/a.go", `package brokers; import "github.com/brokermap/brokermap/consumer"`, "must not import consumer"},
		{"consumer/a.go", `package consumer; import "github.com/brokermap/brokermap/offsets"`, "must not import offsets"},
		{"consumer/a.go", `package consumer; import "github.com/brokermap/brokermap/internal/assign"`, "must not import internal/assign"},
		{"utils/a.go", `package utils`, "not in the table"},
	} {
		wrong, err := violations(fstest.MapFS{c.file: {Data: []byte(c.text)}})
		if err != nil || len(wrong) != 1 || !strings.Contains(wrong[0], c.says) {
			t.Errorf("%s: %s\nis said to be wrong by %q, %v; want one line that says %q", c.file, c.text, wrong, err, c.says)
		}
	}
	for _, c := range []struct{ file, text string }{
		{"mapper/a.go", `package mapper; import ("sync"; "github.com/IBM/sarama"); var w sync.WaitGroup`},
		{"mapper/a_test.go", `package mapper; import "go.uber.org/goleak"`},
		{"internal/assign/a.go", `package assign; import "time"; var d time.Duration`},
		{"internal/atomicx/a.go", "//go:build explore\n\npackage atomicx\nimport \"github.com/brokermap/brokermap/internal/explore\""},
		{"internal/kafkatest/a.go", `package kafkatest; import "github.com/twmb/franz-go/pkg/kfake"`},
	} {
		if wrong, err := violations(fstest.MapFS{c.file: {Data: []byte(c.text)}}); err != nil || len(wrong) != 0 {
			t.Errorf("%s: %s\nis said to be wrong by %q, %v; it is not", c.file, c.text, wrong, err)
		}
	}
}

// listed is what this test reads of the output of go list.
type listed struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
}

// modules returns the modules that packages bring in.
func modules(t *testing.T, packages ...string) map[string]bool {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Standard,Module"}, packages...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if !p.Standard {
			all[p.Module.Path] = true
		}
	}
}

// Who imports mapper, and nothing else, builds sarama with what that needs,
// go.uber.org/atomic, and no more.
func TestDependenciesOfMapper(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	allowed := modules(t, "github.com/IBM/sarama")
	allowed[module] = true
	allowed["go.uber.org/atomic"] = true
	for m := range modules(t, "./mapper") {
		if !allowed[m] {
			t.Errorf("importing mapper brings in %s", m)
		}
	}
}
