package consumer

import (
	"time"

	"github.com/IBM/sarama"
)

// partitionConsumer is a sarama.PartitionConsumer.
type partitionConsumer struct {
	*partition
	messages chan *sarama.ConsumerMessage
	errors   chan *sarama.ConsumerError

	// unread are the errors that did not fit into errors. The partition's goroutine
	// owns them; after done they are Close's.
	unread []*sarama.ConsumerError
}

// mostUnread bounds unread. An older error makes room for a newer one and is
// logged.
const mostUnread = 256

func newPartitionConsumer(c *core, topic string, id int32) *partitionConsumer {
	pc := &partitionConsumer{
		partition: newPartition(c, topic, id),
		messages:  make(chan *sarama.ConsumerMessage, c.conf.ChannelBufferSize),
		errors:    make(chan *sarama.ConsumerError, c.conf.ChannelBufferSize),
	}
	pc.consumer = pc
	pc.report = pc.sendError
	return pc
}

// sendError reports an error to the user.
func (pc *partitionConsumer) sendError(err error) {
	e := &sarama.ConsumerError{Topic: pc.topic, Partition: pc.id, Err: err}
	if !pc.core.conf.Consumer.Return.Errors {
		sarama.Logger.Println(e)
		return
	}
	if len(pc.unread) == 0 {
		select {
		case pc.errors <- e:
			return
		default:
		}
	}
	if len(pc.unread) == mostUnread {
		sarama.Logger.Println(pc.unread[0])
		pc.unread = pc.unread[1:]
	}
	pc.unread = append(pc.unread, e)
}

// deliver hands out a chunk. It takes as long as the user lets it.
func (pc *partitionConsumer) deliver(c chunk) {
	if c.sets != nil {
		pc.send(pc.legacyMessages(c.sets, c.from, c.aborted))
		return
	}
	t := newTransactions(c.aborted)
	at := c.from
	for b := c.records; len(b) > 0; {
		batch, err := openBatch(b)
		var messages []sarama.ConsumerMessage
		if err == nil {
			b = b[batch.size:]
			messages, err = pc.decode(&batch, c.from, &t)
		}
		if err != nil {
			pc.corrupted(err, at)
			return
		}
		at = max(at, batch.last()+1)
		if !pc.send(messages) {
			return
		}
	}
}

// decode returns the messages of a batch from an offset on. They share one piece
// of memory, and their keys and values that of the batch.
func (pc *partitionConsumer) decode(batch *recordBatch, from int64, t *transactions) ([]sarama.ConsumerMessage, error) {
	aborted := t.enter(batch)
	if batch.control() {
		return nil, t.leave(batch)
	}
	if aborted && pc.core.conf.Consumer.IsolationLevel == sarama.ReadCommitted {
		return nil, nil
	}
	records, err := batch.records(nil)
	if err != nil {
		return nil, err
	}
	messages := make([]sarama.ConsumerMessage, 0, records.left)
	at := timestamp(batch.maxTimestamp)
	appended := batch.attributes&attributeLogAppendTime != 0
	base, delta := timestamp(batch.baseTimestamp), int64(0)
	if !appended {
		at = base
	}
	var r rawRecord
	for records.left > 0 {
		if err := records.next(&r); err != nil {
			return nil, err
		}
		offset := batch.base + r.offsetDelta
		if offset < from {
			continue
		}
		headers, err := decodeHeaders(r.headers)
		if err != nil {
			return nil, err
		}
		if r.timestampDelta != delta && !appended { // many have that of the one before
			delta = r.timestampDelta
			at = base.Add(time.Duration(delta) * time.Millisecond)
		}
		messages = messages[:len(messages)+1]
		m := &messages[len(messages)-1]
		m.Headers, m.Timestamp = headers, at
		m.Key, m.Value, m.Topic = r.key, r.value, pc.topic
		m.Partition, m.Offset = pc.id, offset
	}
	return messages, nil
}

// send hands messages to the user. It returns false where the rest is not to be
// delivered: the life is over, or the position has changed.
func (pc *partitionConsumer) send(messages []sarama.ConsumerMessage) bool {
	select {
	case <-pc.dying:
		return false
	default:
	}
	for i := range messages {
		m := &messages[i]
		for _, interceptor := range pc.core.conf.Consumer.Interceptors {
			intercept(interceptor, m)
		}
		select {
		case pc.messages <- m:
			continue
		default:
		}
		d := delivery{message: m}
		for !d.taken {
			if _, alive := pc.wait(&d); !alive {
				return false
			}
		}
	}
	return true
}

// intercept contains an interceptor's panic, as sarama does.
func intercept(i sarama.ConsumerInterceptor, m *sarama.ConsumerMessage) {
	defer func() {
		if r := recover(); r != nil {
			sarama.Logger.Printf("Error when calling consumer interceptor: %v, %v", i, r)
		}
	}()
	i.OnConsume(m)
}

// finish says that nothing more comes.
func (pc *partitionConsumer) finish() {
	for len(pc.unread) > 0 {
		select {
		case pc.errors <- pc.unread[0]:
			pc.unread = pc.unread[1:]
			continue
		default:
		}
		break
	}
	close(pc.messages)
	close(pc.errors)
}

// AsyncClose implements sarama.PartitionConsumer.
func (pc *partitionConsumer) AsyncClose() { pc.asyncClose() }

// Close implements sarama.PartitionConsumer.
func (pc *partitionConsumer) Close() error {
	pc.asyncClose()
	var errs sarama.ConsumerErrors
	for e := range pc.errors {
		errs = append(errs, e)
	}
	<-pc.done
	errs = append(errs, pc.unread...)
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// Messages implements sarama.PartitionConsumer.
func (pc *partitionConsumer) Messages() <-chan *sarama.ConsumerMessage { return pc.messages }

// Errors implements sarama.PartitionConsumer.
func (pc *partitionConsumer) Errors() <-chan *sarama.ConsumerError { return pc.errors }

// HighWaterMarkOffset implements sarama.PartitionConsumer.
func (pc *partitionConsumer) HighWaterMarkOffset() int64 { return pc.highWatermark.Load() }

// Pause implements sarama.PartitionConsumer.
func (pc *partitionConsumer) Pause() { pc.paused.Store(true) }

// Resume implements sarama.PartitionConsumer.
func (pc *partitionConsumer) Resume() { pc.resume() }

// IsPaused implements sarama.PartitionConsumer.
func (pc *partitionConsumer) IsPaused() bool { return pc.paused.Load() }
