package consumer

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// encoded makes a record batch of n records, numbered from base.
func encoded(base int64, n int, change ...func(*kmsg.RecordBatch)) []byte {
	b := kmsg.RecordBatch{
		FirstOffset:     base,
		Magic:           2,
		LastOffsetDelta: int32(n - 1),
		FirstTimestamp:  1000,
		MaxTimestamp:    1000 + int64(n-1),
		ProducerID:      -1,
		ProducerEpoch:   -1,
		FirstSequence:   -1,
		NumRecords:      int32(n),
	}
	for i := range n {
		r := kmsg.Record{TimestampDelta64: int64(i), OffsetDelta: int32(i), Value: fmt.Appendf(nil, "v%d", base+int64(i))}
		if i%2 == 1 {
			r.Key = []byte("k")
			r.Headers = []kmsg.Header{{Key: "h", Value: []byte("x")}, {Key: "none"}}
		}
		whole := r.AppendTo(nil) // begins with a length of one byte, 0
		r.Length = int32(len(whole) - 1)
		b.Records = r.AppendTo(b.Records)
	}
	for _, f := range change {
		f(&b)
	}
	b.Length = int32(batchHeader - 12 + len(b.Records))
	out := b.AppendTo(nil)
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], castagnoli))
	return out
}

// offsetsOf decodes everything in b.
func offsetsOf(t testing.TB, b []byte, from int64, aborted ...abortedTransaction) ([]int64, error) {
	t.Helper()
	f := &feed{}
	d := decoder{committed: true}
	f.rest = chunk{from: from, records: b[:survey(b, from).complete]}
	f.open = newTransactions(aborted)
	var all []int64
	for !f.rest.empty() {
		if err := d.next(f); err != nil {
			return all, err
		}
		for i := range d.batch.Records {
			all = append(all, d.batch.Records[i].Offset)
		}
	}
	return all, nil
}

