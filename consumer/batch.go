package consumer

import (
	"time"

	"github.com/IBM/sarama"
)

// Record is a Kafka record. Its memory is its [Batch]'s.
type Record struct {
	Offset    int64
	Timestamp int64 // of the producer or the broker, in ms since 1970; negative for none
	Key       []byte
	Value     []byte

	headers []byte // encoded, with their count; nil where decoded has them
	decoded []*sarama.RecordHeader
}

// Time returns the timestamp, the zero time where there is none.
func (r *Record) Time() time.Time { return timestamp(r.Timestamp) }

// Headers returns the headers, which are decoded by each call.
func (r *Record) Headers() []*sarama.RecordHeader {
	if r.headers == nil {
		return r.decoded
	}
	h, _ := decodeHeaders(r.headers) // was checked
	return h
}

// decoder turns a chunk into batches, all in the same memory.
type decoder struct {
	committed bool // aborted records are left out
	batch     Batch
	after     int64 // the offset after what next has decoded last, or left out
	records   []Record
	scratch   []byte // holds what was compressed
}

// next decodes the next record batch of f's rest into d.batch.
func (d *decoder) next(f *feed) error {
	d.batch.Records = nil
	if f.rest.sets != nil {
		sets := f.rest.sets
		f.rest.sets = nil
		d.legacy(f.legacyMessages(sets, f.rest.from, f.rest.aborted))
		d.after = 0
		if len(d.batch.Records) > 0 {
			d.after = d.batch.Next()
		}
		return nil
	}
	batch, err := openBatch(f.rest.records)
	if err != nil {
		return err
	}
	aborted := f.open.enter(&batch)
	switch {
	case batch.control():
		err = f.open.leave(&batch)
	case aborted && d.committed:
	default:
		err = d.decode(&batch, f.rest.from)
	}
	if err == nil {
		f.rest.records = f.rest.records[batch.size:]
		d.after = batch.last() + 1
	}
	return err
}

func (d *decoder) decode(batch *recordBatch, from int64) error {
	in, err := batch.records(d.scratch)
	if err != nil {
		return err
	}
	if batch.codec() != sarama.CompressionNone {
		d.scratch = in.rest
	}
	if cap(d.records) < in.left {
		d.records = make([]Record, in.left)
	}
	all := d.records[:in.left]
	appended := batch.attributes&attributeLogAppendTime != 0
	n := 0
	var r rawRecord
	for in.left > 0 {
		if err := in.next(&r); err != nil {
			return err
		}
		offset := batch.base + r.offsetDelta
		if offset < from {
			continue
		}
		to := &all[n]
		n++
		to.Offset = offset
		if to.Timestamp = batch.maxTimestamp; !appended {
			to.Timestamp = batch.baseTimestamp + r.timestampDelta
		}
		to.Key, to.Value, to.headers = r.key, r.value, r.headers
		if r.headers[0] != 0 {
			if _, err := decodeHeaders(r.headers); err != nil {
				return err
			}
		}
	}
	d.batch.Records = all[:n]
	return nil
}

func (d *decoder) legacy(messages []sarama.ConsumerMessage) {
	all := make([]Record, len(messages))
	for i := range messages {
		m := &messages[i]
		at := int64(-1)
		if !m.Timestamp.IsZero() {
			at = m.Timestamp.UnixMilli()
		}
		all[i] = Record{Offset: m.Offset, Timestamp: at, Key: m.Key, Value: m.Value, decoded: m.Headers}
	}
	d.batch.Records = all
}
