// Clientbench compares the consumer with sarama's, with franz-go, kafka-go and
// librdkafka, side by side in one run, on the embedded cluster and on a real Apache
// Kafka, and writes what it finds to clients.md, and plots to clients.svg:
//
//	go -C internal/clientbench run . -out ../../docs
//
// What is measured one client at a time, throughput, memory and latency, is
// measured in a process for each client and round; the rounds are interleaved, so
// that what else the machine does strikes all alike. Stalls are measured with all
// clients at once, so that each fault strikes them all, in the same moment.
//
// It is a module of its own, so that users of brokermap inherit none of what it
// needs. librdkafka comes with confluent-kafka-go, and needs a C compiler.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second one ends the process at once
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "clientbench:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	out, raw, in  string
	clusters      []string
	what          []string
	clients       string
	faults        string
	partitions    []int
	rounds, trial int
	quick         bool
	soak          time.Duration
}

func run(ctx context.Context) error {
	var o options
	var clusters, what, partitions string
	flag.StringVar(&o.out, "out", "", "directory for clients.md and clients.svg; none: the tables go to standard output")
	flag.StringVar(&o.raw, "raw", "", "file that is to keep the results, for -in")
	flag.StringVar(&o.in, "in", "", "show these results, files of -raw separated by commas, instead of measuring")
	flag.StringVar(&clusters, "clusters", "kfake,kafka", "of these: kfake, the embedded one, and kafka, a real one")
	flag.StringVar(&what, "what", "throughput,latency,isolation,storm,stall", "of these; and soak, where only the first client is looked at")
	flag.StringVar(&o.clients, "clients", "", "only these, separated by commas")
	flag.StringVar(&o.faults, "faults", "none,move,drop,stop,kill,freeze,bounce,coordinator,controller", "of stall")
	flag.StringVar(&partitions, "partitions", "12,1000", "of the topics of throughput")
	flag.IntVar(&o.rounds, "rounds", 5, "of throughput and latency")
	flag.IntVar(&o.trial, "trials", 10, "of each fault; half of them on the embedded cluster")
	flag.BoolVar(&o.quick, "quick", false, "a tenth of the records, one round, one trial: to see that it runs")
	flag.DurationVar(&o.soak, "soak", 10*time.Minute, "how long")
	child := flag.Bool("child", false, "for clientbench itself")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *child {
		return runChild()
	}
	o.clusters, o.what = strings.Split(clusters, ","), strings.Split(what, ",")
	for n := range strings.SplitSeq(partitions, ",") {
		p, err := strconv.Atoi(n)
		if err != nil || p < 1 || p > 10_000 {
			return fmt.Errorf("-partitions: %q must be a whole number from 1 to 10000", n)
		}
		o.partitions = append(o.partitions, p)
	}
	if o.quick {
		o.rounds, o.trial = 1, 1
	}
	var res results
	var err error
	if o.in != "" {
		res, err = read(strings.Split(o.in, ","))
	} else {
		res, err = all(ctx, o)
	}
	if err != nil && len(res.Clusters) == 0 {
		return err
	}
	if o.raw != "" {
		text, jsonErr := json.MarshalIndent(res, "", " ")
		err = errors.Join(err, jsonErr, os.WriteFile(o.raw, text, 0o644))
	}
	if o.out == "" {
		_, writeErr := os.Stdout.Write(markdown(res))
		return errors.Join(err, writeErr)
	}
	return errors.Join(err,
		os.WriteFile(filepath.Join(o.out, "clients.md"), markdown(res), 0o644),
		writePlots(filepath.Join(o.out, "clients.svg"), res))
}

// results are of one run, or of several that were put together.
type results struct {
	Go, Load string
	Cores    int
	Clusters map[string]*clusterResults
}

// clusterResults are of one cluster.
type clusterResults struct {
	Throughput []throughputResult
	Latency    []latencyResult
	Isolation  []isolationResult
	Storm      []stormResult
	Stalls     *stallResults
	Alone      *stallResults // of our clients without the others beside them
	Soak       *soakResult
}

// addStalls has s override what there was; stalls of our clients alone and those of
// clients side by side stay beside each other.
func (c *clusterResults) addStalls(s *stallResults) {
	switch before := c.Stalls; {
	case s == nil:
	case before == nil || before.onlyOurs() == s.onlyOurs():
		c.Stalls = s
	case s.onlyOurs():
		c.Alone = s
	default:
		c.Stalls, c.Alone = s, before
	}
}

// onlyOurs says that nobody else's clients are in s.
func (s *stallResults) onlyOurs() bool {
	return !slices.ContainsFunc(s.Clients, func(name string) bool {
		return !slices.ContainsFunc(ours(), func(c client) bool { return c.Name == name })
	})
}

// read puts the results of several runs together; the later ones override.
func read(files []string) (results, error) {
	var all results
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return all, err
		}
		var r results
		if err := json.Unmarshal(text, &r); err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
		if all.Clusters == nil {
			all = r
			continue
		}
		all.Load += ", " + r.Load // when each began
		for cluster, c := range r.Clusters {
			into := all.cluster(cluster)
			if c.Throughput != nil {
				into.Throughput = c.Throughput
			}
			if c.Latency != nil {
				into.Latency = c.Latency
			}
			if c.Isolation != nil {
				into.Isolation = c.Isolation
			}
			if c.Storm != nil {
				into.Storm = c.Storm
			}
			if c.Alone != nil {
				into.Alone = c.Alone
			}
			into.addStalls(c.Stalls)
			if c.Soak != nil {
				into.Soak = c.Soak
			}
		}
	}
	return all, nil
}

