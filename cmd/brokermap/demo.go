package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// What a run may take beyond -duration, at most.
const (
	setupTimeout    = 15 * time.Second
	reachTimeout    = 4 * time.Second  // of that, until a broker has said anything
	settleTimeout   = 3 * time.Second  // for the batches under way at the end
	drainTimeout    = 10 * time.Second // for the records that were acknowledged
	shutdownTimeout = 5 * time.Second
)

// demo is one run.
type demo struct {
	options options
	console *console
	table   *table // nil where there are log lines

	// From prepare on.
	cluster  *kafkatest.Cluster // nil where it is somebody else's
	addrs    map[int32]string   // of the brokers, by id
	metadata *metadata          // the producer's
	made     bool               // the topic was created

	producerID    int64
	producerEpoch int16

	// From perform on.
	timeline *timeline
	check    *checker
	consumer *consumption
}

// runDemo runs the demo and returns the exit status.
func runDemo(ctx context.Context, o options, stdout, stderr io.Writer) int {
	d := &demo{options: o, console: &console{out: stdout, start: time.Now(), wordy: o.verbose}}
	switch {
	case o.json:
		d.console.out = stderr
	case !o.verbose && isTerminal(stdout):
		d.console.quiet = true
		d.table = &table{out: stdout}
	}
	complain := func(err error) {
		_, _ = fmt.Fprintf(stderr, "brokermap demo: %s\n", oneLine(err))
	}
	if err := d.prepare(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted before it began")
		}
		complain(errors.Join(err, d.cleanUp()))
		return 2
	}
	s, err := d.perform(ctx)
	err = errors.Join(err, d.cleanUp())
	if o.json {
		err = errors.Join(err, s.writeJSON(stdout))
	} else {
		err = errors.Join(err, s.writeText(stdout))
	}
	if err != nil {
		complain(err)
	}
	if err != nil || !s.ok() {
		return 1
	}
	return 0
}

// prepare has a cluster and a topic ready. Whatever it returns, cleanUp must
// follow.
func (d *demo) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	seeds := d.options.brokers
	if len(seeds) == 0 {
		var err error
		if d.cluster, err = kafkatest.Start(kafkatest.Config{}); err != nil {
			return fmt.Errorf("the embedded cluster does not start: %w", err)
		}
		seeds = d.cluster.Addrs()
	}
	d.metadata = newMetadata(d.options.topic, seeds)
	v, err := reach(ctx, d.metadata)
	if err != nil {
		return fmt.Errorf("no broker answers at %s: %w", strings.Join(seeds, ", "), err)
	}
	d.addrs = v.Brokers
	d.made, err = createTopic(ctx, d.metadata, v, d.options.partitions)
	if err != nil {
		return fmt.Errorf("topic %q: %w", d.options.topic, err)
	}
	if d.cluster != nil {
		if err := d.cluster.SpreadLeaders(d.options.topic); err != nil {
			return err
		}
	}
	d.producerID, d.producerEpoch, err = newProducerID(ctx, v)
	return err
}

// reach returns the first answer of a cluster. One that refuses is asked once, one
// that is silent until reachTimeout.
func reach(ctx context.Context, m *metadata) (*clusterView, error) {
	for begun := time.Now(); ; {
		v, err := m.ask(ctx)
		if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil || time.Since(begun) > reachTimeout {
			return v, err
		}
	}
}

// cleanUp leaves nothing behind of what prepare made.
func (d *demo) cleanUp() error {
	var err error
	if d.made && d.cluster == nil {
		ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
		defer cancel()
		if err = removeTopic(ctx, d.metadata); err != nil {
			err = fmt.Errorf("topic %q is left behind: %w", d.options.topic, err)
		}
	}
	if d.metadata != nil {
		d.metadata.close()
	}
	if d.cluster != nil {
		d.cluster.Close()
	}
	return err
}

// perform produces and consumes until the duration is over or ctx ends, and until
// everything has stopped. Its error is what went wrong beyond what the summary
// counts.
func (d *demo) perform(ctx context.Context) (*summary, error) {
	o := d.options
	start := time.Now()
	d.console.start = start
	d.timeline = newTimeline(start, o.partitions)
	d.check = newChecker(d.timeline, o.partitions)
	d.console.line("cluster", "%s", d.title())

	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	var err error
	if d.consumer, err = startConsumer(d.brokerAddrs(), o.topic, d.check, d.console, o.partitions); err != nil {
		return &summary{Faults: []faultSummary{}}, err
	}
	producing := d.startProducer()
	stopDisplay := d.startDisplay()

	var problems []error
	if d.cluster != nil {
		plan := planFaults(o.seed, o.duration, o.partitions, len(d.addrs))
		problems = append(problems, newChaos(d.cluster, o.topic, d.timeline, d.console, o.duration).run(ctx, plan))
	}
	<-ctx.Done()
	problems = append(problems, producing.finish())
	d.drain()
	stopDisplay()
	waiting := d.check.waiting()
	d.timeline.end(waiting)
	stopping, cancelStopping := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancelStopping()
	problems = append(problems, d.consumer.shutdown(stopping))
	s := d.summarize()
	problems = append(problems, d.explain(waiting)...)
	return s, errors.Join(problems...)
}

