// Command brokermap shows the library at work.
//
// brokermap demo runs an embedded cluster, produces to it, consumes it through a
// mapper while brokers fail and leaders move, and checks every record.
//
// brokermap consume prints the records of a topic of any cluster.
//
// brokermap chaos strikes a cluster with faults and prints for how long each kept
// records from the consumer, beside sarama's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

const usage = `usage: brokermap <command> [flags]

commands:
  demo      consume through a mapper while a cluster misbehaves, and check every record
  consume   print the records of a topic
  chaos     strike a cluster with faults, and print how long each stalls its consumers
  version   print the version
  help      print this, or with a command's name what that command does
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command: args without its name. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		return emit(stdout, usage)
	}
	refuse := func(format string, args ...any) int {
		_, _ = fmt.Fprintf(stderr, "brokermap"+format+"\n", args...)
		return 2
	}
	command, args := args[0], args[1:]
	switch command {
	case "demo":
		o, err := parseFlags(args)
		if errors.Is(err, flag.ErrHelp) {
			return emit(stdout, demoUsage)
		}
		if err != nil {
			return refuse(" demo: %s (see brokermap demo -h)", oneLine(err))
		}
		return runDemo(ctx, o, stdout, stderr)
	case "consume":
		o, err := parseConsumeFlags(args)
		if errors.Is(err, flag.ErrHelp) {
			return emit(stdout, consumeUsage)
		}
		if err != nil {
			return refuse(" consume: %s (see brokermap consume -h)", oneLine(err))
		}
		return runConsume(ctx, o, stdout, stderr)
	case "chaos":
		o, err := parseChaosFlags(args)
		if errors.Is(err, flag.ErrHelp) {
			return emit(stdout, chaosUsage)
		}
		if err != nil {
			return refuse(" chaos: %s (see brokermap chaos -h)", oneLine(err))
		}
		return runChaos(ctx, o, stdout, stderr)
	case "version", "-version", "--version":
		if len(args) > 0 {
			return refuse(" version: argument %q: there must be none", args[0])
		}
		return emit(stdout, version())
	case "help", "-h", "-help", "--help":
		switch {
		case len(args) == 0:
			return emit(stdout, usage)
		case args[0] == "demo" && len(args) == 1:
			return emit(stdout, demoUsage)
		case args[0] == "consume" && len(args) == 1:
			return emit(stdout, consumeUsage)
		case args[0] == "chaos" && len(args) == 1:
			return emit(stdout, chaosUsage)
		}
		return refuse(" help: %q is no command (see brokermap help)", args[len(args)-1])
	}
	return refuse(": %q is no command (see brokermap help)", command)
}

// oneLine returns an error as the one line that it is reported in.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func emit(w io.Writer, text string) int {
	if _, err := io.WriteString(w, text); err != nil {
		return 1
	}
	return 0
}

// version names what was built: of a released module its version, else the
// revision, where the build knows it.
func version() string {
	v := "(devel)"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v = info.Main.Version
	}
	return fmt.Sprintf("brokermap %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
