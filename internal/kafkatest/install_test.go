package kafkatest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJarsAreChecked(t *testing.T) {
	lib := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(lib, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sums := ""
	for _, name := range []string{"a.jar", "b.jar"} {
		write(name, "the text of "+name)
		sums += fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte("the text of "+name)), name)
	}
	jars, err := checkJars(lib, sums)
	if err != nil || len(jars) != 2 || jars[1] != filepath.Join(lib, "b.jar") {
		t.Errorf("checkJars() = %q, %v, want both", jars, err)
	}
	refused := func(why string) {
		t.Helper()
		if _, err := checkJars(lib, sums); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("checkJars: %v, want an error that says %q", err, why)
		}
	}
	write("b.jar", "another text")
	refused("has the SHA-256")
	write("b.jar", "the text of b.jar")
	write("c.jar", "")
	refused("c.jar is no part of")
	for _, name := range []string{"c.jar", "a.jar"} {
		if err := os.Remove(filepath.Join(lib, name)); err != nil {
			t.Fatal(err)
		}
	}
	refused("a.jar")
}
