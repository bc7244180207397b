package consumer

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/brokers"
	"github.com/brokermap/brokermap/mapper"
)

// assignmentsAhead is how many assignments a partition may be behind.
const assignmentsAhead = 4

// partition is a worker: one partition that is consumed. One goroutine owns it,
// that of run; what others touch is said at each field.
type partition struct {
	mapper.Slot
	core     *core
	topic    string
	id       int32
	assigned chan mapper.Executor
	// chunks is filled by the fetcher that lists the partition, one at a time, when
	// there is room, and emptied by whoever delivers the records.
	chunks chan chunk
	// One of these two takes the records.
	consumer *partitionConsumer // in the partition's goroutine
	feed     *feed              // in a reader's loop
	// report takes failures that the user is to know of; it must not block.
	report func(error)

	dying     chan struct{} // closed by asyncClose
	closeOnce sync.Once
	done      chan struct{} // closed when nothing is left of it

	paused        atomic.Bool
	failing       atomic.Bool // a fetch that succeeds is news
	highWatermark atomic.Int64
	fetcher       atomic.Pointer[fetcher] // held, for others' nudges

	// The last answer of the resolver, who stores them. They may be ahead of the
	// executor that is held; its broker then rejects the fetch, and the assignment
	// that follows is on its way anyway.
	leader, epoch atomic.Int32
	// replica is whom to ask instead of the leader, -1 for nobody, until
	// replicaUntil, in nanoseconds since 1970. Stored by the fetcher and the resolver.
	replica      atomic.Int32
	replicaUntil atomic.Int64

	faults faults

	seen brokers.Leader // the client's metadata as watch saw it last; watch's

	// Of the goroutine.
	held    *fetcher
	sub     *subscription // with held; nil where nothing is fetched
	at      position      // where to go on, while sub is nil
	retries retries
	cooling *time.Timer // until when nothing is fetched after a failure
	cool    bool        // cooling runs
	ended   bool        // nothing is fetched any more, what was fetched is still delivered
}

// position is where to go on in a partition. It is owned by the partition while
// nothing is fetched for it, and by its subscription otherwise: that it is handed
// over is what keeps two executors from delivering the same records.
type position struct {
	offset  int64
	size    int32 // bytes to ask for
	strikes int   // answers in a row that offset is out of range
}

// chunk is what one fetch had for one partition.
type chunk struct {
	from    int64
	next    int64             // the offset after it
	records []byte            // complete record batches
	sets    []*sarama.Records // instead, where sarama has decoded them
	aborted []abortedTransaction
}

// empty reports whether there is nothing in it.
func (c *chunk) empty() bool { return len(c.records) == 0 && c.sets == nil }

func newPartition(c *core, topic string, id int32) *partition {
	p := &partition{
		core:     c,
		topic:    topic,
		id:       id,
		assigned: make(chan mapper.Executor, assignmentsAhead),
		chunks:   make(chan chunk, c.cfg.FetchesAhead),
		dying:    make(chan struct{}),
		done:     make(chan struct{}),
		retries:  retries{conf: c.conf},
		cooling:  time.NewTimer(0),
	}
	if !p.cooling.Stop() {
		<-p.cooling.C
	}
	p.faults.signal = make(chan struct{}, 1)
	p.replica.Store(-1)
	p.leader.Store(-1)
	p.epoch.Store(-1)
	return p
}

// String names the partition in logs.
func (p *partition) String() string { return fmt.Sprintf("%s/%d", p.topic, p.id) }

// Assignment implements mapper.Worker.
func (p *partition) Assignment() chan<- mapper.Executor { return p.assigned }

// Partition implements brokers.PartitionWorker.
func (p *partition) Partition() (string, int32) { return p.topic, p.id }

// Replica implements brokers.PartitionWorker.
func (p *partition) Replica() int32 {
	r := p.replica.Load()
	if r >= 0 && time.Now().UnixNano() >= p.replicaUntil.Load() {
		return -1
	}
	return r
}

