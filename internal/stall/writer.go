package stall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// WriterConfig configures a [Writer].
type WriterConfig struct {
	Addrs      []string // of all brokers, host:port
	Topic      string
	Partitions int           // of the topic, which exists
	Tick       time.Duration // between two batches of a partition. 0: 25 ms
	Batch      int           // records in a batch. 0: 5
	Size       int           // of a record's value, bytes. 0: 100; at least 16
}

// Writer writes numbered records to each partition of a topic, with acks=all.
//
// It is as close to the cluster as one can be: every partition has a connection
// to its leader of its own, every broker is asked for metadata every 25 ms, and a
// connection is dropped the moment that some broker names a newer leader. So for
// as long as it gets nothing acknowledged, the cluster takes nothing.
//
// It is idempotent, with one batch of a partition in flight, which is sent again
// until it is acknowledged: each partition's log holds 0, 1, 2, ... in this order.
type Writer struct {
	cfg     WriterConfig
	cancel  context.CancelFunc
	working sync.WaitGroup
	lanes   []*lane
	acks    []instants // by partition
}

// lane is one partition's.
type lane struct {
	partition    int32
	leader       atomic.Pointer[leader] // nil until it is known
	acknowledged atomic.Int64           // records

	mu   sync.Mutex // the watcher closes what run uses
	wire *wire
	to   *leader // of wire
}

type leader struct {
	addr  string
	epoch int32
}

const (
	watchEvery     = 25 * time.Millisecond
	watchPatience  = 500 * time.Millisecond
	dialPatience   = 200 * time.Millisecond
	answerPatience = 4 * time.Second
	retryPause     = 5 * time.Millisecond
)

// StartWriter starts a writer, and returns when it has written to every partition.
// Who calls it must call [Writer.Close].
func StartWriter(ctx context.Context, cfg WriterConfig) (*Writer, error) {
	if cfg.Tick == 0 {
		cfg.Tick = 25 * time.Millisecond
	}
	if cfg.Batch == 0 {
		cfg.Batch = 5
	}
	if cfg.Size == 0 {
		cfg.Size = 100
	}
	if cfg.Partitions < 1 || cfg.Tick < 0 || cfg.Batch < 0 || cfg.Size < headSize {
		return nil, fmt.Errorf("stall: %d partitions, a tick of %v, %d records of %d bytes: all must be positive, and records of %d bytes or more",
			cfg.Partitions, cfg.Tick, cfg.Batch, cfg.Size, headSize)
	}
	running, cancel := context.WithCancel(context.Background())
	w := &Writer{cfg: cfg, cancel: cancel, acks: make([]instants, cfg.Partitions)}
	for p := range cfg.Partitions {
		w.lanes = append(w.lanes, &lane{partition: int32(p)})
	}
	for _, addr := range cfg.Addrs {
		w.working.Go(func() { w.watch(running, addr) })
	}
	for _, l := range w.lanes {
		w.working.Go(func() { w.write(running, l) })
	}
	for {
		var silent []int32
		for _, l := range w.lanes {
			if l.acknowledged.Load() == 0 {
				silent = append(silent, l.partition)
			}
		}
		if len(silent) == 0 {
			return w, nil
		}
		select {
		case <-ctx.Done():
			w.Close()
			return nil, fmt.Errorf("stall: nothing was written to partitions %v of %s: %w", silent, cfg.Topic, ctx.Err())
		case <-time.After(retryPause):
		}
	}
}

// Close stops writing. What was not acknowledged may be in the log.
func (w *Writer) Close() {
	w.cancel()
	for _, l := range w.lanes {
		l.hangUp()
	}
	w.working.Wait()
}

// Acknowledged returns how many records of a partition are in the log for sure.
func (w *Writer) Acknowledged(partition int32) int64 {
	return w.lanes[partition].acknowledged.Load()
}

// Forget forgets when records were acknowledged.
func (w *Writer) Forget() {
	for p := range w.acks {
		w.acks[p].forget()
	}
}

// watch asks the broker at addr who leads, again and again.
func (w *Writer) watch(ctx context.Context, addr string) {
	var c *wire
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	for Pause(ctx, watchEvery) == nil {
		var err error
		if c == nil {
			if c, err = dial(ctx, addr, watchPatience); err != nil {
				c = nil
				continue
			}
		}
		r := kmsg.NewPtrMetadataRequest()
		r.Version = 9
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &w.cfg.Topic
		r.Topics = append(r.Topics, t)
		answer, err := c.request(r, watchPatience)
		if err != nil {
			c.close()
			c = nil
			continue
		}
		w.adopt(answer.(*kmsg.MetadataResponse))
	}
}

// adopt takes in who leads by the word of some broker. An older epoch is that of
// one who has not heard, or was away.
func (w *Writer) adopt(m *kmsg.MetadataResponse) {
	addrs := make(map[int32]string)
	for _, b := range m.Brokers {
		addrs[b.NodeID] = fmt.Sprintf("%s:%d", b.Host, b.Port)
	}
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			addr, ok := addrs[p.Leader]
			if !ok || p.Partition < 0 || int(p.Partition) >= len(w.lanes) {
				continue
			}
			l, now := w.lanes[p.Partition], &leader{addr, p.LeaderEpoch}
			for {
				before := l.leader.Load()
				if before != nil && (before.epoch > now.epoch || *before == *now) {
					break
				}
				if l.leader.CompareAndSwap(before, now) {
					l.hangUp()
					break
				}
			}
		}
	}
}

