package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
)

const consumeUsage = `usage: brokermap consume -brokers h:p,... -topic name [flags]

Prints the records of a topic, those of a partition in their order, to stdout. It
ends at what was the end of the partitions when it began. Nothing is committed.

  -topic name
  -partitions list      such as 0,3-5 (default: all)
  -offset o             where each partition begins: oldest, newest, a number, or
                        such as -10, for the last ten (default oldest)
  -format f             text: a line for each record, with partition, offset, time,
                        key and value between tabs, as in Go what cannot be printed;
                        json: an object for each, whose key_base64 and value_base64
                        take the place of what is no UTF-8 (default text)
  -count n              end after n records (default: no limit)
  -follow               go on at the end, and wait for more
  -committed            leave out the records of transactions that are open or were
                        aborted
` + connectionUsage + `
In a terminal, records, rate and lag are told on stderr. Interrupt (Ctrl-C) ends it
after the record that is being printed.

exit status: 0 all was printed that was to be, or it was interrupted; 1 some was not;
2 it could not begin: a bad flag, no such topic, the brokers do not answer
`

// consumeOptions are what the flags of consume say.
type consumeOptions struct {
	connection
	topic      string
	partitions []int32 // none: all
	offset     int64   // or sarama.OffsetOldest or OffsetNewest
	last       int64   // in place of offset: so many from the end; 0: no
	json       bool
	count      int64 // 0: no limit
	follow     bool
	committed  bool
}

// parseConsumeFlags returns flag.ErrHelp where help was asked for. Any other error
// is one line that names the flag, its value and the rule.
func parseConsumeFlags(args []string) (consumeOptions, error) {
	o := consumeOptions{offset: sarama.OffsetOldest}
	fs := flag.NewFlagSet("brokermap consume", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	o.register(fs)
	fs.BoolFunc("follow", "", boolFlag(&o.follow))
	fs.BoolFunc("committed", "", boolFlag(&o.committed))
	fs.Func("topic", "", func(s string) error {
		if !validTopic(s) {
			return errTopic
		}
		o.topic = s
		return nil
	})
	fs.Func("partitions", "", func(s string) (err error) {
		o.partitions, err = parsePartitions(s)
		return err
	})
	fs.Func("offset", "", func(s string) (err error) {
		o.offset, o.last, err = parseOffset(s)
		return err
	})
	fs.Func("count", "", func(s string) error {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			return errors.New("it must be a whole number above 0")
		}
		o.count = n
		return nil
	})
	fs.Func("format", "", func(s string) error {
		if s != "text" && s != "json" {
			return errors.New("it must be text or json")
		}
		o.json = s == "json"
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("argument %q: consume takes flags only", fs.Arg(0))
	case len(o.brokers) == 0:
		return o, errors.New("flag -brokers: there must be one")
	case o.topic == "":
		return o, errors.New("flag -topic: there must be one")
	}
	return o, nil
}

// maxPartition bounds what a range may have: Kafka has clusters, not topics, of
// more.
const maxPartition = 1_000_000

// parsePartitions reads numbers and ranges between commas.
func parsePartitions(s string) ([]int32, error) {
	bad := func(part string) error {
		return fmt.Errorf("%q must be a number or a range such as 3-5, from 0 to %d; more than one are separated by commas", part, maxPartition)
	}
	var all []int32
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		from, err := strconv.ParseInt(first, 10, 32)
		to := from
		if err == nil && isRange {
			to, err = strconv.ParseInt(last, 10, 32)
		}
		if err != nil || from < 0 || to < from || to > maxPartition {
			return nil, bad(part)
		}
		for p := from; p <= to; p++ {
			all = append(all, int32(p))
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// parseOffset returns an offset, or how many records from the end.
func parseOffset(s string) (offset, last int64, err error) {
	switch s {
	case "oldest":
		return sarama.OffsetOldest, 0, nil
	case "newest":
		return sarama.OffsetNewest, 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || s == "-0":
		return 0, 0, errors.New("it must be oldest, newest, a whole number, or one below 0 for so many from the end")
	case n < 0:
		return 0, -n, nil
	}
	return n, 0, nil
}