func (r *results) cluster(name string) *clusterResults {
	if r.Clusters == nil {
		r.Clusters = make(map[string]*clusterResults)
	}
	if r.Clusters[name] == nil {
		r.Clusters[name] = &clusterResults{}
	}
	return r.Clusters[name]
}

// all measures what o says. Where it returns an error the results have what there
// was until then.
func all(ctx context.Context, o options) (results, error) {
	res := results{Go: runtime.Version(), Cores: runtime.NumCPU()}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		res.Load = strings.Fields(string(load))[0]
	}
	picked, err := pick(o.clients)
	if err != nil {
		return res, err
	}
	for _, cluster := range o.clusters {
		into := res.cluster(cluster)
		for _, what := range o.what {
			fmt.Fprintf(os.Stderr, "%s on %s\n", what, cluster)
			switch what {
			case "throughput":
				err = alone(cluster, func(addrs []string, bed kafkatest.Testbed) (err error) {
					into.Throughput, err = throughput(ctx, o, picked, addrs, bed)
					return err
				})
			case "latency":
				err = alone(cluster, func(addrs []string, bed kafkatest.Testbed) (err error) {
					into.Latency, err = latency(ctx, o, picked, addrs, bed)
					return err
				})
			case "isolation":
				err = on(cluster, 1, func(bed kafkatest.Testbed) (err error) {
					into.Isolation, err = isolation(ctx, o, picked, bed)
					return err
				})
			case "storm":
				into.Storm, err = storm(ctx, cluster, picked)
			case "stall":
				err = together(cluster, func(bed kafkatest.Testbed) (err error) {
					into.Stalls, err = stalls(ctx, o, cluster, picked, bed)
					return err
				})
			case "soak":
				err = together(cluster, func(bed kafkatest.Testbed) (err error) {
					into.Soak, err = soak(ctx, o, picked[0], bed)
					return err
				})
			default:
				err = fmt.Errorf("%q cannot be measured", what)
			}
			if err != nil {
				return res, fmt.Errorf("%s on %s: %w", what, cluster, err)
			}
		}
	}
	return res, nil
}

// together has a cluster that can be disturbed.
func together(cluster string, do func(kafkatest.Testbed) error) error {
	return on(cluster, 3, do)
}

// on has a cluster whose partitions have so many replicas, where it has any.
func on(cluster string, replicas int, do func(kafkatest.Testbed) error) error {
	var bed kafkatest.Testbed
	var err error
	switch cluster {
	case "kfake":
		bed, err = kafkatest.Start(kafkatest.Config{})
	case "kafka":
		bed, err = kafkatest.StartKafka(context.Background(), kafkatest.KafkaConfig{Replicas: replicas, Logf: report})
	default:
		err = fmt.Errorf("%q is no cluster", cluster)
	}
	if err != nil {
		return err
	}
	defer bed.Close()
	return do(bed)
}

// alone has a cluster whose CPU time nobody takes for the client's.
func alone(cluster string, do func(addrs []string, bed kafkatest.Testbed) error) error {
	if cluster != "kfake" {
		return on(cluster, 1, func(bed kafkatest.Testbed) error { return do(bed.Addrs(), bed) })
	}
	p, err := start(task{Kind: "serve"})
	if err != nil {
		return err
	}
	defer p.end()
	var addrs []string
	if err := p.result(&addrs); err != nil {
		return err
	}
	return do(addrs, nil)
}

func report(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }

// stallResults are in the order of Clients.
type stallResults struct {
	Clients []string
	Trials  []stall.Trial
	Tallies []stall.Tally
}

func stalls(ctx context.Context, o options, cluster string, picked []client, bed kafkatest.Testbed) (*stallResults, error) {
	res := &stallResults{}
	cfg := stall.Config{Bed: bed, Topic: "stalls", Rounds: o.trial}
	if cluster == "kfake" {
		cfg.Rounds = (o.trial + 1) / 2
	}
	for name := range strings.SplitSeq(o.faults, ",") {
		f, err := stall.FaultByName(name)
		if err != nil {
			return nil, err
		}
		if f.Possible(bed) == nil {
			cfg.Faults = append(cfg.Faults, f)
		}
	}
	for _, c := range picked {
		res.Clients = append(res.Clients, c.Name)
		cfg.Clients = append(cfg.Clients, c.Client)
	}
	cfg.Report = func(t stall.Trial) {
		line := fmt.Sprintf("%d %-10s floor %4d", t.Round+1, t.Fault.Name, t.Floor.Slowest.Milliseconds())
		for i, s := range t.Stalls {
			line += fmt.Sprintf("; %s +%d", res.Clients[i], s.SlowestExcess.Milliseconds())
			if s.Unfinished {
				line += " AND GOES ON"
			}
		}
		report("%s", line)
	}
	r, err := stall.Run(ctx, cfg)
	res.Trials, res.Tallies = r.Trials, r.Tallies
	for i, t := range res.Tallies {
		if !t.OK() {
			report("%s: %+v", res.Clients[i], t)
		}
	}
	return res, err
}

// median returns the median, of an even number of values the higher one in the
// middle; 0 of none.
func median[T int64 | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
