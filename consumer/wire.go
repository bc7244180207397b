package consumer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/IBM/sarama"
)

// answer is a Fetch response. It belongs to its tap and is overwritten by the
// next one; the records of its blocks are not.
type answer struct {
	err      sarama.KError
	throttle time.Duration // for which the broker wants to hear nothing
	blocks   []block
}

// block is what a Fetch response has for one partition.
type block struct {
	topic         string
	partition     int32
	err           sarama.KError
	highWatermark int64
	stable        int64 // the last stable offset: transactions above it are open
	aborted       []abortedTransaction
	replica       int32 // to ask instead (KIP-392), -1 for none
	leader        int32 // who leads now (KIP-951), -1 where that is not said
	leaderEpoch   int32
	records       []byte            // record batches, the last of which may be cut off
	sets          []*sarama.Records // instead of records, where sarama has decoded them
	partial       bool              // with sets: there is only a part of a message
}

type abortedTransaction struct {
	producer, first int64
}

const (
	fetchKey = 1 // the API key of Fetch

	// flexibleFetch is the first version with compact encodings and tagged fields.
	flexibleFetch = 12
	// recordBatches is the first version whose answers may hold record batches.
	recordBatches = 4
)

// tap is a connection under a *sarama.Broker that keeps the answers to Fetch
// requests for itself. sarama makes the requests, authenticates and heeds
// throttling; what it is given to read in the place of an answer is one without
// partitions. So records go from the socket into one buffer for each partition,
// and are decoded by whoever wants them, where he wants them.
//
// It is used as a *sarama.Broker uses a connection that one goroutine makes
// requests on: at most one request at a time, and the answer is read after the
// request was written.
type tap struct {
	net.Conn
	in *bufio.Reader

	patience time.Duration // for an answer that has begun to come
	topics   map[string]string
	buffers  *buffers // where records come from, nil for new memory each

	armed       bool // the next answer is kept
	version     int16
	correlation int32
	answer      answer
	stub        []byte // of the answer without partitions, what sarama has not read
	taken       bool   // answer is of the last request
	pass        bool   // nothing is kept any more

	watching chan struct{} // closed when nobody watches; nil: it was not watched
}

func newTap(conn net.Conn, patience time.Duration, b *buffers) *tap {
	return &tap{Conn: conn, in: bufio.NewReaderSize(conn, 16<<10), patience: patience, topics: make(map[string]string), buffers: b}
}

// Write takes note of a Fetch request. sarama writes a request in one call.
func (t *tap) Write(b []byte) (int, error) {
	if len(b) >= 12 && binary.BigEndian.Uint16(b[4:]) == fetchKey {
		t.version = int16(binary.BigEndian.Uint16(b[6:]))
		t.correlation = int32(binary.BigEndian.Uint32(b[8:]))
		t.armed = !t.pass && t.version >= recordBatches && t.version <= flexibleFetch
		t.taken = false
	}
	return t.Conn.Write(b)
}

// Read returns what sarama is to see.
func (t *tap) Read(b []byte) (int, error) {
	if t.watching != nil {
		<-t.watching
		t.watching = nil
	}
	if t.armed {
		t.armed = false
		if err := t.keep(); err != nil {
			return 0, err
		}
		t.taken = true
		t.stub = stub(t.stub[:0], t.version, t.correlation)
	}
	if len(t.stub) > 0 {
		n := copy(b, t.stub)
		t.stub = t.stub[n:]
		return n, nil
	}
	return t.in.Read(b)
}

// watch returns a channel that is closed when the connection is lost, or else with
// the next answer. No request may be on its way.
func (t *tap) watch() <-chan struct{} {
	watching := make(chan struct{})
	t.watching = watching
	_ = t.SetReadDeadline(time.Time{}) // the last answer's
	go func() {
		defer close(watching)
		_, _ = t.in.Peek(1)
	}()
	return watching
}

