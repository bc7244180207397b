package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// options are what the flags of the demo say.
type options struct {
	brokers    []string // of an existing cluster; none: an embedded one
	partitions int
	rate       int
	seed       int64
	topic      string
	duration   time.Duration
	json       bool
	verbose    bool
}

const (
	maxPartitions = 1000
	maxRate       = 100_000
	maxDuration   = 24 * time.Hour
)

const demoUsage = `usage: brokermap demo [flags]

Consumes a topic through a mapper while its cluster misbehaves, and checks that no
record is lost, duplicated or out of order. The cluster is an embedded one of three
brokers on loopback; records are produced at a steady rate, leaders move,
connections are dropped, a broker is taken away and comes back.

  -duration d       how long to produce, at most 24h (default 15s); the embedded
                    cluster keeps every record in memory, about 130 bytes each
  -partitions n     partitions of the topic, 1 to 1000 (default 12)
  -rate n           records produced a second in all, 1 to 100000 (default 1200)
  -seed n           of the schedule of faults (default 1)
  -topic name       the topic, which must not exist (default brokermap-demo-<random>)
  -brokers h:p,...  use this cluster instead, without faults, in a topic that is
                    created and removed
  -json             print one JSON object as the last line of stdout, and the log
                    lines to stderr
  -v                log every assignment and what the mapper logs; no table

In a terminal the state is shown as a table, else as log lines. A fault's stall is
the longest time for which some partition's consumer was given no record; beside it
stands the longest time for which the producer could write none. Interrupt (Ctrl-C)
ends the run early and in order.

exit status: 0 all records came once and in order; 1 some did not, or something was
left behind; 2 the demo could not run: a bad flag, no such cluster, the topic exists
`

// parseFlags returns flag.ErrHelp where help was asked for. Any other error is one
// line that names the flag, its value and the rule.
func parseFlags(args []string) (options, error) {
	o := options{partitions: 12, rate: 1200, seed: 1, duration: 15 * time.Second}
	fs := flag.NewFlagSet("brokermap demo", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.BoolFunc("json", "", boolFlag(&o.json))
	fs.BoolFunc("v", "", boolFlag(&o.verbose))
	fs.Func("partitions", "", intFlag(&o.partitions, maxPartitions))
	fs.Func("rate", "", intFlag(&o.rate, maxRate))
	fs.Func("seed", "", func(s string) (err error) {
		if o.seed, err = strconv.ParseInt(s, 10, 64); err != nil {
			return errors.New("it must be a whole number of 64 bits")
		}
		return nil
	})
	fs.Func("duration", "", func(s string) (err error) {
		if o.duration, err = time.ParseDuration(s); err != nil || o.duration <= 0 || o.duration > maxDuration {
			return errors.New("it must be above 0 and at most 24h, with its unit, as in 15s")
		}
		return nil
	})
	fs.Func("topic", "", func(s string) error {
		if !validTopic(s) {
			return errTopic
		}
		o.topic = s
		return nil
	})
	fs.Func("brokers", "", func(s string) (err error) {
		o.brokers, err = parseBrokers(s)
		return err
	})
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("argument %q: the demo takes flags only", fs.Arg(0))
	}
	if o.topic == "" {
		o.topic = "brokermap-demo-" + randomSuffix()
	}
	return o, nil
}

func boolFlag(v *bool) func(string) error {
	return func(s string) (err error) {
		if *v, err = strconv.ParseBool(s); err != nil {
			return errors.New("it must be true or false")
		}
		return nil
	}
}

func intFlag(v *int, most int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("it must be a whole number from 1 to %d", most)
		}
		*v = n
		return nil
	}
}

func parseBrokers(s string) ([]string, error) {
	var brokers []string
	for _, b := range strings.Split(s, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(b))
		n, portErr := strconv.Atoi(port)
		if err != nil || portErr != nil || host == "" || n < 1 || n > 65535 {
			return nil, fmt.Errorf("%q must be host:port; more than one are separated by commas", b)
		}
		brokers = append(brokers, net.JoinHostPort(host, port))
	}
	return brokers, nil
}

var errTopic = errors.New("it must be 1 to 249 letters, digits, dots, underscores or hyphens, and not only one dot or two")

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func validTopic(s string) bool { return topicName.MatchString(s) && s != "." && s != ".." }

// randomSuffix makes a topic's name one that nobody else uses.
func randomSuffix() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
