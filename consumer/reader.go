package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/IBM/sarama"
)

// Reader consumes many partitions in batches. Its methods may be called
// concurrently.
type Reader struct {
	core *core

	mu     sync.Mutex
	ready  []*feed // that have something, each once; their order is the order of coming
	errs   []*sarama.ConsumerError
	wake   chan struct{} // closed, and replaced, when ready or errs gets something and somebody waits
	asleep bool          // somebody waits for wake
	closed bool
}

// feed is a partition of a Reader. Whoever took it from ready owns its batches,
// until he gives it back.
type feed struct {
	*partition
	reader *Reader
	queued bool // in ready, or taken from it; reader's mu guards it

	// Of the owner.
	rest  chunk  // of which some was handed out
	whole []byte // rest's records with those that were handed out
	open  transactions
	next  int64 // the offset after what was handed out; reader's mu guards it
}

// NewReader makes a reader on a client, which it does not close. Its errors are
// those of [New].
func NewReader(client sarama.Client, cfg Config) (*Reader, error) {
	core, err := newCore(client, cfg)
	if err != nil {
		return nil, err
	}
	core.buffers = new(buffers)
	return &Reader{core: core, wake: make(chan struct{})}, nil
}

// Add consumes a partition from an offset on, which may be sarama.OffsetOldest or
// sarama.OffsetNewest. Its errors are those of sarama.Consumer's ConsumePartition.
func (r *Reader) Add(topic string, partition int32, offset int64) error {
	f := &feed{partition: newPartition(r.core, topic, partition), reader: r}
	f.feed = f
	f.report = func(err error) { r.report(topic, partition, err) }
	if err := r.core.add(f.partition, offset); err != nil {
		return err
	}
	r.mu.Lock()
	f.next = f.at.offset
	r.mu.Unlock()
	f.spawn()
	return nil
}

// Remove ends the consumption of a partition and returns the offset to go on at:
// the one after the last record that was handed out. When it returns the
// partition can be added again, here or elsewhere.
func (r *Reader) Remove(topic string, partition int32) (next int64, err error) {
	p := r.core.child(topicPartition{topic, partition})
	if p == nil {
		return 0, fmt.Errorf("consumer: %s/%d is not consumed", topic, partition)
	}
	p.asyncClose()
	<-p.done
	r.mu.Lock()
	defer r.mu.Unlock()
	return p.feed.next, nil
}

// Positions returns, for each partition that is consumed, the offset to go on at:
// the one after the last record that was handed out, and after what follows it and
// is never handed out, such as the ends of transactions.
func (r *Reader) Positions() map[string]map[int32]int64 {
	positions := make(map[string]map[int32]int64)
	r.core.each(func(p *partition) {
		if positions[p.topic] == nil {
			positions[p.topic] = make(map[int32]int64)
		}
		r.mu.Lock()
		positions[p.topic][p.id] = p.feed.next
		r.mu.Unlock()
	})
	return positions
}

// HighWaterMarks returns, for each partition that is consumed, the offset that its
// next record will have, as the last fetch that brought something knew it.
func (r *Reader) HighWaterMarks() map[string]map[int32]int64 { return r.core.highWaterMarks() }

// Pause suspends fetching from partitions that are consumed. What was fetched is
// still handed out.
func (r *Reader) Pause(topic string, partitions ...int32) {
	for _, id := range partitions {
		if p := r.core.child(topicPartition{topic, id}); p != nil {
			p.paused.Store(true)
		}
	}
}

// Resume ends what Pause began.
func (r *Reader) Resume(topic string, partitions ...int32) {
	for _, id := range partitions {
		if p := r.core.child(topicPartition{topic, id}); p != nil {
			p.resume()
		}
	}
}

// Close ends the consumption of all partitions and every loop over Batches. It
// returns when every connection is closed. The client stays open.
func (r *Reader) Close() error {
	r.core.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.rouse()
	return nil
}

// Batch is a run of records of one partition. It and everything in it is valid
// until the loop asks for the next one; what is to be kept must be copied.
type Batch struct {
	Topic         string
	Partition     int32
	Records       []Record // in the order of their offsets; at least one
	HighWaterMark int64    // the offset that the partition's next record will have
}

// Next returns the offset to go on at when the batch is processed.
func (b *Batch) Next() int64 { return b.Records[len(b.Records)-1].Offset + 1 }

// errClosed ends a loop over Batches.
var errClosed = errors.New("consumer: the reader is closed")

