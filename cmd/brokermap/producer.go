package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/brokers"
)

const (
	producePatience = netTimeout // for the answer to one request
	produceTick     = 5 * time.Millisecond
	// routePause is the least time between two metadata requests of the producer.
	routePause = 10 * time.Millisecond
	// batchRecords bounds a batch, where the producer has to catch up.
	batchRecords = 500
)

// producer writes numbered records to every partition at a steady rate, acks=all,
// and tells the checker what was acknowledged.
//
// It is idempotent (KIP-98): a batch carries the producer's id and the sequence
// number of its first record, and a partition has one batch in flight, which is
// sent again, the same, until it is acknowledged. So a connection that breaks
// before the answer leaves no duplicate in the log, and nothing has to be read
// back. It shares nothing with what it is there to check, but the way to ask for
// metadata and to connect: no mapper, no connection.
type producer struct {
	metadata *metadata
	check    *checker
	id       int64
	epoch    int16
	rate     float64 // records per second and partition

	// The rest is run's, but for what goes over the channels.
	streams   []*stream
	links     map[string]*produceLink // by address
	answers   chan produceAnswer
	routes    chan routeAnswer
	quit      chan struct{} // closed when run reads no more answers
	working   sync.WaitGroup
	routing   bool      // a metadata request is in flight
	routed    time.Time // when the last one began
	lastError error
}

// stream is one partition's records.
type stream struct {
	partition int32
	next      int64 // sequence number of the batch's first record
	size      int   // records in the batch, 0 where there is none
	sent      bool  // the batch is under way
	leader    string
}

// produceLink sends requests to one broker, one at a time.
type produceLink struct {
	conn     *brokers.Conn
	requests chan produceRequest // holds one
	busy     bool                // run's: a request is under way
}

type produceRequest struct {
	request *sarama.ProduceRequest
	streams []*stream
}

type produceAnswer struct {
	from   *produceLink
	to     produceRequest
	answer *sarama.ProduceResponse
	err    error
}

type routeAnswer struct {
	view *clusterView
	err  error
}

// newProducer makes a producer of rate records a second in all.
func newProducer(m *metadata, check *checker, id int64, epoch int16, rate, partitions int) *producer {
	p := &producer{
		metadata: m,
		check:    check,
		id:       id,
		epoch:    epoch,
		rate:     float64(rate) / float64(partitions),
		links:    make(map[string]*produceLink),
		answers:  make(chan produceAnswer),
		routes:   make(chan routeAnswer, 1),
		quit:     make(chan struct{}),
	}
	for i := range partitions {
		p.streams = append(p.streams, &stream{partition: int32(i)})
	}
	return p
}

// run produces until stop is closed, then settles what is under way, and gives
// that up when ctx ends. It returns the last error where nothing was ever
// acknowledged.
func (p *producer) run(ctx context.Context, stop <-chan struct{}) error {
	defer p.working.Wait()
	defer p.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tick := time.NewTicker(produceTick)
	defer tick.Stop()
	start := time.Now()
	for stopping := false; ; {
		select {
		case <-ctx.Done():
			return p.outcome()
		case <-stop:
			stopping, stop = true, nil
		case <-tick.C:
		case a := <-p.answers:
			p.settle(a)
		case a := <-p.routes:
			p.adopt(a)
		}
		if stopping && p.settled() {
			return p.outcome()
		}
		if !stopping {
			p.cut(time.Since(start))
		}
		p.dispatch(ctx)
	}
}

// outcome explains why there is nothing, where there is nothing.
func (p *producer) outcome() error {
	for _, s := range p.streams {
		if s.next > 0 {
			return nil
		}
	}
	return p.lastError
}

// close ends the links' goroutines; run waits for them.
func (p *producer) close() {
	close(p.quit)
	for _, l := range p.links {
		close(l.requests)
		l.conn.Interrupt()
	}
}

func (p *producer) settled() bool {
	for _, s := range p.streams {
		if s.size > 0 {
			return false
		}
	}
	return true
}

// cut makes batches of what is due, where none is under way. The partitions take
// turns, so that the whole is steady as well.
func (p *producer) cut(elapsed time.Duration) {
	for _, s := range p.streams {
		if s.size > 0 {
			continue
		}
		phase := float64(s.partition) / float64(len(p.streams))
		due := int64(math.Ceil(elapsed.Seconds()*p.rate - phase))
		if n := due - s.next; n > 0 {
			s.size = int(min(n, batchRecords))
			p.check.attempted(s.partition, s.next+int64(s.size))
		}
	}
}