// Resolved implements brokers.PartitionWorker.
func (p *partition) Resolved(l brokers.Leader) {
	if l.Err != nil {
		p.faults.post(fault{kind: unresolved, err: l.Err})
		return
	}
	p.leader.Store(l.ID)
	p.epoch.Store(l.Epoch)
	if p.failing.Load() {
		p.faults.post(fault{kind: resolved})
	}
}

// faultKind says what happened to a partition.
type faultKind uint8

const (
	unresolved faultKind = iota // a lookup failed
	resolved                    // one succeeded
	broken                      // the connection failed; the partition is assigned again
	refused                     // the broker says no; not to be tried again at once
	corrupt                     // what is at an offset cannot be decoded
	noted                       // to be reported, nothing more
	fatal                       // to be reported, and the end
	healthy                     // a fetch succeeded
)

type fault struct {
	kind   faultKind
	err    error
	offset int64 // of corrupt
}

// faults carries what others find out to the partition's goroutine. It never
// blocks, and does not grow: what comes again is not kept twice.
type faults struct {
	signal chan struct{}

	mu    sync.Mutex
	posts []fault
}

const mostFaults = 64

func (f *faults) post(x fault) {
	f.mu.Lock()
	switch n := len(f.posts); {
	case n > 0 && f.posts[n-1].kind == x.kind && x.kind != noted:
		f.posts[n-1] = x
	case n < mostFaults || x.kind == fatal || x.kind == corrupt:
		f.posts = append(f.posts, x)
	}
	f.mu.Unlock()
	f.nudge()
}

// nudge has the goroutine look.
func (f *faults) nudge() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}

func (f *faults) take() []fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	posts := f.posts
	f.posts = nil
	return posts
}

// asyncClose ends the partition's life. Any goroutine may call it, repeatedly.
func (p *partition) asyncClose() { p.closeOnce.Do(func() { close(p.dying) }) }

// spawn begins the partition's life.
func (p *partition) spawn() {
	p.core.mapper.OnWorkerSpawned(p)
	go p.run()
}

// run is the partition's life. Its last act is to let go of the executor, so that
// the mapper may stop it, and to leave its place to another one.
func (p *partition) run() {
	defer close(p.done)
	for !p.ended || !p.delivered() {
		c, alive := p.wait(nil)
		if !alive {
			break
		}
		if !c.empty() {
			p.nudge() // it may have been left out
			p.consumer.deliver(c)
		}
	}
	p.asyncClose()
	p.detach()
	p.cooling.Stop()
	p.core.remove(p)
	if p.consumer != nil {
		p.consumer.finish()
	}
}

// wait waits until something is to be done, and does it where that is the
// partition's own affair. With deliver, which the user takes, it returns when it
// was taken, or when it is to be tried again, which taken says. Without, it returns
// with a chunk, or an empty one. It returns false when the life is over.
func (p *partition) wait(d *delivery) (c chunk, alive bool) {
	var chunks chan chunk
	var messages chan<- *sarama.ConsumerMessage
	var message *sarama.ConsumerMessage
	var errs chan<- *sarama.ConsumerError
	var consumerErr *sarama.ConsumerError
	if p.consumer != nil {
		if d != nil {
			messages, message = p.consumer.messages, d.message
		} else {
			chunks = p.chunks
		}
		if unread := p.consumer.unread; len(unread) > 0 {
			errs, consumerErr = p.consumer.errors, unread[0]
		}
	}
	select {
	case <-p.dying:
		return chunk{}, false
	case e := <-p.assigned:
		p.assign(e.(*fetcher))
	case <-p.faults.signal:
		for _, f := range p.faults.take() {
			if !p.handle(f) {
				p.end()
			}
		}
	case <-p.cooling.C:
		p.cool = false
		p.attach()
	case errs <- consumerErr:
		p.consumer.unread = p.consumer.unread[1:]
	case messages <- message:
		d.taken = true
	case c = <-chunks:
	}
	return c, true
}

// delivery is a message on its way to the user.
type delivery struct {
	message *sarama.ConsumerMessage
	taken   bool
}

