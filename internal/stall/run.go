package stall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// Client is a consumer that is measured.
type Client struct {
	Name string
	// Start begins to consume all partitions of the topic, each from its oldest
	// offset, and calls receive with every record, the records of a partition one
	// after the other. stop ends that, and waits for it.
	Start func(addrs []string, topic string, partitions int, receive Receive) (stop func(), err error)
}

// Receive is what a [Client] calls with a record. It keeps neither key nor value.
type Receive func(partition int32, offset int64, key, value []byte)

// Config configures [Run].
type Config struct {
	Bed        kafkatest.Testbed
	Topic      string        // which must not exist
	Partitions int           // 0: 12
	Rounds     int           // of all faults. 0: 1
	Calm       time.Duration // before each fault, with the cluster settled. 0: 2 s
	Faults     []Fault
	Clients    []Client
	Writer     WriterConfig // Addrs, Topic and Partitions are set by Run
	// Report, where there is one, is told of each trial as it ends.
	Report func(Trial)
}

// Trial is one fault, once.
type Trial struct {
	Round  int
	Fault  Fault
	Broker int32
	Hit    []int32 // the partitions that it hits
	Floor  Stall   // of the cluster
	Stalls []Stall // of each client
}

// Stall is what a fault did to one client, or to the cluster. A gap is the longest
// time between two records of a partition, from the fault on: for the cluster, the
// time in which none became known to be in the log, to the writer or to any client.
// A client's excess is what the cluster's gap of the same partition does not account
// for.
type Stall struct {
	Slowest, Median             time.Duration // gap of the partitions hit
	SlowestExcess, MedianExcess time.Duration
	Others, OthersExcess        time.Duration // the worst of the partitions not hit
	// Unfinished says that some partition came to nothing more, for a minute.
	Unfinished bool
}

// Result is what [Run] has found.
type Result struct {
	Trials  []Trial
	Tallies []Tally // of each client
}

const (
	recovering = 60 * time.Second // for a client to come back, after Watch
	draining   = 60 * time.Second // for a client to read what is left, at the end
	stopping   = 10 * time.Second // for a client to stop; one that does not is left behind
)