// Batches returns what comes, until ctx ends or the reader is closed. A pair has
// either a batch or an error: a *sarama.ConsumerError, which concerns one
// partition. As with sarama's consumer, errors are for information, and what can
// be tried again is; a partition is at its end after
// sarama.ErrOffsetOutOfRange, sarama.ErrTopicAuthorizationFailed and
// sarama.ErrConsumerRetriesExhausted.
//
// Several loops may run at the same time; each gets other batches. The batches of
// one partition go to one loop at a time, in order. A loop that is left goes on
// with the next one at the record after its last batch.
func (r *Reader) Batches(ctx context.Context) iter.Seq2[*Batch, error] {
	return func(yield func(*Batch, error) bool) {
		d := decoder{committed: r.core.conf.Consumer.IsolationLevel == sarama.ReadCommitted}
		for {
			f, consumerErr, err := r.take(ctx)
			if err != nil {
				return
			}
			if consumerErr != nil {
				if !yield(nil, consumerErr) {
					return
				}
				continue
			}
			if !r.drain(f, &d, yield) {
				return
			}
		}
	}
}

// drain hands out what f has, and gives it back. It returns false where the loop
// was left.
func (r *Reader) drain(f *feed, d *decoder, yield func(*Batch, error) bool) bool {
	if f.rest.empty() {
		select {
		case f.rest = <-f.chunks:
			f.nudge() // it may have been left out
			f.open = newTransactions(f.rest.aborted)
			f.whole = f.rest.records
		default:
		}
	}
	d.batch.Topic, d.batch.Partition = f.topic, f.id
	d.batch.HighWaterMark = f.highWatermark.Load()
	for !f.rest.empty() {
		select {
		case <-f.dying:
			return true // it is not given back: nothing more is handed out
		default:
		}
		if err := d.next(f); err != nil {
			// The partition's goroutine goes back to where it was, and gives it back.
			f.rest, f.whole = chunk{}, nil
			f.faults.post(fault{kind: corrupt, err: err, offset: f.position()})
			return true
		}
		r.mu.Lock()
		f.next = max(f.next, d.after)
		r.mu.Unlock()
		if len(d.batch.Records) == 0 {
			continue
		}
		if !yield(&d.batch, nil) {
			if f.rest.empty() {
				f.whole = nil // the batch may still be looked at
			}
			r.giveBack(f)
			return false
		}
	}
	r.core.buffers.put(f.whole)
	f.whole = nil
	r.giveBack(f)
	return true
}

func (f *feed) position() int64 {
	f.reader.mu.Lock()
	defer f.reader.mu.Unlock()
	return f.next
}

// take returns a partition that has something, which is the caller's until
// giveBack, or an error to report. It returns an error when the loop is over.
func (r *Reader) take(ctx context.Context) (*feed, *sarama.ConsumerError, error) {
	for {
		r.mu.Lock()
		if len(r.errs) > 0 {
			e := r.errs[0]
			r.errs = r.errs[1:]
			r.mu.Unlock()
			return nil, e, nil
		}
		if err := ctx.Err(); err != nil || r.closed {
			r.mu.Unlock()
			return nil, nil, errors.Join(err, errClosed)
		}
		if len(r.ready) > 0 {
			f := r.ready[0]
			r.ready = r.ready[1:]
			r.mu.Unlock()
			return f, nil, nil
		}
		r.asleep = true
		wake := r.wake
		r.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// giveBack says that the caller is done with f for now.
func (r *Reader) giveBack(f *feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.queued = false
	if !f.rest.empty() || len(f.chunks) > 0 {
		r.enqueue(f)
		return
	}
	f.faults.nudge() // it may wait for its end
}

// idle says that nobody has anything of f to hand out.
func (r *Reader) idle(f *feed) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !f.queued
}

// offer says that f has something.
func (r *Reader) offer(f *feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enqueue(f)
}

// enqueue must be called with mu held.
func (r *Reader) enqueue(f *feed) {
	if f.queued {
		return
	}
	f.queued = true
	r.ready = append(r.ready, f)
	r.rouse()
}

// rouse must be called with mu held.
func (r *Reader) rouse() {
	if r.asleep {
		r.asleep = false
		close(r.wake)
		r.wake = make(chan struct{})
	}
}

func (r *Reader) report(topic string, partition int32, err error) {
	e := &sarama.ConsumerError{Topic: topic, Partition: partition, Err: err}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.errs) == mostUnread {
		sarama.Logger.Println(r.errs[0])
		r.errs = r.errs[1:]
	}
	r.errs = append(r.errs, e)
	r.rouse()
}