func TestSurvey(t *testing.T) {
	one, two := encoded(10, 3), encoded(13, 2)
	both := slices.Concat(one, two)
	old := slices.Clone(one)
	old[batchMagic] = 1
	unknown := slices.Clone(one)
	unknown[batchMagic] = 3
	short := slices.Clone(one)
	binary.BigEndian.PutUint32(short[8:], 10)
	for name, c := range map[string]struct {
		b    []byte
		from int64
		want layout
		bad  bool
	}{
		"nothing":             {nil, 10, layout{next: 10}, false},
		"one":                 {one, 10, layout{complete: len(one), next: 13, count: 3}, false},
		"from the middle":     {one, 11, layout{complete: len(one), next: 13, count: 3}, false},
		"two":                 {both, 10, layout{complete: len(both), next: 15, count: 5}, false},
		"the second cut off":  {both[:len(both)-1], 10, layout{complete: len(one), next: 13, count: 3, partial: len(two)}, false},
		"a piece of a header": {both[:len(one)+5], 10, layout{complete: len(one), next: 13, count: 3, partial: batchHeader}, false},
		"all before":          {one, 20, layout{complete: len(one), next: 21, count: 3}, false},
		"an old format":       {old, 10, layout{next: 10, legacy: true}, false},
		"an old format after": {slices.Concat(one, old), 10, layout{complete: len(one), next: 13, count: 3, legacy: true}, false},
		"a new format":        {unknown, 10, layout{next: 10}, true},
		"a length too small":  {slices.Concat(one, short), 10, layout{complete: len(one), next: 13, count: 3}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := survey(c.b, c.from)
			if bad := got.err != nil; bad != c.bad {
				t.Errorf("error %v", got.err)
			}
			got.err = nil
			if got != c.want {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestAbortedAndControlRecordsAreLeftOut(t *testing.T) {
	of := func(producer int64, attributes int16) func(*kmsg.RecordBatch) {
		return func(b *kmsg.RecordBatch) { b.ProducerID, b.Attributes = producer, attributes }
	}
	marker := func(base, producer int64, kind byte) []byte {
		return encoded(base, 1, of(producer, attributeTransactional|attributeControl), func(b *kmsg.RecordBatch) {
			r := kmsg.Record{Key: []byte{0, 0, 0, kind}, Value: []byte{0, 0, 0, 0, 0, 0}}
			r.Length = int32(len(r.AppendTo(nil)) - 1)
			b.Records = r.AppendTo(nil)
		})
	}
	const abort, commit = 0, 1
	log := slices.Concat(
		encoded(0, 2, of(7, attributeTransactional)), // aborted
		encoded(2, 1), // nobody's
		encoded(3, 1, of(8, attributeTransactional)), // committed
		marker(4, 7, abort),
		encoded(5, 1, of(7, attributeTransactional)), // committed
		marker(6, 7, commit),
		marker(7, 8, commit),
		encoded(8, 1, of(7, attributeTransactional)), // aborted
		marker(9, 7, abort),
	)
	got, err := offsetsOf(t, log, 0, abortedTransaction{7, 8}, abortedTransaction{7, 0})
	if want := []int64{2, 3, 5}; err != nil || !slices.Equal(got, want) {
		t.Errorf("offsets %v, %v, want %v", got, err, want)
	}
}

func TestCorruptRecordsAreErrors(t *testing.T) {
	good := encoded(0, 3)
	damaged := slices.Clone(good)
	damaged[len(damaged)-2] ^= 1
	_, err := offsetsOf(t, damaged, 0)
	var decoding sarama.PacketDecodingError
	if !errors.As(err, &decoding) || !strings.Contains(err.Error(), "CRC didn't match") {
		t.Errorf("a damaged batch: %v", err)
	}
	for name, change := range map[string]func(*kmsg.RecordBatch){
		"more records than there are": func(b *kmsg.RecordBatch) { b.NumRecords = 4 },
		"records without end":         func(b *kmsg.RecordBatch) { b.NumRecords = 1 << 30 },
		"less than no records":        func(b *kmsg.RecordBatch) { b.NumRecords = -1 },
		"an unknown codec":            func(b *kmsg.RecordBatch) { b.Attributes = 7 },
		"what is no gzip":             func(b *kmsg.RecordBatch) { b.Attributes = 1 },
		"what is no snappy":           func(b *kmsg.RecordBatch) { b.Attributes = 2 },
		"what is no lz4":              func(b *kmsg.RecordBatch) { b.Attributes = 3 },
		"what is no zstd":             func(b *kmsg.RecordBatch) { b.Attributes = 4 },
		"a record that is cut":        func(b *kmsg.RecordBatch) { b.Records = b.Records[:len(b.Records)-1] },
	} {
		if got, err := offsetsOf(t, encoded(0, 3, change), 0); err == nil {
			t.Errorf("%s: offsets %v and no error", name, got)
		}
	}
}

func TestDecompressedSizeIsLimited(t *testing.T) {
	was := sarama.MaxDecompressedBatchSize
	defer func() { sarama.MaxDecompressedBatchSize = was }()
	_, client := start(t, 1, func(c *sarama.Config) {
		c.Producer.Compression = sarama.CompressionLZ4
		c.Consumer.Retry.Backoff = time.Hour
	})
	produce(t, client, 0, 0, 1000)
	sarama.MaxDecompressedBatchSize = 1 << 10
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	if err := nextError(t, pc); !errors.Is(err, sarama.ErrDecompressedBatchTooLarge) {
		t.Errorf("the error is %v", err)
	}
	_ = pc.Close()
}

// damaging has a cluster answer with one batch of ten records at a time, of thirty,
// the second of which arrives damaged twice. ahead is closed when what follows that
// one was asked for.
func damaging(cluster *kafkatest.Cluster) (ahead chan struct{}) {
	ahead = make(chan struct{})
	var once sync.Once
	var tries atomic.Int64
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		from := r.Topics[0].Partitions[0].FetchOffset
		if from >= 30 {
			once.Do(func() { close(ahead) })
			return nil
		}
		return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) {
			base := from / 10 * 10
			p.RecordBatches = encoded(base, 10)
			if base == 10 && tries.Add(1) <= 2 {
				p.RecordBatches[len(p.RecordBatches)-3] ^= 1
			}
			p.HighWatermark = 30
		})
	})
	return ahead
}

// A batch that arrives damaged is fetched again, and nothing that came before or
// after it is lost or repeated, though that was fetched already.
func TestCorruptBatchIsFetchedAgain(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.ChannelBufferSize = 0
		c.Consumer.Retry.Backoff = 10 * time.Millisecond
	})
	produce(t, client, 0, 0, 30)
	ahead := damaging(cluster)
	pc := consume(t, open(t, client, Config{FetchesAhead: 4}), 0, 3)
	<-ahead
	var errs []error
	timeout := time.After(patience)
	for next := int64(3); next < 30; {
		select {
		case m := <-pc.Messages():
			if m.Offset != next {
				t.Fatalf("offset %d, want %d", m.Offset, next)
			}
			next++
		case err := <-pc.Errors():
			errs = append(errs, err)
		case <-timeout:
			t.Fatalf("stuck at %d after %v", next, errs)
		}
	}
	for _, err := range errs {
		var decoding sarama.PacketDecodingError
		if !errors.As(err, &decoding) {
			t.Errorf("the error is %v", err)
		}
	}
	if len(errs) != 2 {
		t.Errorf("%d errors: %v", len(errs), errs)
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

func TestReaderFetchesCorruptBatchesAgain(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) { c.Consumer.Retry.Backoff = 10 * time.Millisecond })
	produce(t, client, 0, 0, 30)
	ahead := damaging(cluster)
	r := read(t, client, Config{FetchesAhead: 4})
	if err := r.Add(topic, 0, 3); err != nil {
		t.Fatal(err)
	}
	<-ahead
	next, errs := int64(3), 0
	for b, err := range r.Batches(bounded(t)) {
		if err != nil {
			errs++
			continue
		}
		for i := range b.Records {
			if b.Records[i].Offset != next {
				t.Fatalf("offset %d, want %d", b.Records[i].Offset, next)
			}
			next++
		}
		if next == 30 {
			break
		}
	}
	if next != 30 || errs != 2 {
		t.Errorf("went to %d with %d errors", next, errs)
	}
}