// assign takes an executor that the mapper has sent.
func (p *partition) assign(next *fetcher) {
	if next == p.held && p.sub != nil && p.held.renew(p, p.sub, p.epoch.Load()) {
		return // a confirmation that changes nothing
	}
	p.detach()
	p.held = next
	p.fetcher.Store(next)
	p.attach()
}

// attach has the partition fetched, where there is somebody to do it.
func (p *partition) attach() {
	if p.held == nil || p.sub != nil || p.cool || p.ended {
		return
	}
	p.sub = p.held.subscribe(p, p.at, p.epoch.Load())
}

// detach takes the position back. What was fetched for it before stays in chunks.
func (p *partition) detach() {
	if p.sub != nil {
		p.at = p.held.release(p, p.sub)
		p.sub = nil
	}
}

// nudge says that the partition may be fetched again. Any goroutine may call it.
func (p *partition) nudge() {
	if f := p.fetcher.Load(); f != nil {
		f.nudge()
	}
}

// resume has the partition fetched again. Any goroutine may call it.
func (p *partition) resume() {
	if p.paused.Swap(false) {
		p.nudge()
	}
}

// end is asyncClose after what was fetched is delivered.
func (p *partition) end() {
	p.ended = true
	p.detach()
}

// delivered says that nothing waits for being delivered.
func (p *partition) delivered() bool {
	if p.feed != nil {
		return p.feed.reader.idle(p.feed)
	}
	return len(p.chunks) == 0
}

// handle does what a fault asks for. It returns false for the end of the life.
func (p *partition) handle(f fault) bool {
	now := time.Now()
	switch f.kind {
	case healthy:
		p.retries.succeeded()
		p.failing.Store(false)
	case resolved:
		p.retries.resolved()
	case noted:
		p.report(f.err)
	case fatal:
		p.report(f.err)
		return false
	case unresolved:
		if forbidden(f.err) {
			p.report(f.err)
			return false
		}
		p.failing.Store(true)
		if p.retries.unresolved(now) {
			return p.retry(now, f.err)
		}
	case broken:
		p.failing.Store(true)
		if p.retries.failed(now) {
			return p.retry(now, f.err)
		}
	case refused, corrupt:
		if forbidden(f.err) {
			p.report(f.err)
			return false
		}
		p.failing.Store(true)
		p.detach()
		if f.kind == corrupt {
			p.rewind(f.offset)
		}
		if p.retries.failed(now) && !p.retry(now, f.err) {
			return false
		}
		p.coolUntil(p.retries.until)
	}
	return true
}

// corrupted says that what is at an offset cannot be decoded. It is fetched again
// after a while, and with it what came after it.
func (p *partition) corrupted(err error, offset int64) {
	if !p.handle(fault{kind: corrupt, err: err, offset: offset}) {
		p.end()
	}
}

// rewind goes back to an offset that was fetched and could not be delivered.
func (p *partition) rewind(offset int64) {
	for {
		select {
		case <-p.chunks:
			continue
		default:
		}
		break
	}
	p.at.offset = offset
	if p.feed != nil {
		p.feed.reader.giveBack(p.feed)
	}
}

// retry reports a failure and begins the next attempt, or reports that there were
// enough and returns false.
func (p *partition) retry(now time.Time, err error) bool {
	p.report(err)
	if !p.retries.next(now) {
		sarama.Logger.Printf("consumer/%s/%d giving up after %d consecutive failures\n", p.topic, p.id, p.retries.count)
		p.report(sarama.ErrConsumerRetriesExhausted)
		return false
	}
	if n := p.retries.count; n%stuckRetries == 0 {
		sarama.Logger.Printf("consumer/%s/%d still retrying after %d consecutive failures\n", p.topic, p.id, n)
	}
	return true
}

// coolUntil keeps the partition from being fetched for a while.
func (p *partition) coolUntil(t time.Time) {
	p.cool = true
	p.cooling.Reset(max(time.Until(t), minBackoff))
}

// forbidden says that an error does not go away by itself.
func forbidden(err error) bool {
	return errors.Is(err, sarama.ErrTopicAuthorizationFailed)
}