// production is a producer that runs.
type production struct {
	stop   chan struct{}
	giveUp context.CancelFunc
	done   chan error
}

func (d *demo) startProducer() production {
	ctx, cancel := context.WithCancel(context.Background())
	p := production{stop: make(chan struct{}), giveUp: cancel, done: make(chan error, 1)}
	producer := newProducer(d.metadata, d.check, d.producerID, d.producerEpoch, d.options.rate, d.options.partitions)
	go func() { p.done <- producer.run(ctx, p.stop) }()
	return p
}

// finish stops the producer and returns when it has stopped.
func (p production) finish() error {
	defer p.giveUp()
	close(p.stop)
	patience := time.NewTimer(settleTimeout)
	defer patience.Stop()
	select {
	case err := <-p.done:
		return err
	case <-patience.C:
		p.giveUp()
		return <-p.done
	}
}

// drain returns when every acknowledged record has come, or none comes any more.
func (d *demo) drain() {
	patience := time.NewTimer(drainTimeout)
	defer patience.Stop()
	for len(d.check.waiting()) > 0 {
		select {
		case <-d.check.progress:
		case <-patience.C:
			return
		}
	}
}

// startDisplay shows the run until the returned function is called.
func (d *demo) startDisplay() (stop func()) {
	every := statusEvery
	if d.table != nil {
		every = tableEvery
	}
	s := &sampler{demo: d}
	s.view() // the first sample
	show := func() {
		if v := s.view(); d.table != nil {
			d.table.draw(v)
		} else {
			d.console.line("status", "%s", v.status())
		}
	}
	quit := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				if d.table != nil { // it stays on the screen
					show()
				}
				return
			case <-tick.C:
				show()
			}
		}
	})
	return func() {
		close(quit)
		showing.Wait()
	}
}

func (d *demo) summarize() *summary {
	t := d.check.tally()
	all := d.consumer.reader.Stats()
	stats := all.Mapper
	s := &summary{
		Produced:         t.produced,
		Received:         t.received,
		Lost:             t.lost,
		Duplicated:       t.duplicated,
		OutOfOrder:       t.outOfOrder,
		ExecutorsSpawned: stats.ExecutorsSpawned,
		ExecutorsStopped: stats.ExecutorsStopped,
		Resolutions:      stats.Resolutions,
		MetadataRequests: all.MetadataRequests,
		DurationMS:       d.timeline.elapsed().Milliseconds(),
		title:            fmt.Sprintf("%s: %s", seconds(d.timeline.elapsed()), d.title()),
		resolveCalls:     stats.ResolveCalls,
	}
	s.addFaults(d.timeline.snapshot())
	s.stall, s.writerStall = d.timeline.stalls()
	return s
}

// explain returns what the summary's numbers do not say.
func (d *demo) explain(waiting []int32) []error {
	t := d.check.tally()
	var problems []error
	if len(waiting) > 0 {
		problems = append(problems, fmt.Errorf("partitions %s lack records", list(waiting, 60)))
	}
	if t.relogged > 0 {
		problems = append(problems, fmt.Errorf("%d of the duplicated records are in the log twice", t.relogged))
	}
	if t.unsettled > 0 {
		problems = append(problems, fmt.Errorf("%d records were sent, and never acknowledged", t.unsettled))
	}
	if t.foreign > 0 {
		problems = append(problems, fmt.Errorf("%d records in the topic are somebody else's", t.foreign))
	}
	return problems
}

func (d *demo) title() string {
	t := fmt.Sprintf("%d partitions of %s on %d brokers", d.options.partitions, d.options.topic, len(d.addrs))
	if d.cluster != nil {
		t += fmt.Sprintf(", seed %d", d.options.seed)
	}
	return t
}

func (d *demo) brokerAddrs() []string {
	var addrs []string
	for _, addr := range d.addrs {
		addrs = append(addrs, addr)
	}
	slices.Sort(addrs)
	return addrs
}
