package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/mapper"
)

const (
	// fetchWait is how long a broker may park a fetch for which it has nothing.
	// A partition that comes to the executor meanwhile waits as long.
	fetchWait = 100 * time.Millisecond
	// fetchWaitShort is fetchWait of a fetch that leaves a partition out, whose
	// worker is busy and may have room any moment.
	fetchWaitShort = 5 * time.Millisecond
	// fetchPatience is when a broker that was to answer after fetchWait counts as
	// frozen.
	fetchPatience = fetchWait + 500*time.Millisecond

	fetchPartitionBytes = 1 << 20
	fetchBytes          = 32 << 20
)

// fetcher is an executor: it puts all the partitions of its workers into each of
// its Fetch requests, over one connection of its own, and hands the records out.
type fetcher struct {
	serial   int64 // for people
	broker   int32 // for people, -1 where unknown
	topic    string
	conn     *sarama.Broker
	notify   notifier
	broken   func(*sarama.Broker) // tells the resolver that conn is worth no other try
	fetched  *atomic.Int64        // counts records
	log      *console
	stopping chan struct{} // closed by Stop
	stopped  chan struct{} // closed when run has returned
	wake     chan struct{} // there may be something to fetch again

	link   *link // run's, except for interrupt
	served bool  // run's: the connection has answered a fetch

	mu            sync.Mutex
	subscriptions map[*worker]*subscription // those that are fetched for
	dead          bool                      // the connection broke after it had served; nothing is fetched any more
}

// notifier is the part of the mapper that executors call.
type notifier interface {
	TriggerReassign(mapper.Worker)
	BrokerFailed(mapper.Executor, error)
}

// position is where to go on in a partition. It is owned by the worker while
// nobody fetches for it, and by the subscription otherwise: that it is handed
// over is what keeps two executors from delivering the same records.
type position struct {
	offset int64
	// strikes counts the answers in a row that offset is out of range.
	strikes int
}

// subscription is one worker's with one fetcher, whose mu guards it. It is over
// when the fetcher does not list it any more.
type subscription struct {
	at    position
	epoch int32
}

// batch is what one fetch had for one worker: the records from an offset on.
type batch struct {
	from    int64
	batches []*sarama.RecordBatch
}

func newFetcher(conn *sarama.Broker) *fetcher {
	return &fetcher{
		conn:          conn,
		link:          newLink(conn, fetchPatience),
		stopping:      make(chan struct{}),
		stopped:       make(chan struct{}),
		wake:          make(chan struct{}, 1),
		subscriptions: make(map[*worker]*subscription),
	}
}

// String names the executor in the mapper's log.
func (f *fetcher) String() string { return fmt.Sprintf("executor #%d", f.serial) }

// BrokerConn implements mapper.Executor.
func (f *fetcher) BrokerConn() *sarama.Broker { return f.conn }

// Stop implements mapper.Executor: the goroutine has ended and the connection is
// closed when it returns. A parked fetch does not delay it.
func (f *fetcher) Stop() {
	close(f.stopping)
	f.link.interrupt()
	<-f.stopped
}

// subscribe has the worker's partition fetched from a position, in a leader
// epoch. The records go into the worker's channel until release.
func (f *fetcher) subscribe(w *worker, at position, epoch int32) *subscription {
	s := &subscription{at: at, epoch: epoch}
	f.mu.Lock()
	dead := f.dead
	if !dead {
		f.subscriptions[w] = s
	}
	f.mu.Unlock()
	if dead {
		// The failure was reported before this worker held the executor: by an
		// assignment that was resolved before, and came after.
		f.notify.TriggerReassign(w)
		return s
	}
	f.nudge()
	return s
}

// renew goes on with s in a leader epoch, and returns false where s is over.
func (f *fetcher) renew(w *worker, s *subscription, epoch int32) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscriptions[w] != s {
		return false
	}
	s.epoch = epoch
	return true
}

// release ends s and hands the position over. From its return on the fetcher
// delivers nothing to the worker: what a fetch that is under way brings for it
// is dropped.
func (f *fetcher) release(w *worker, s *subscription) position {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.subscriptions[w] == s {
		delete(f.subscriptions, w)
	}
	return s.at
}

// nudge says that there may be something to fetch.
func (f *fetcher) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fetcher) run() {
	defer close(f.stopped)
	defer f.link.close()
	for {
		select {
		case <-f.stopping:
			return
		default:
		}
		request, asked := f.request()
		if len(asked) == 0 {
			select {
			case <-f.stopping:
				return
			case <-f.wake:
			}
			continue
		}
		answer, err := f.fetch(request)
		if err != nil {
			f.fail(err)
			continue
		}
		f.served = true
		f.deliver(asked, answer)
	}
}

// asking is what one fetch asks for one worker.
type asking struct {
	worker       *worker
	subscription *subscription
	epoch        int32
}