// A batch that does not fit into a fetch is asked for with more bytes, up to
// Consumer.Fetch.Max; what is larger still is skipped.
func TestOversizedRecords(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.Consumer.Fetch.Default = 100
		c.Consumer.Fetch.Max = 400
	})
	produce(t, client, 0, 0, 3)
	batches := [][]byte{
		encoded(0, 1, func(b *kmsg.RecordBatch) { b.Records = padded(200) }),
		encoded(1, 1, func(b *kmsg.RecordBatch) { b.Records = padded(1000) }),
		encoded(2, 1),
	}
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		asked := r.Topics[0].Partitions[0]
		if asked.FetchOffset > 2 {
			return nil
		}
		if asked.PartitionMaxBytes > 400 {
			t.Errorf("%d bytes are asked for", asked.PartitionMaxBytes)
		}
		return answerTo(r, func(p *kmsg.FetchResponseTopicPartition) {
			all := slices.Concat(batches[asked.FetchOffset:]...)
			p.RecordBatches = all[:min(len(all), int(asked.PartitionMaxBytes))]
		})
	})
	pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
	got := receive(t, pc, 2)
	if got[0].Offset != 0 || got[1].Offset != 2 {
		t.Errorf("offsets %d and %d, want 0 and 2", got[0].Offset, got[1].Offset)
	}
	if err := nextError(t, pc); !errors.Is(err, sarama.ErrMessageTooLarge) {
		t.Errorf("the error is %v", err)
	}
	if err := pc.Close(); err != nil {
		t.Error(err)
	}
}

// padded is a record with so many bytes.
func padded(n int) []byte {
	r := kmsg.Record{Value: make([]byte, n)}
	whole := r.AppendTo(nil)
	r.Length = int32(len(whole) - 1)
	return r.AppendTo(nil)
}

// encodedAnswer is a whole Fetch response, as it comes.
func encodedAnswer(version int16, correlation int32, fill func(*kmsg.FetchResponse)) []byte {
	answer := kmsg.NewPtrFetchResponse()
	answer.SetVersion(version)
	fill(answer)
	b := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(correlation))
	if version >= flexibleFetch {
		b = append(b, 0)
	}
	b = answer.AppendTo(b)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func sampleAnswer(version int16, correlation int32) []byte {
	return encodedAnswer(version, correlation, func(a *kmsg.FetchResponse) {
		a.ThrottleMillis = 7
		for _, name := range []string{"one", "two"} {
			of := kmsg.NewFetchResponseTopic()
			of.Topic = name
			for id := range int32(2) {
				p := kmsg.NewFetchResponseTopicPartition()
				p.Partition, p.HighWatermark, p.PreferredReadReplica = id, 40, -1
				p.RecordBatches = encoded(10, 3)
				if id == 1 {
					p.ErrorCode, p.RecordBatches = int16(sarama.ErrNotLeaderForPartition), nil
					p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = 2, 9
					p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 5, FirstOffset: 11}}
				}
				of.Partitions = append(of.Partitions, p)
			}
			a.Topics = append(a.Topics, of)
		}
	})
}

func tapOn(b []byte, version int16, correlation int32) *tap {
	return &tap{
		Conn: nobody{}, in: bufio.NewReader(bytes.NewReader(b)), topics: make(map[string]string),
		armed: true, version: version, correlation: correlation,
	}
}

