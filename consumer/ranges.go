package consumer

import (
	"sync"

	"github.com/IBM/sarama"
)

// ranges looks up where partitions begin and end, those of one broker in one pair
// of requests: what is asked for while a pair is on its way goes into the next one.
// A thousand partitions that are started at the same time need a few requests, not
// two thousand.
type ranges struct {
	client sarama.Client

	mu      sync.Mutex
	brokers map[int32]*rangeQueue
}

// rangeQueue is what is asked of one broker. Nobody is kept waiting for another's.
type rangeQueue struct {
	waiting []*lookup
	busy    bool // somebody asks; ranges' mu guards all of this
}

// lookup is one partition's. Who asks owns it, and then who wants it.
type lookup struct {
	topicPartition
	oldest, newest int64
	known          bool
	turn           chan bool // true: ask, for all that wait; false: it was asked for
}

// find returns the range of a partition. Where that does not work at the first
// try, the client does it in its own way, with its retries and its errors.
func (r *ranges) find(topic string, partition int32) (oldest, newest int64, err error) {
	if leader, err := r.client.Leader(topic, partition); err == nil {
		l := &lookup{topicPartition: topicPartition{topic, partition}, turn: make(chan bool, 1)}
		if r.look(leader, l); l.known {
			return l.oldest, l.newest, nil
		}
	}
	if newest, err = r.client.GetOffset(topic, partition, sarama.OffsetNewest); err != nil {
		return 0, 0, err
	}
	oldest, err = r.client.GetOffset(topic, partition, sarama.OffsetOldest)
	return oldest, newest, err
}

// look returns when the broker was asked for l.
func (r *ranges) look(broker *sarama.Broker, l *lookup) {
	r.mu.Lock()
	if r.brokers == nil {
		r.brokers = make(map[int32]*rangeQueue)
	}
	q := r.brokers[broker.ID()]
	if q == nil {
		q = new(rangeQueue)
		r.brokers[broker.ID()] = q
	}
	if q.busy {
		q.waiting = append(q.waiting, l)
		r.mu.Unlock()
		if mine := <-l.turn; !mine {
			return
		}
		r.mu.Lock()
	}
	q.busy = true
	q.waiting = append(q.waiting, l)
	round := q.waiting
	q.waiting = nil
	r.mu.Unlock()

	r.ask(broker, round)
	for _, other := range round[:len(round)-1] {
		other.turn <- false
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	next := q.waiting[0]
	q.waiting = q.waiting[1:]
	next.turn <- true
}

// ask fills in the lookups of a round, as far as the broker leads the partitions.
func (r *ranges) ask(broker *sarama.Broker, round []*lookup) {
	list := func(at int64) *sarama.OffsetResponse {
		request := sarama.NewOffsetRequest(r.client.Config().Version)
		for _, l := range round {
			request.AddBlock(l.topic, l.partition, at, 1)
		}
		response, err := broker.GetAvailableOffsets(request)
		if err != nil {
			return nil // the client will see to its connection
		}
		return response
	}
	var newest *sarama.OffsetResponse
	var asking sync.WaitGroup
	asking.Go(func() { newest = list(sarama.OffsetNewest) })
	oldest := list(sarama.OffsetOldest)
	asking.Wait()
	if oldest == nil || newest == nil {
		return
	}
	for _, l := range round {
		from, okFrom := listed(oldest, l.topic, l.partition)
		to, okTo := listed(newest, l.topic, l.partition)
		l.oldest, l.newest, l.known = from, to, okFrom && okTo
	}
}

// listed returns the one offset that a response has for a partition.
func listed(r *sarama.OffsetResponse, topic string, partition int32) (int64, bool) {
	b := r.GetBlock(topic, partition)
	if b == nil || b.Err != sarama.ErrNoError || len(b.Offsets) != 1 {
		return 0, false
	}
	return b.Offsets[0], true
}