// hangUp closes l's connection where it is not to the present leader.
func (l *lane) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire != nil {
		l.wire.close()
	}
}

// connect returns l's connection to its leader.
func (l *lane) connect(ctx context.Context) (*wire, error) {
	to := l.leader.Load()
	l.mu.Lock()
	c, same := l.wire, l.to == to
	l.mu.Unlock()
	if c != nil && same {
		return c, nil
	}
	if c != nil {
		c.close()
	}
	if to == nil {
		return nil, kerr.LeaderNotAvailable
	}
	c, err := dial(ctx, to.addr, dialPatience)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wire, l.to = c, to
	if l.leader.Load() != to && c != nil { // the watcher came too early
		c.close()
	}
	return c, err
}

// forget closes l's connection, which broke.
func (l *lane) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wire != nil {
		l.wire.close()
		l.wire = nil
	}
}

// lostTrack are the errors of a cluster that has lost what it acknowledged: the
// readers will tell. Then the partition gets a new producer.
var lostTrack = []error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch}

// write writes batch after batch to l's partition.
func (w *Writer) write(ctx context.Context, l *lane) {
	defer l.forget()
	var (
		id       *kmsg.InitProducerIDResponse
		first    int64 // the records written under id are numbered from here
		sequence int64
	)
	next := time.Now()
	for {
		next = next.Add(w.cfg.Tick)
		if late := time.Since(next); late > 0 {
			next = next.Add(late)
		} else if Pause(ctx, -late) != nil {
			return
		}
		now := time.Now()
		records := make([]kmsg.Record, w.cfg.Batch)
		for i := range records {
			n := sequence + int64(i)
			records[i] = kmsg.Record{Key: Key(l.partition, n), Value: value(n, now, w.cfg.Size)}
		}
		for {
			if ctx.Err() != nil {
				return
			}
			c, err := l.connect(ctx)
			if err == nil && id == nil {
				if id, err = initProducer(c); err == nil {
					first = sequence
				}
			}
			if err == nil {
				batch := encode(producerOf{id.ProducerID, id.ProducerEpoch, int32(sequence - first)}, records, now)
				err = w.produce(c, l.partition, batch)
			}
			if err == nil || errors.Is(err, kerr.DuplicateSequenceNumber) {
				break
			}
			if slices.Contains(lostTrack, err) {
				id = nil
			} else if !kerr.IsRetriable(err) {
				l.forget()
			}
			if Pause(ctx, retryPause) != nil {
				return
			}
		}
		sequence += int64(w.cfg.Batch)
		l.acknowledged.Store(sequence)
		w.acks[l.partition].mark(sequence, time.Now())
	}
}

// initProducer has a broker give out the identity of an idempotent producer.
func initProducer(c *wire) (*kmsg.InitProducerIDResponse, error) {
	r := kmsg.NewPtrInitProducerIDRequest()
	r.Version = 4
	r.TransactionTimeoutMillis = 60_000
	answer, err := c.request(r, answerPatience)
	if err != nil {
		return nil, err
	}
	id := answer.(*kmsg.InitProducerIDResponse)
	if err := kerr.ErrorForCode(id.ErrorCode); err != nil {
		return nil, err
	}
	return id, nil
}

// produce returns nil when the batch is in the log.
func (w *Writer) produce(c *wire, partition int32, batch []byte) error {
	r := kmsg.NewPtrProduceRequest()
	r.Version = 9
	r.Acks = -1
	r.TimeoutMillis = 3000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = w.cfg.Topic, append(t.Partitions, p)
	r.Topics = append(r.Topics, t)
	answer, err := c.request(r, answerPatience)
	if err != nil {
		return err
	}
	for _, t := range answer.(*kmsg.ProduceResponse).Topics {
		for _, p := range t.Partitions {
			return kerr.ErrorForCode(p.ErrorCode)
		}
	}
	return fmt.Errorf("the answer leaves partition %d out", partition)
}

// headSize is how much of a value says something.
const headSize = 16

// value makes the value of a record: its sequence number, when it was made, and
// zeros.
func value(sequence int64, at time.Time, size int) []byte {
	v := make([]byte, size)
	binary.BigEndian.PutUint64(v, uint64(sequence))
	binary.BigEndian.PutUint64(v[8:], uint64(at.UnixNano()))
	return v
}

// Parse takes a record of a [Writer] apart: its number in the partition, from 0,
// and when it was made.
func Parse(value []byte) (sequence int64, made time.Time, err error) {
	if len(value) < headSize {
		return 0, time.Time{}, fmt.Errorf("stall: a value of %d bytes is not the writer's", len(value))
	}
	return int64(binary.BigEndian.Uint64(value)), time.Unix(0, int64(binary.BigEndian.Uint64(value[8:]))), nil
}

// Key returns the key of the record with a sequence number.
func Key(partition int32, sequence int64) []byte {
	return fmt.Appendf(nil, "p%d-k%d", partition, sequence%8)
}

// Pause waits for d, or returns the error of ctx when that ends first.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
