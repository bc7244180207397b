package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/consumer"
	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

const chaosUsage = `usage: brokermap chaos [flags]

Strikes a cluster with one fault after the other, while a topic of it is written and
several clients consume it side by side, and prints for how long each fault kept
records from each client. A round takes about a minute and a half.

  -kafka             strike a real Apache Kafka of three brokers, which is started on
                     loopback for the run: it needs Java 17 or later and, once, Maven
                     (default: an embedded cluster, kfake)
  -brokers h:p,...   strike this cluster instead: leaders are moved, connections of
                     this process dropped; in a topic that is created and removed.
                     Without TLS and SASL
  -clients list      of brokermap, sarama and sarama-tuned (default: all three)
  -faults list       of none, move, drop, stop, kill, freeze, bounce,
                     coordinator and controller
                     (default: all that the cluster can have)
  -rounds n          of all faults, 1 to 1000 (default 1)
  -partitions n      of the topic, 1 to 1000 (default 12)
  -json              print one JSON object, with all trials

A stall is the longest time between two records of a partition, from the fault on;
what is printed is the stall of the slowest partition less the cluster's own, in
which nothing came to be in the log. The control is none: what differs less from
another client than it, says nothing.

exit status: 0 each client was given each record once and in order; 1 one was not;
2 it could not run: a bad flag, no such cluster
`

// chaosOptions are what the flags of chaos say.
type chaosOptions struct {
	kafka      bool
	brokers    []string
	clients    []stall.Client
	faults     []stall.Fault // none: all that are possible
	rounds     int
	partitions int
	json       bool
}

// stallClients are the clients to choose from.
func stallClients() []stall.Client {
	return []stall.Client{
		stall.SaramaClient("brokermap", stall.SaramaDefault, func(c sarama.Client) (sarama.Consumer, error) {
			return consumer.New(c, consumer.Config{})
		}),
		stall.SaramaClient("sarama", stall.SaramaDefault, sarama.NewConsumerFromClient),
		stall.SaramaClient("sarama-tuned", stall.SaramaTuned, sarama.NewConsumerFromClient),
	}
}

// parseChaosFlags returns flag.ErrHelp where help was asked for. Any other error
// is one line that names the flag, its value and the rule.
func parseChaosFlags(args []string) (chaosOptions, error) {
	o := chaosOptions{clients: stallClients(), rounds: 1, partitions: 12}
	fs := flag.NewFlagSet("brokermap chaos", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.BoolFunc("kafka", "", boolFlag(&o.kafka))
	fs.BoolFunc("json", "", boolFlag(&o.json))
	fs.Func("brokers", "", func(s string) (err error) {
		o.brokers, err = parseBrokers(s)
		return err
	})
	fs.Func("clients", "", func(s string) error {
		o.clients = nil
		for name := range strings.SplitSeq(s, ",") {
			i := slices.IndexFunc(stallClients(), func(c stall.Client) bool { return c.Name == name })
			if i < 0 {
				return fmt.Errorf("%q must be brokermap, sarama or sarama-tuned; more than one are separated by commas", name)
			}
			o.clients = append(o.clients, stallClients()[i])
		}
		return nil
	})
	fs.Func("faults", "", func(s string) error {
		for name := range strings.SplitSeq(s, ",") {
			f, err := stall.FaultByName(name)
			if err != nil {
				return err
			}
			o.faults = append(o.faults, f)
		}
		return nil
	})
	fs.Func("rounds", "", intFlag(&o.rounds, 1000))
	fs.Func("partitions", "", intFlag(&o.partitions, maxPartitions))
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("argument %q: chaos takes flags only", fs.Arg(0))
	case o.kafka && len(o.brokers) > 0:
		return o, errors.New("flags -kafka and -brokers: there must be one of them at most")
	}
	return o, nil
}

// runChaos strikes and returns the exit status.
func runChaos(ctx context.Context, o chaosOptions, stdout, stderr io.Writer) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, format+"\n", args...) }
	bed, err := o.bed(ctx, say)
	if err != nil {
		say("brokermap chaos: %s", oneLine(err))
		return 2
	}
	defer bed.Close()
	if len(o.faults) == 0 {
		o.faults = slices.DeleteFunc(stall.Faults(), func(f stall.Fault) bool { return f.Possible(bed) != nil })
	}
	for _, f := range o.faults {
		if err := f.Possible(bed); err != nil {
			say("brokermap chaos: flag -faults: %s: %s", f.Name, err)
			return 2
		}
	}
	res, err := stall.Run(ctx, stall.Config{
		Bed: bed, Topic: "brokermap-chaos-" + randomSuffix(), Partitions: o.partitions, Rounds: o.rounds,
		Faults: o.faults, Clients: o.clients,
		Report: func(t stall.Trial) { say("%s", o.line(t)) },
	})
	interrupted := err != nil && ctx.Err() != nil
	if err != nil && !interrupted {
		say("brokermap chaos: %s", oneLine(err))
	}
	if len(res.Trials) > 0 {
		write := o.writeText
		if o.json {
			write = o.writeJSON
		}
		if err := write(stdout, res); err != nil {
			return 1
		}
	}
	switch {
	case err != nil && !interrupted && len(res.Trials) == 0:
		return 2
	case err != nil && !interrupted, slices.ContainsFunc(res.Tallies, func(t stall.Tally) bool { return !t.OK() }):
		return 1
	}
	return 0
}

