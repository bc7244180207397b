package stall

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is a connection to a broker for one request at a time. It shares no code
// with what is measured. close may be called by anybody, and makes a request in
// flight fail at once.
type wire struct {
	conn  net.Conn
	close func()
}

func dial(ctx context.Context, addr string, patience time.Duration) (*wire, error) {
	d := net.Dialer{Timeout: patience}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &wire{conn, sync.OnceFunc(func() { _ = conn.Close() })}, nil
}

var formatter = kmsg.NewRequestFormatter(kmsg.FormatterClientID("stall"))

// request sends r, whose version is set, and reads the answer.
func (w *wire) request(r kmsg.Request, patience time.Duration) (kmsg.Response, error) {
	if err := w.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := w.conn.Write(formatter.AppendRequest(nil, r, 0)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(w.conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 5 || n > 64<<20 {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(w.conn, body); err != nil {
		return nil, err
	}
	body = body[4:] // the correlation id: there is one request at a time
	answer := r.ResponseKind()
	if answer.IsFlexible() {
		if body[0] != 0 {
			return nil, errors.New("an answer with tags in its header")
		}
		body = body[1:]
	}
	return answer, answer.ReadFrom(body)
}

// producerOf identifies a batch for the broker's deduplication (KIP-98).
type producerOf struct {
	id    int64
	epoch int16
	first int32 // sequence number of the batch's first record
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encode makes a record batch of format 2.
func encode(p producerOf, records []kmsg.Record, at time.Time) []byte {
	var body []byte
	for i, r := range records {
		r.OffsetDelta = int32(i)
		r.Length = int32(len(r.AppendTo(nil)) - 1) // what follows the length, now one byte
		body = r.AppendTo(body)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1,
		Magic:                2,
		LastOffsetDelta:      int32(len(records) - 1),
		FirstTimestamp:       at.UnixMilli(),
		MaxTimestamp:         at.UnixMilli(),
		ProducerID:           p.id,
		ProducerEpoch:        p.epoch,
		FirstSequence:        p.first,
		NumRecords:           int32(len(records)),
		Records:              body,
	}
	raw := b.AppendTo(nil)
	const lengthAt, afterLength, crcAt, afterCRC = 8, 12, 17, 21
	binary.BigEndian.PutUint32(raw[lengthAt:], uint32(len(raw)-afterLength))
	binary.BigEndian.PutUint32(raw[crcAt:], crc32.Checksum(raw[afterCRC:], castagnoli))
	return raw
}
