package brokermap_test

import (
	"os"
	"strings"
	"testing"
)

// The program in the README is the package example, which is compiled and run.
func TestReadmeProgramIsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("mapper/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(readme), "```go\n")
	program, _, ok := strings.Cut(program, "\n}\n```")
	if !ok {
		t.Fatal("the README has no Go program")
	}
	program = strings.Replace(program, "func main() {", "func Example() {", 1)
	if !strings.Contains(string(example), program) {
		t.Errorf("this program of the README is not in mapper/example_test.go:\n%s", program)
	}
}