// Run strikes a topic's cluster with one fault after the other while a writer
// writes it and all the clients consume it, side by side. Where it returns an
// error the result has what there was until then.
func Run(ctx context.Context, cfg Config) (res Result, err error) {
	if cfg.Partitions == 0 {
		cfg.Partitions = 12
	}
	if cfg.Calm == 0 {
		cfg.Calm = 2 * time.Second
	}
	for _, f := range cfg.Faults {
		if err := f.Possible(cfg.Bed); err != nil {
			return res, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if err := cfg.Bed.CreateTopic(cfg.Topic, int32(cfg.Partitions)); err != nil {
		return res, err
	}
	cfg.Writer.Addrs, cfg.Writer.Topic, cfg.Writer.Partitions = cfg.Bed.Addrs(), cfg.Topic, cfg.Partitions
	starting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w, err := StartWriter(starting, cfg.Writer)
	if err != nil {
		return res, err
	}
	defer w.Close()
	r := &runner{Config: cfg, writer: w}
	for _, c := range cfg.Clients {
		log := NewLog(cfg.Partitions)
		stop, err := c.Start(cfg.Bed.Addrs(), cfg.Topic, cfg.Partitions, log.Received)
		if err != nil {
			return res, fmt.Errorf("%s: %w", c.Name, err)
		}
		defer within(stopping, stop)
		r.logs = append(r.logs, log)
	}
	for round := range max(cfg.Rounds, 1) {
		for _, f := range cfg.Faults {
			broker := int32(round % len(cfg.Bed.Addrs()))
			t, err := r.trial(ctx, round, f, broker)
			if err != nil {
				return res, err
			}
			res.Trials = append(res.Trials, t)
			if cfg.Report != nil {
				cfg.Report(t)
			}
		}
	}
	w.Close()
	res.Tallies = r.drain(ctx)
	return res, ctx.Err()
}

type runner struct {
	Config
	writer *Writer
	logs   []*Log
}

func (r *runner) trial(ctx context.Context, round int, f Fault, broker int32) (Trial, error) {
	t := Trial{Round: round, Fault: f, Broker: broker}
	if err := r.Bed.Settle(r.Topic); err != nil {
		return t, err
	}
	if f.prepare != nil {
		var err error
		if broker, err = f.prepare(r.Bed, r.Topic); err != nil {
			return t, err
		}
		t.Broker = broker
	}
	if err := Pause(ctx, r.Calm); err != nil {
		return t, err
	}
	r.writer.Forget()
	for _, l := range r.logs {
		l.Forget()
	}
	leaders, err := r.Bed.Leaders(r.Topic)
	if err != nil {
		return t, err
	}
	for p, leader := range leaders {
		if f.All || leader == broker {
			t.Hit = append(t.Hit, int32(p))
		}
	}
	from := time.Now()
	err = f.disturb(ctx, r.Bed, r.Topic, broker, f.Lasts)
	if !f.apart {
		err = errors.Join(err, f.setRight(r.Bed, broker))
	}
	if err == nil {
		err = Pause(ctx, f.Watch)
	}
	var late []bool
	if err == nil {
		late = r.awaitAll(ctx, time.Now())
	}
	to := time.Now()
	if f.apart {
		err = errors.Join(err, f.setRight(r.Bed, broker))
	}
	if err != nil {
		return t, err
	}
	floors := make([]*Gaps, r.Partitions)
	for p := range floors {
		known := [][]instant{r.writer.acks[p].all()}
		for _, l := range r.logs {
			known = append(known, l.partitions[p].given.all())
		}
		floors[p] = frontier(known...)
	}
	floor := func(p int32) *Gaps { return floors[p] }
	t.Floor = evaluate(t.Hit, from, to, r.Partitions, floor, floor)
	for i, l := range r.logs {
		s := evaluate(t.Hit, from, to, r.Partitions, l.Gaps, floor)
		s.Unfinished = late[i]
		t.Stalls = append(t.Stalls, s)
	}
	return t, ctx.Err()
}

// awaitAll returns when every client has been given something of every partition
// since a time, and else says who has not.
func (r *runner) awaitAll(ctx context.Context, since time.Time) []bool {
	late := make([]bool, len(r.logs))
	deadline := since.Add(recovering)
	for i, l := range r.logs {
		for p := range int32(r.Partitions) {
			for !l.Gaps(p).Last().After(since) {
				if time.Now().After(deadline) || Pause(ctx, retryPause) != nil {
					late[i] = true
					break
				}
			}
		}
	}
	return late
}

func evaluate(hit []int32, from, to time.Time, partitions int, gaps, floor func(int32) *Gaps) Stall {
	var s Stall
	var of, excess []time.Duration
	for p := range int32(partitions) {
		g := gaps(p).Longest(from, to)
		e := g - floor(p).Longest(from, to)
		if !slices.Contains(hit, p) {
			s.Others, s.OthersExcess = max(s.Others, g), max(s.OthersExcess, e)
			continue
		}
		of, excess = append(of, g), append(excess, e)
	}
	if len(of) > 0 {
		s.Slowest, s.Median = slices.Max(of), Median(of)
		s.SlowestExcess, s.MedianExcess = slices.Max(excess), Median(excess)
	}
	return s
}

// drain waits until the clients have everything, and returns what they have.
func (r *runner) drain(ctx context.Context) []Tally {
	deadline := time.Now().Add(draining)
	var tallies []Tally
	for _, l := range r.logs {
		for l.Tally(r.writer).Lost > 0 && time.Now().Before(deadline) && Pause(ctx, retryPause) == nil {
		}
		tallies = append(tallies, l.Tally(r.writer))
	}
	return tallies
}

// within calls f, and returns when f does, or after d.
func within(d time.Duration, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// Median returns the median, of an even number of values the higher one in the
// middle.
func Median(values []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
