package main

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// One goroutine for the process, which a sarama connection's metrics start
	// and nothing ends.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// invoke runs the command and returns what it wrote.
func invoke(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// closedPort returns the address of a port on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func TestBadInputIsOneLineAndStatus2(t *testing.T) {
	nobody := closedPort(t)
	for _, c := range []struct {
		args string
		want []string // in the line: flag or argument, value, rule
	}{
		{"dmeo", []string{`"dmeo"`, "no command"}},
		{"help dmeo", []string{`"dmeo"`, "no command"}},
		{"help demo now", []string{`"now"`, "no command"}},
		{"version 2", []string{`"2"`, "none"}},
		{"demo now", []string{`"now"`, "flags only"}},
		{"demo -partitions 0", []string{"-partitions", `"0"`, "from 1 to 1000"}},
		{"demo -partitions 1001", []string{"-partitions", `"1001"`, "from 1 to 1000"}},
		{"demo -partitions twelve", []string{"-partitions", `"twelve"`, "whole number"}},
		{"demo -rate -1", []string{"-rate", `"-1"`, "from 1 to 100000"}},
		{"demo -rate 1e3", []string{"-rate", `"1e3"`, "whole number"}},
		{"demo -rate", []string{"-rate", "argument"}},
		{"demo -duration 0", []string{"-duration", `"0"`, "above 0"}},
		{"demo -duration -1s", []string{"-duration", `"-1s"`, "above 0"}},
		{"demo -duration 15", []string{"-duration", `"15"`, "unit"}},
		{"demo -duration 25h", []string{"-duration", `"25h"`, "24h"}},
		{"demo -seed x", []string{"-seed", `"x"`, "whole number"}},
		{"demo -json=perhaps", []string{"-json", `"perhaps"`, "true or false"}},
		{"demo -v=2", []string{"-v", `"2"`, "true or false"}},
		{"demo -topic a/b", []string{"-topic", `"a/b"`, "249"}},
		{"demo -topic ..", []string{"-topic", `".."`, "not only"}},
		{"demo -topic=", []string{"-topic", `""`, "249"}},
		{"demo -topic " + strings.Repeat("x", 250), []string{"-topic", "249"}},
		{"demo -brokers localhost", []string{"-brokers", `"localhost"`, "host:port"}},
		{"demo -brokers 127.0.0.1:9092,", []string{"-brokers", `""`, "host:port"}},
		{"demo -brokers :9092", []string{"-brokers", `":9092"`, "host:port"}},
		{"demo -brokers a:0", []string{"-brokers", `"a:0"`, "host:port"}},
		{"demo -brokers a:b", []string{"-brokers", `"a:b"`, "host:port"}},
		{"demo -frobnicate", []string{"-frobnicate", "not defined"}},
		{"demo -frob\nnicate", []string{"nicate", "not defined"}},
		{"demo -brokers " + nobody, []string{nobody, "refused"}},
		{"demo -brokers " + nobody + "," + closedPort(t), []string{nobody, "refused"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			status, stdout, stderr := invoke(t.Context(), strings.Split(c.args, " ")...)
			if status != 2 || stdout != "" {
				t.Errorf("status %d, stdout %q, want 2 and nothing", status, stdout)
			}
			if !strings.HasPrefix(stderr, "brokermap") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
				t.Errorf("stderr %q, want one line", stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr %q does not say %q", stderr, want)
				}
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{
		"":          usage,
		"help":      usage,
		"-h":        usage,
		"--help":    usage,
		"help demo": demoUsage,
		"demo -h":   demoUsage,
		"version":   version(),
		"-version":  version(),
	} {
		status, stdout, stderr := invoke(t.Context(), strings.Fields(args)...)
		if status != 0 || stdout != want || stderr != "" {
			t.Errorf("brokermap %s: status %d, stdout %q, stderr %q, want %q", args, status, stdout, stderr, want)
		}
	}
	if !strings.HasPrefix(version(), "brokermap ") {
		t.Errorf("version() = %q", version())
	}
	if got := run(t.Context(), nil, closedWriter{}, closedWriter{}); got == 0 {
		t.Error("usage on a closed stdout: status 0")
	}
}

// closedWriter is an output that is not there any more.
type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, net.ErrClosed }

func TestDefaults(t *testing.T) {
	a, err := parseFlags(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseFlags([]string{"-brokers", "127.0.0.1:9092,[::1]:9093", "-json", "-v", "-topic", "t", "-seed", "-7"})
	if err != nil {
		t.Fatal(err)
	}
	if a.partitions != 12 || a.rate != 1200 || a.duration.Seconds() != 15 || a.seed != 1 || len(a.brokers) != 0 || a.json || a.verbose {
		t.Errorf("defaults are %+v", a)
	}
	if !validTopic(a.topic) {
		t.Errorf("topic %q is by default none that Kafka takes", a.topic)
	}
	if len(b.brokers) != 2 || b.brokers[1] != "[::1]:9093" || !b.json || !b.verbose || b.topic != "t" || b.seed != -7 {
		t.Errorf("flags are %+v", b)
	}
	if c, _ := parseFlags(nil); c.topic == a.topic {
		t.Errorf("two runs have the topic %q", a.topic)
	}
}
