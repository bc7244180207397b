package consumer

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/IBM/sarama"
)

// A record batch (message format 2, KIP-98) on the wire:
//
//	 0 base offset        8
//	 8 length             4   of what follows
//	12 leader epoch       4
//	16 magic              1   2; older formats have another one here
//	17 CRC-32C            4   of what follows
//	21 attributes         2
//	23 last offset delta  4
//	27 base timestamp     8   ms
//	35 max timestamp      8   ms
//	43 producer id        8
//	51 producer epoch     2
//	53 base sequence      4
//	57 record count       4
//	61 records, compressed as the attributes say
const (
	batchHeader = 61
	batchMagic  = 16

	attributeCodec         = 0x07
	attributeLogAppendTime = 0x08
	attributeTransactional = 0x10
	attributeControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// layout is what the headers of record batches say, without their records.
type layout struct {
	complete int   // bytes of the batches that are all there
	next     int64 // the offset after the last of them
	count    int64 // records in them
	partial  int   // the size of the batch that is cut off at the end; 0 where none is
	legacy   bool  // there is an older message format
	err      error // what comes after complete makes no sense
}

// survey looks at the headers of record batches from an offset on.
func survey(b []byte, from int64) (l layout) {
	l.next = from
	defer func() {
		if l.complete > 0 && l.next == from {
			l.next++ // whatever a broker says, what was fetched is not fetched again
		}
	}()
	for {
		rest := b[l.complete:]
		if len(rest) <= batchMagic {
			if len(rest) > 0 {
				l.partial = batchHeader
			}
			return l
		}
		if magic := int8(rest[batchMagic]); magic < 2 {
			l.legacy = true
			return l
		} else if magic > 2 {
			l.err = sarama.PacketDecodingError{Info: fmt.Sprintf("unknown record batch version (%d)", magic)}
			return l
		}
		size := int64(int32(binary.BigEndian.Uint32(rest[8:]))) + 12
		if size < batchHeader {
			l.err = sarama.PacketDecodingError{Info: fmt.Sprintf("record batch of length %d: it must be at least %d", size-12, batchHeader-12)}
			return l
		}
		if size > int64(len(rest)) {
			l.partial = int(size)
			return l
		}
		last := int64(binary.BigEndian.Uint64(rest)) + int64(int32(binary.BigEndian.Uint32(rest[23:])))
		l.next = max(l.next, last+1)
		l.complete += int(size)
		l.count += int64(max(0, int32(binary.BigEndian.Uint32(rest[57:]))))
	}
}

// recordBatch is a batch whose header was decoded.
type recordBatch struct {
	base          int64
	size          int // with its header
	epoch         int32
	attributes    int16
	lastDelta     int32
	baseTimestamp int64 // ms
	maxTimestamp  int64
	producer      int64
	count         int32
	payload       []byte // compressed
}

// openBatch checks the batch at the start of b, which survey has found complete.
func openBatch(b []byte) (recordBatch, error) {
	r := recordBatch{
		base:          int64(binary.BigEndian.Uint64(b)),
		size:          int(binary.BigEndian.Uint32(b[8:])) + 12,
		epoch:         int32(binary.BigEndian.Uint32(b[12:])),
		attributes:    int16(binary.BigEndian.Uint16(b[21:])),
		lastDelta:     int32(binary.BigEndian.Uint32(b[23:])),
		baseTimestamp: int64(binary.BigEndian.Uint64(b[27:])),
		maxTimestamp:  int64(binary.BigEndian.Uint64(b[35:])),
		producer:      int64(binary.BigEndian.Uint64(b[43:])),
		count:         int32(binary.BigEndian.Uint32(b[57:])),
	}
	want, got := binary.BigEndian.Uint32(b[17:]), crc32.Checksum(b[21:r.size], castagnoli)
	if want != got {
		return r, sarama.PacketDecodingError{Info: fmt.Sprintf("CRC didn't match expected %#x got %#x", want, got)}
	}
	r.payload = b[batchHeader:r.size]
	return r, nil
}

func (r *recordBatch) codec() sarama.CompressionCodec {
	return sarama.CompressionCodec(r.attributes & attributeCodec)
}
func (r *recordBatch) control() bool       { return r.attributes&attributeControl != 0 }
func (r *recordBatch) transactional() bool { return r.attributes&attributeTransactional != 0 }
func (r *recordBatch) last() int64         { return r.base + int64(r.lastDelta) }

// records returns the encoded records, decompressed into scratch where they are
// compressed.
func (r *recordBatch) records(scratch []byte) (recordReader, error) {
	b := r.payload
	if codec := r.codec(); codec != sarama.CompressionNone {
		var err error
		if b, err = decompress(codec, scratch[:0], b); err != nil {
			return recordReader{}, err
		}
	}
	// A record takes 7 bytes at least.
	if r.count < 0 || int64(r.count)*7 > int64(len(b)) {
		return recordReader{}, sarama.PacketDecodingError{Info: fmt.Sprintf("%d records in %d bytes", r.count, len(b))}
	}
	return recordReader{rest: b, left: int(r.count)}, nil
}

// recordReader reads encoded records.
type recordReader struct {
	rest []byte
	left int
}

// rawRecord is a record whose parts lie in the batch's memory.
type rawRecord struct {
	offsetDelta    int64
	timestampDelta int64 // ms
	key, value     []byte
	headers        []byte // encoded, with their count
}

var errShortRecord = sarama.PacketDecodingError{Info: "a record ends before its length says"}

// next reads a record. It must be called left times.
func (d *recordReader) next(r *rawRecord) error {
	d.left--
	size, n := varint(d.rest)
	if n <= 0 || size < 0 || size > int64(len(d.rest)-n) {
		return errShortRecord
	}
	b := d.rest[n : n+int(size)]
	d.rest = d.rest[n+int(size):]
	if len(b) == 0 {
		return errShortRecord
	}
	b = b[1:] // attributes, of which there are none
	if r.timestampDelta, n = varint(b); n <= 0 {
		return errShortRecord
	}
	b = b[n:]
	if r.offsetDelta, n = varint(b); n <= 0 {
		return errShortRecord
	}
	b = b[n:]
	if size, n = varint(b); n <= 0 || size > int64(len(b)-n) {
		return errShortRecord
	}
	if b = b[n:]; size < 0 {
		r.key = nil
	} else {
		r.key = b[:size:size]
		b = b[size:]
	}
	if size, n = varint(b); n <= 0 || size > int64(len(b)-n) {
		return errShortRecord
	}
	if b = b[n:]; size < 0 {
		r.value = nil
	} else {
		r.value = b[:size:size]
		b = b[size:]
	}
	if len(b) == 0 {
		return errShortRecord
	}
	r.headers = b
	return nil
}

// varint is binary.Varint with a short way for one byte and for two, which most are.
func varint(b []byte) (int64, int) {
	if len(b) > 1 {
		x := uint64(b[0])
		if x < 0x80 {
			return int64(x>>1) ^ -int64(x&1), 1
		}
		if b[1] < 0x80 {
			x = x&0x7f | uint64(b[1])<<7
			return int64(x>>1) ^ -int64(x&1), 2
		}
	}
	return binary.Varint(b)
}

// noHeaders is what sarama gives for a record without headers.
var noHeaders = []*sarama.RecordHeader{}

// decodeHeaders decodes what a rawRecord has as headers.
func decodeHeaders(b []byte) ([]*sarama.RecordHeader, error) {
	if b[0] == 0 {
		return noHeaders, nil
	}
	count, n := varint(b)
	if n <= 0 || count > int64(len(b)-n) {
		return nil, errShortRecord
	}
	if count < 0 {
		return nil, nil
	}
	b = b[n:]
	headers := make([]sarama.RecordHeader, count)
	pointers := make([]*sarama.RecordHeader, count)
	for i := range headers {
		for _, part := range []*[]byte{&headers[i].Key, &headers[i].Value} {
			size, n := varint(b)
			if n <= 0 || size > int64(len(b)-n) {
				return nil, errShortRecord
			}
			if b = b[n:]; size >= 0 {
				*part = b[:size:size]
				b = b[size:]
			}
		}
		pointers[i] = &headers[i]
	}
	return pointers, nil
}

// timestamp returns a time as sarama does: none for a negative one.
func timestamp(ms int64) time.Time {
	if ms < 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// transactions tells which records of a read-committed fetch were aborted.
type transactions struct {
	pending []abortedTransaction // that begin later, in the order of their offsets
	open    map[int64]bool       // producers whose transaction is one
}

func newTransactions(aborted []abortedTransaction) transactions {
	if len(aborted) == 0 {
		return transactions{}
	}
	aborted = slices.Clone(aborted)
	slices.SortFunc(aborted, func(a, b abortedTransaction) int { return int(min(max(a.first-b.first, -1), 1)) })
	return transactions{pending: aborted, open: make(map[int64]bool)}
}

// enter says that batch is next. It returns whether its records were aborted.
func (t *transactions) enter(batch *recordBatch) bool {
	if t.open == nil {
		return false
	}
	for len(t.pending) > 0 && t.pending[0].first <= batch.last() {
		t.open[t.pending[0].producer] = true
		t.pending = t.pending[1:]
	}
	return batch.transactional() && t.open[batch.producer]
}

// leave takes in a control batch.
func (t *transactions) leave(batch *recordBatch) error {
	records, err := batch.records(nil)
	if err != nil {
		return err
	}
	var r rawRecord
	if records.left == 0 {
		return nil
	}
	if err := records.next(&r); err != nil {
		return err
	}
	if len(r.key) < 4 {
		return sarama.PacketDecodingError{Info: fmt.Sprintf("a control record's key of %d bytes", len(r.key))}
	}
	const abort = 0
	if binary.BigEndian.Uint16(r.key[2:]) == abort {
		delete(t.open, batch.producer)
	}
	return nil
}