// request makes a fetch for every worker that has room for another batch.
func (f *fetcher) request() (*sarama.FetchRequest, []asking) {
	r := &sarama.FetchRequest{
		Version:      12,
		MaxWaitTime:  int32(fetchWait.Milliseconds()),
		MinBytes:     1,
		MaxBytes:     fetchBytes,
		SessionEpoch: -1, // no fetch session
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := make([]asking, 0, len(f.subscriptions))
	for w, s := range f.subscriptions {
		if len(w.batches) == cap(w.batches) {
			r.MaxWaitTime = int32(fetchWaitShort.Milliseconds())
			continue
		}
		r.AddBlock(f.topic, w.partition, s.at.offset, fetchPartitionBytes, s.epoch)
		asked = append(asked, asking{w, s, s.epoch})
	}
	return r, asked
}

func (f *fetcher) fetch(r *sarama.FetchRequest) (*sarama.FetchResponse, error) {
	if err := f.link.connect(); err != nil {
		return nil, err
	}
	answer, err := f.conn.Fetch(r)
	if err == nil && answer.ErrorCode != int16(sarama.ErrNoError) {
		err = sarama.KError(answer.ErrorCode)
	}
	return answer, err
}

// fail ends all subscriptions and reports the connection broken. One that was
// never any good is kept: a worker that is assigned to it again has it tried
// again, at the pace of the mapper's backoff. One that has served is done with,
// the resolver gives out another in its place.
func (f *fetcher) fail(err error) {
	select {
	case <-f.stopping: // that was Stop's interrupt
		return
	default:
	}
	f.link.disconnect()
	f.mu.Lock()
	f.dead = f.served
	clear(f.subscriptions)
	f.mu.Unlock()
	if f.served {
		f.broken(f.conn)
	}
	f.notify.BrokerFailed(f, err) // the mapper logs it
}

func (f *fetcher) deliver(asked []asking, answer *sarama.FetchResponse) {
	var rejected, outOfRange []asking
	f.mu.Lock()
	for _, a := range asked {
		w, s := a.worker, a.subscription
		if f.subscriptions[w] != s {
			continue // released meanwhile
		}
		block := answer.GetBlock(f.topic, w.partition)
		switch {
		case block == nil: // it did not fit into fetchBytes
		case block.Err == sarama.ErrNoError:
			s.at.strikes = 0
			if b, next := unpack(block, s.at.offset); next > s.at.offset {
				s.at.offset = next
				w.batches <- b // there is room: only this fetcher fills it, and request has looked
				f.fetched.Add(int64(b.len()))
			}
		case stale(block.Err) && s.epoch != a.epoch: // renewed since it was asked
		case block.Err == sarama.ErrOffsetOutOfRange && s.at.strikes >= confirmations:
			outOfRange = append(outOfRange, a)
		default:
			if block.Err == sarama.ErrOffsetOutOfRange {
				s.at.strikes++
			}
			delete(f.subscriptions, w)
			rejected = append(rejected, a)
			f.log.verbose("%v of broker %d rejects partition %d: %v", f, f.broker, w.partition, block.Err)
		}
	}
	f.mu.Unlock()
	for _, a := range rejected {
		f.notify.TriggerReassign(a.worker)
	}
	if len(outOfRange) > 0 {
		f.rewind(outOfRange)
	}
}

// stale says that the broker and whoever asked it know of different leader
// epochs.
func stale(e sarama.KError) bool {
	return e == sarama.ErrFencedLeaderEpoch || e == sarama.ErrUnknownLeaderEpoch
}

// confirmations is how often metadata must have sent a worker back to a broker
// that calls its offset out of range. A broker that is no longer, or not yet,
// the leader says so too for some moments.
const confirmations = 3

// rewind goes on with the oldest record there is.
func (f *fetcher) rewind(asked []asking) {
	r := sarama.NewOffsetRequest(sarama.V4_0_0_0)
	for _, a := range asked {
		r.AddBlock(f.topic, a.worker.partition, sarama.OffsetOldest, 1)
	}
	answer, err := f.conn.GetAvailableOffsets(r)
	if err != nil {
		f.fail(err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range asked {
		w, s := a.worker, a.subscription
		if f.subscriptions[w] != s {
			continue
		}
		block := answer.GetBlock(f.topic, w.partition)
		if block == nil || block.Err != sarama.ErrNoError {
			delete(f.subscriptions, w)
			f.notify.TriggerReassign(w)
			continue
		}
		f.log.line("warning", "partition %d: offset %d is out of range, going on at the oldest, %d", w.partition, s.at.offset, block.Offset)
		s.at = position{offset: block.Offset}
	}
}

// unpack returns a block's records from an offset on, and the offset after them.
func unpack(block *sarama.FetchResponseBlock, from int64) (batch, int64) {
	b, next := batch{from: from}, from
	for _, set := range block.RecordsSet {
		rb := set.RecordBatch
		if rb == nil || rb.PartialTrailingRecord {
			continue
		}
		if !rb.Control {
			b.batches = append(b.batches, rb)
		}
		next = max(next, rb.LastOffset()+1)
	}
	return b, next
}

// each calls visit with the records and their offsets, in order.
func (b batch) each(visit func(offset int64, r *sarama.Record)) {
	for _, rb := range b.batches {
		for _, r := range rb.Records {
			if offset := rb.FirstOffset + r.OffsetDelta; offset >= b.from {
				visit(offset, r)
			}
		}
	}
}

func (b batch) len() int {
	n := 0
	b.each(func(int64, *sarama.Record) { n++ })
	return n
}