// dispatch sends each broker one request with all the batches that wait for it.
func (p *producer) dispatch(ctx context.Context) {
	waiting := make(map[string][]*stream)
	astray := false
	for _, s := range p.streams {
		switch {
		case s.leader == "":
			astray = true
		case s.size > 0 && !s.sent:
			waiting[s.leader] = append(waiting[s.leader], s)
		}
	}
	for addr, streams := range waiting {
		l := p.linkTo(addr)
		if l.busy {
			continue
		}
		r := &sarama.ProduceRequest{Version: 9, RequiredAcks: sarama.WaitForAll, Timeout: int32(producePatience.Milliseconds())}
		for _, s := range streams {
			s.sent = true
			r.AddBatch(p.metadata.topic, s.partition, p.batch(s))
		}
		l.busy = true
		l.requests <- produceRequest{r, streams}
	}
	if astray && !p.routing && time.Since(p.routed) >= routePause {
		p.routing, p.routed = true, time.Now()
		p.working.Go(func() {
			v, err := p.metadata.ask(ctx)
			p.routes <- routeAnswer{v, err}
		})
	}
}

// batch makes the batch of s; the same one each time.
func (p *producer) batch(s *stream) *sarama.RecordBatch {
	now := time.Now()
	b := &sarama.RecordBatch{
		Version:         2,
		FirstTimestamp:  now,
		MaxTimestamp:    now,
		ProducerID:      p.id,
		ProducerEpoch:   p.epoch,
		FirstSequence:   int32(s.next & math.MaxInt32), // wraps to 0, as KIP-98 has it
		LastOffsetDelta: int32(s.size - 1),
	}
	for i := range s.size {
		r := record(s.partition, s.next+int64(i))
		r.OffsetDelta = int64(i)
		b.Records = append(b.Records, r)
	}
	return b
}

// settle takes in the answer to a request. Whatever was not acknowledged is sent
// again, once it is known where to.
func (p *producer) settle(a produceAnswer) {
	now := time.Now()
	a.from.busy = false
	for _, s := range a.to.streams {
		s.sent = false
		err := a.err
		if err == nil {
			block := a.answer.GetBlock(p.metadata.topic, s.partition)
			switch {
			case block == nil:
				err = errors.New("the answer to a produce request leaves a partition out")
			case block.Err == sarama.ErrDuplicateSequenceNumber: // an earlier attempt made it
			case block.Err != sarama.ErrNoError:
				err = block.Err
			}
		}
		if err != nil {
			s.leader = ""
			p.lastError = fmt.Errorf("partition %d: %w", s.partition, err)
			continue
		}
		s.next += int64(s.size)
		s.size = 0
		p.check.acknowledged(s.partition, s.next, now)
	}
}

// adopt takes in who leads.
func (p *producer) adopt(a routeAnswer) {
	p.routing = false
	if a.err == nil {
		a.err = a.view.topicErr
	}
	if a.err != nil {
		p.lastError = a.err
		return
	}
	for _, s := range p.streams {
		if s.leader != "" || int(s.partition) >= len(a.view.leaders) {
			continue
		}
		if l := a.view.leaders[s.partition]; l.Err != nil {
			p.lastError = fmt.Errorf("partition %d: %w", s.partition, l.Err)
		} else {
			s.leader = l.Addr
		}
	}
}

func (p *producer) linkTo(addr string) *produceLink {
	l := p.links[addr]
	if l == nil {
		l = &produceLink{
			conn:     newConn(addr),
			requests: make(chan produceRequest, 1),
		}
		p.links[addr] = l
		p.working.Go(func() { p.serve(l) })
	}
	return l
}

// serve sends l's requests until there are no more.
func (p *producer) serve(l *produceLink) {
	defer l.conn.Close()
	for r := range l.requests {
		a := produceAnswer{from: l, to: r}
		if a.err = l.conn.Connect(); a.err == nil {
			a.answer, a.err = l.conn.Broker().Produce(r.request)
		}
		if a.err != nil {
			l.conn.Disconnect()
		}
		select {
		case p.answers <- a:
		case <-p.quit:
		}
	}
}