// stub appends an answer to a Fetch request that has no partitions.
func stub(b []byte, version int16, correlation int32) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	if version >= flexibleFetch {
		b = append(b, 0) // tagged fields of the header
	}
	b = append(b, 0, 0, 0, 0) // throttle time
	if version >= 7 {
		b = append(b, 0, 0)       // error
		b = append(b, 0, 0, 0, 0) // session
	}
	if version >= flexibleFetch {
		b = append(b, 1, 0) // no topics, no tagged fields
	} else {
		b = append(b, 0, 0, 0, 0)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// keep reads an answer into t.answer.
func (t *tap) keep() error {
	var head [4]byte
	if _, err := io.ReadFull(t.in, head[:]); err != nil {
		return err
	}
	size := int32(binary.BigEndian.Uint32(head[:]))
	if size < 8 || size > sarama.MaxResponseSize {
		return sarama.PacketDecodingError{Info: fmt.Sprintf("message of length %d too large or too small", size)}
	}
	_ = t.SetReadDeadline(time.Now().Add(t.patience))
	d := wireReader{in: t.in, left: int(size), flexible: t.version >= flexibleFetch, topics: t.topics, buffers: t.buffers}
	if got := d.int32(); d.err == nil && got != t.correlation {
		return sarama.PacketDecodingError{Info: fmt.Sprintf("correlation ID didn't match, wanted %d, got %d", t.correlation, got)}
	}
	d.tags(nil)
	d.fetchResponse(&t.answer, t.version)
	if d.err == nil && d.left != 0 {
		d.err = sarama.PacketDecodingError{Info: fmt.Sprintf("%d bytes too many in a Fetch response", d.left)}
	}
	return d.err
}

// wireReader decodes a frame as it comes. After an error, which stays, it returns
// zeros.
type wireReader struct {
	in       *bufio.Reader
	left     int // bytes of the frame
	flexible bool
	topics   map[string]string // names that came before, so that they are not allocated again
	buffers  *buffers
	err      error
}

func (d *wireReader) fetchResponse(a *answer, version int16) {
	a.err, a.blocks = sarama.ErrNoError, a.blocks[:0]
	a.throttle = time.Duration(d.int32()) * time.Millisecond
	if version >= 7 {
		a.err = sarama.KError(d.int16())
		d.int32() // session
	}
	for topics := d.array(); topics > 0 && d.err == nil; topics-- {
		topic := d.name()
		for partitions := d.array(); partitions > 0 && d.err == nil; partitions-- {
			b := block{topic: topic}
			d.block(&b, version)
			a.blocks = append(a.blocks, b)
		}
		d.tags(nil)
	}
	d.tags(nil)
}

func (d *wireReader) block(b *block, version int16) {
	b.replica, b.leader, b.leaderEpoch = -1, -1, -1
	b.partition = d.int32()
	b.err = sarama.KError(d.int16())
	b.highWatermark = d.int64()
	b.stable = d.int64()
	if version >= 5 {
		d.int64() // log start offset
	}
	for n := d.array(); n > 0 && d.err == nil; n-- {
		t := abortedTransaction{producer: d.int64(), first: d.int64()}
		d.tags(nil)
		b.aborted = append(b.aborted, t)
	}
	if version >= 11 {
		b.replica = d.int32()
	}
	b.records = d.records()
	d.tags(func(tag uint64, size int) {
		const currentLeader = 1
		if tag == currentLeader && size >= 8 {
			b.leader, b.leaderEpoch = d.int32(), d.int32()
		}
	})
}

func (d *wireReader) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// peek returns the next n bytes, which skip goes past, or nil on an error. n is
// small.
func (d *wireReader) peek(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > d.left {
		d.fail(sarama.ErrInsufficientData)
		return nil
	}
	b, err := d.in.Peek(n)
	if err != nil {
		d.fail(eof(err))
		return nil
	}
	return b
}

// skip goes past n bytes that peek has returned.
func (d *wireReader) skip(n int) {
	_, _ = d.in.Discard(n)
	d.left -= n
}

// number returns the next n bytes as a number, at most 8.
func (d *wireReader) number(n int) (v uint64) {
	b := d.peek(n)
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	d.skip(len(b))
	return v
}

func (d *wireReader) int16() int16 { return int16(d.number(2)) }
func (d *wireReader) int32() int32 { return int32(d.number(4)) }
func (d *wireReader) int64() int64 { return int64(d.number(8)) }

func (d *wireReader) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := d.number(1)
		if d.err != nil {
			return 0
		}
		v |= (c & 0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	d.fail(sarama.PacketDecodingError{Info: "a length is longer than 5 bytes"})
	return 0
}

// length returns a length of which none is -1.
func (d *wireReader) length(fixed func() int32) int {
	if d.flexible {
		return int(d.uvarint()) - 1
	}
	return int(fixed())
}

// array returns how many elements follow. Each takes a byte at least.
func (d *wireReader) array() int {
	n := d.length(d.int32)
	if n > d.left {
		d.fail(sarama.ErrInsufficientData)
	}
	if d.err != nil {
		return 0
	}
	return n
}

// maxName is how long the name of a topic can be, and more.
const maxName = 1 << 12

func (d *wireReader) name() string {
	n := d.length(func() int32 { return int32(d.int16()) })
	if n < 0 || n > maxName {
		d.fail(sarama.PacketDecodingError{Info: fmt.Sprintf("a topic's name of %d bytes", n)})
		return ""
	}
	b := d.peek(n)
	if b == nil {
		return ""
	}
	name, known := d.topics[string(b)]
	if !known {
		name = string(b)
		if len(d.topics) < maxName {
			d.topics[name] = name
		}
	}
	d.skip(n)
	return name
}

// trustBytes is how much memory is allocated on a broker's word, before the bytes
// are there.
const trustBytes = 4 << 20

// records returns bytes in a buffer of their own.
func (d *wireReader) records() []byte {
	n := d.length(d.int32)
	if n > d.left {
		d.fail(sarama.ErrInsufficientData)
	}
	if d.err != nil || n <= 0 {
		return nil
	}
	b := d.buffers.get(min(n, trustBytes))
	for len(b) < n {
		had := len(b)
		step := min(n-had, max(had, trustBytes))
		if cap(b) < had+step {
			b = append(make([]byte, 0, had+step), b...)
		}
		b = b[:had+step]
		if _, err := io.ReadFull(d.in, b[had:]); err != nil {
			d.fail(eof(err))
			return nil
		}
	}
	d.left -= n
	return b
}

// tags reads tagged fields. see may read size bytes of a field, or fewer.
func (d *wireReader) tags(see func(tag uint64, size int)) {
	if !d.flexible {
		return
	}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		tag, size := d.uvarint(), d.uvarint()
		if size > uint64(d.left) {
			d.fail(sarama.ErrInsufficientData)
		}
		if d.err != nil {
			return
		}
		end := d.left - int(size)
		if see != nil {
			see(tag, int(size))
		}
		if d.err == nil && d.left > end {
			if _, err := d.in.Discard(d.left - end); err != nil {
				d.fail(eof(err))
			}
			d.left = end
		}
	}
}

// eof makes the end of the stream within a frame unexpected.
func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