func TestTapKeepsAnswersOfEveryVersion(t *testing.T) {
	for version := int16(recordBatches); version <= flexibleFetch; version++ {
		tap := tapOn(sampleAnswer(version, 77), version, 77)
		seen, err := io.ReadAll(io.LimitReader(tap, 12))
		if err != nil || binary.BigEndian.Uint32(seen[4:]) != 77 {
			t.Fatalf("version %d: sarama sees %v, %v", version, seen, err)
		}
		if len(tap.answer.blocks) != 4 {
			t.Fatalf("version %d: %d blocks", version, len(tap.answer.blocks))
		}
		for i, b := range tap.answer.blocks {
			if want := []string{"one", "one", "two", "two"}[i]; b.topic != want || b.partition != int32(i%2) || b.highWatermark != 40 || b.replica != -1 {
				t.Errorf("version %d: block %d is %+v", version, i, b)
			}
			if i%2 == 0 {
				if got, err := offsetsOf(t, b.records, 0); err != nil || !slices.Equal(got, []int64{10, 11, 12}) {
					t.Errorf("version %d: offsets %v, %v", version, got, err)
				}
				continue
			}
			if b.err != sarama.ErrNotLeaderForPartition || len(b.aborted) != 1 || b.aborted[0] != (abortedTransaction{5, 11}) {
				t.Errorf("version %d: block %d is %+v", version, i, b)
			}
			if version == flexibleFetch && (b.leader != 2 || b.leaderEpoch != 9) {
				t.Errorf("the leader is %d in epoch %d", b.leader, b.leaderEpoch)
			}
		}
	}
}

func TestTapRefusesNonsense(t *testing.T) {
	good := sampleAnswer(12, 77)
	for cut := range good {
		if _, err := tapOn(good[:cut], 12, 77).Read(make([]byte, 8)); err == nil {
			t.Errorf("an answer of %d bytes that ends after %d is no error", len(good), cut)
		}
	}
	huge := slices.Clone(good)
	binary.BigEndian.PutUint32(huge, 1<<31-1)
	longer := append(slices.Clone(good), 0)
	binary.BigEndian.PutUint32(longer, uint32(len(longer)-4))
	for name, b := range map[string][]byte{"a huge one": huge, "a byte too many": longer, "another's": sampleAnswer(12, 78)} {
		if _, err := tapOn(b, 12, 77).Read(make([]byte, 8)); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// FuzzAnswer feeds what a broker may send to the decoder. There is nothing that it
// may do but return, with memory in proportion.
func FuzzAnswer(f *testing.F) {
	for version := int16(recordBatches); version <= flexibleFetch; version++ {
		f.Add(version, sampleAnswer(version, 77))
	}
	f.Fuzz(func(t *testing.T, version int16, b []byte) {
		if version < recordBatches || version > flexibleFetch {
			return
		}
		tap := tapOn(b, version, 77)
		if _, err := tap.Read(make([]byte, 64)); err != nil {
			return
		}
		for _, block := range tap.answer.blocks {
			if len(block.records) > len(b) {
				t.Errorf("%d bytes of records in %d", len(block.records), len(b))
			}
		}
	})
}

// FuzzRecords feeds record batches whose checksums are right to the decoders: ours
// of batches and of messages agree, and offsets only grow.
func FuzzRecords(f *testing.F) {
	f.Add(encoded(10, 3), int64(10))
	f.Add(slices.Concat(encoded(10, 3), encoded(13, 2)), int64(11))
	f.Fuzz(func(t *testing.T, b []byte, from int64) {
		for rest := b; len(rest) >= batchHeader; {
			size := int64(int32(binary.BigEndian.Uint32(rest[8:]))) + 12
			if size < batchHeader || size > int64(len(rest)) {
				break
			}
			binary.BigEndian.PutUint32(rest[17:], crc32.Checksum(rest[21:size], castagnoli))
			rest = rest[size:]
		}
		l := survey(b, from)
		if l.complete > len(b) || l.next < from || l.complete > 0 && l.next == from {
			t.Fatalf("survey of %d bytes from %d: %+v", len(b), from, l)
		}
		got, err := offsetsOf(t, b, from)
		for _, offset := range got {
			if offset < from {
				t.Fatalf("offset %d is before %d", offset, from)
			}
		}
		var same []int64
		var sameErr error
		open := newTransactions(nil)
		pc := &partitionConsumer{partition: &partition{core: &core{conf: sarama.NewConfig()}}}
		for rest := b[:l.complete]; len(rest) > 0 && sameErr == nil; {
			var batch recordBatch
			var messages []sarama.ConsumerMessage
			if batch, sameErr = openBatch(rest); sameErr == nil {
				rest = rest[batch.size:]
				messages, sameErr = pc.decode(&batch, from, &open)
			}
			for i := range messages {
				same = append(same, messages[i].Offset)
			}
		}
		if (err == nil) != (sameErr == nil) || !slices.Equal(got, same) {
			t.Fatalf("batches have %v, %v; messages have %v, %v", got, err, same, sameErr)
		}
	})
}

// nobody is a connection that is not one.
type nobody struct{ net.Conn }

func (nobody) SetReadDeadline(time.Time) error { return nil }