// bed returns the cluster to strike.
func (o *chaosOptions) bed(ctx context.Context, say func(string, ...any)) (kafkatest.Testbed, error) {
	switch {
	case len(o.brokers) > 0:
		return kafkatest.Connect(o.brokers)
	case o.kafka:
		return kafkatest.StartKafka(ctx, kafkatest.KafkaConfig{Logf: say})
	}
	return kafkatest.Start(kafkatest.Config{})
}

// line tells of one trial.
func (o *chaosOptions) line(t stall.Trial) string {
	text := fmt.Sprintf("round %d, %s: %s; the cluster stalled for %d ms", t.Round+1, t.Fault.Name, t.Fault.Does, t.Floor.Slowest.Milliseconds())
	for i, s := range t.Stalls {
		text += fmt.Sprintf(", %s for %+d ms", o.clients[i].Name, s.SlowestExcess.Milliseconds())
		if s.Unfinished {
			text += " and goes on"
		}
	}
	return text
}

// writeText writes the table.
func (o *chaosOptions) writeText(w io.Writer, res stall.Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(t, strings.Join(cells, "\t")) }
	header := []string{"FAULT", "CLUSTER"}
	for _, c := range o.clients {
		header = append(header, strings.ToUpper(c.Name))
	}
	_, _ = fmt.Fprintln(w, "Stalls of the slowest partition in ms, the clients' beyond the cluster's own; median [worst]")
	row(header...)
	for _, f := range o.faults {
		var floor []time.Duration
		excess := make([][]time.Duration, len(o.clients))
		for _, trial := range res.Trials {
			if trial.Fault.Name != f.Name {
				continue
			}
			floor = append(floor, trial.Floor.Slowest)
			for i, s := range trial.Stalls {
				excess[i] = append(excess[i], s.SlowestExcess)
			}
		}
		if len(floor) == 0 {
			continue
		}
		cells := []string{f.Name, medianAndWorst(floor)}
		for _, e := range excess {
			cells = append(cells, medianAndWorst(e))
		}
		row(cells...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i, tally := range res.Tallies {
		_, err := fmt.Fprintf(w, "%s: %d records, %d lost, %d duplicated, %d out of order\n",
			o.clients[i].Name, tally.Received, tally.Lost, tally.Duplicated, tally.Reordered)
		if err != nil {
			return err
		}
	}
	return nil
}

func medianAndWorst(d []time.Duration) string {
	return fmt.Sprintf("%d [%d]", stall.Median(d).Milliseconds(), slices.Max(d).Milliseconds())
}

// The JSON of a run. All times are in ms.
type (
	chaosJSON struct {
		Trials  []trialJSON          `json:"trials"`
		Records map[string]tallyJSON `json:"records"` // by client
	}
	trialJSON struct {
		Fault   string           `json:"fault"`
		Broker  int32            `json:"broker"`
		Cluster int64            `json:"cluster"`
		Beyond  map[string]int64 `json:"beyond"` // the cluster's, by client
	}
	tallyJSON struct {
		Received   int64 `json:"received"`
		Lost       int64 `json:"lost"`
		Duplicated int64 `json:"duplicated"`
		OutOfOrder int64 `json:"out_of_order"`
	}
)

func (o *chaosOptions) writeJSON(w io.Writer, res stall.Result) error {
	j := chaosJSON{Trials: []trialJSON{}, Records: make(map[string]tallyJSON)}
	for _, t := range res.Trials {
		trial := trialJSON{Fault: t.Fault.Name, Broker: t.Broker, Cluster: t.Floor.Slowest.Milliseconds(), Beyond: make(map[string]int64)}
		for i, s := range t.Stalls {
			trial.Beyond[o.clients[i].Name] = s.SlowestExcess.Milliseconds()
		}
		j.Trials = append(j.Trials, trial)
	}
	for i, t := range res.Tallies {
		j.Records[o.clients[i].Name] = tallyJSON{t.Received, t.Lost, t.Duplicated, t.Reordered}
	}
	return json.NewEncoder(w).Encode(j)
}
