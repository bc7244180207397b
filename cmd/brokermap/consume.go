package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/consumer"
	"github.com/brokermap/brokermap/internal/stall"
)

// dump is one run of consume.
type dump struct {
	options consumeOptions
	client  sarama.Client
	reader  *consumer.Reader
	ends    map[int32]int64 // where the partitions that are read end; nil where that is nowhere
	out     *bufio.Writer
	errs    io.Writer
	status  *status // nil where nobody looks
	shared  bool    // stdout is a terminal, too: records and status take turns

	printed atomic.Int64
	failed  bool // a partition ended early
}

// endPoll is how often the positions are compared with the ends: what comes last
// may be no record.
const endPoll = 50 * time.Millisecond

// runConsume prints a topic and returns the exit status.
func runConsume(ctx context.Context, o consumeOptions, stdout, stderr io.Writer) int {
	refuse := func(err error) int {
		_, _ = fmt.Fprintf(stderr, "brokermap consume: %s\n", oneLine(err))
		return 2
	}
	conf, err := o.config()
	if err != nil {
		return refuse(err)
	}
	if o.committed {
		conf.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	c := &dump{options: o, out: bufio.NewWriterSize(stdout, 64<<10), errs: stderr}
	ready := make(chan error, 1)
	go func() { ready <- c.prepare(conf) }()
	select {
	case err = <-ready:
	case <-ctx.Done(): // a client that dials cannot be interrupted, but left
		return 0
	}
	defer c.close()
	if err != nil {
		return refuse(err)
	}
	c.shared = isTerminal(stdout)
	if isTerminal(stderr) {
		c.status = newStatus(stderr, &c.printed, c.lag)
		defer c.status.end()
	}
	if err := c.run(ctx); err != nil {
		c.complain("%s", oneLine(err))
		return 1
	}
	if c.failed {
		return 1
	}
	return 0
}

// prepare makes a reader of the partitions. Whatever it returns, close must follow.
func (c *dump) prepare(conf *sarama.Config) (err error) {
	o := c.options
	if c.client, err = sarama.NewClient(o.brokers, conf); err != nil {
		return fmt.Errorf("brokers %v: %w", o.brokers, cause(err))
	}
	there, err := c.client.Partitions(o.topic)
	if err != nil {
		return fmt.Errorf("topic %s: %w", o.topic, cause(err))
	}
	partitions := o.partitions
	if len(partitions) == 0 {
		partitions = there
	}
	for _, p := range partitions {
		if !slices.Contains(there, p) {
			return fmt.Errorf("flag -partitions: topic %s has no partition %d, it has %d partitions", o.topic, p, len(there))
		}
	}
	if c.reader, err = consumer.NewReader(c.client, consumer.Config{}); err != nil {
		return err
	}
	if !o.follow {
		c.ends = make(map[int32]int64)
	}
	for _, p := range partitions {
		if err := c.add(p); err != nil {
			return fmt.Errorf("partition %d: %w", p, cause(err))
		}
	}
	return nil
}

// add has the reader read a partition, unless there is nothing to read.
func (c *dump) add(partition int32) error {
	o := c.options
	from := o.offset
	if o.follow && from < 0 && o.last == 0 {
		return c.reader.Add(o.topic, partition, from)
	}
	oldest, err := c.client.GetOffset(o.topic, partition, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	end, err := c.end(partition)
	if err != nil {
		return err
	}
	switch {
	case o.last > 0:
		from = max(oldest, end-o.last)
	case from == sarama.OffsetOldest:
		from = oldest
	case from == sarama.OffsetNewest:
		from = end
	case from < oldest || from > end:
		return fmt.Errorf("flag -offset: %d is not in the partition, which has %d to %d", from, oldest, end)
	}
	if !o.follow {
		if from >= end {
			return nil
		}
		c.ends[partition] = end
	}
	return c.reader.Add(o.topic, partition, from)
}

// end returns the offset that the next record of a partition will have; of records
// that may be read, with -committed.
func (c *dump) end(partition int32) (int64, error) {
	o := c.options
	if !o.committed {
		return c.client.GetOffset(o.topic, partition, sarama.OffsetNewest)
	}
	leader, err := c.client.Leader(o.topic, partition)
	if err != nil {
		return 0, err
	}
	r := sarama.NewOffsetRequest(c.client.Config().Version)
	r.IsolationLevel = sarama.ReadCommitted
	r.AddBlock(o.topic, partition, sarama.OffsetNewest, 1)
	answer, err := leader.GetAvailableOffsets(r)
	if err != nil {
		return 0, err
	}
	block := answer.GetBlock(o.topic, partition)
	if block == nil {
		return 0, sarama.ErrIncompleteResponse
	}
	if block.Err != sarama.ErrNoError {
		return 0, block.Err
	}
	return block.Offset, nil
}

// cause returns what lies behind sarama's report that it has no brokers left.
func cause(err error) error {
	if errors.Is(err, sarama.ErrOutOfBrokers) {
		return fmt.Errorf("none of them answers as a Kafka broker should: %w", err)
	}
	return err
}

func (c *dump) close() {
	if c.reader != nil {
		_ = c.reader.Close()
	}
	if c.client != nil {
		_ = c.client.Close()
	}
}

// run prints until all is printed, or ctx ends. An error is one of the output.
func (c *dump) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.ends != nil {
		stopped := make(chan struct{})
		defer func() { <-stopped }()
		defer cancel()
		go func() {
			defer close(stopped)
			for !c.atEnd() && stall.Pause(ctx, endPoll) == nil {
			}
			cancel()
		}()
	}
	for batch, err := range c.reader.Batches(ctx) {
		if err != nil {
			c.report(err)
			continue
		}
		more, err := c.print(batch)
		if err != nil {
			return fmt.Errorf("stdout: %w", err)
		}
		if !more {
			break
		}
	}
	return nil
}

// print prints a batch, and says whether it is to go on.
func (c *dump) print(batch *consumer.Batch) (more bool, err error) {
	if c.status != nil && c.shared {
		c.status.hide()
	}
	end, bounded := c.ends[batch.Partition]
	more = true
	for i := range batch.Records {
		r := &batch.Records[i]
		if bounded && r.Offset >= end {
			break
		}
		if c.options.json {
			err = writeJSON(c.out, batch, r)
		} else {
			err = writeText(c.out, batch, r)
		}
		if err != nil {
			return false, err
		}
		if c.printed.Add(1) == c.options.count {
			more = false
			break
		}
	}
	return more, c.out.Flush()
}

// atEnd says whether the partitions are read to where they ended.
func (c *dump) atEnd() bool {
	positions := c.reader.Positions()[c.options.topic]
	for p, end := range c.ends {
		// One that is not consumed any more has failed: it has been reported.
		if next, ok := positions[p]; ok && next < end {
			return false
		}
	}
	return true
}

// lag returns how many offsets there are up to the high watermarks.
func (c *dump) lag() (lag int64) {
	marks := c.reader.HighWaterMarks()[c.options.topic]
	for p, next := range c.reader.Positions()[c.options.topic] {
		lag += max(0, marks[p]-next)
	}
	return lag
}

// report tells of what went wrong with a partition, which goes on if it can.
func (c *dump) report(err error) {
	var of *sarama.ConsumerError
	if !errors.As(err, &of) {
		c.complain("%s", oneLine(err))
		return
	}
	for _, last := range []error{sarama.ErrOffsetOutOfRange, sarama.ErrTopicAuthorizationFailed, sarama.ErrConsumerRetriesExhausted} {
		if errors.Is(of.Err, last) {
			c.failed = true
			c.complain("partition %d ends early: %s", of.Partition, oneLine(of.Err))
			return
		}
	}
	c.complain("partition %d: %s; going on", of.Partition, oneLine(of.Err))
}

func (c *dump) complain(format string, args ...any) {
	if c.status != nil {
		c.status.hide()
	}
	_, _ = fmt.Fprintf(c.errs, "brokermap consume: "+format+"\n", args...)
}
