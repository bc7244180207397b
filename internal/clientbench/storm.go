package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// stormResult is what one client asked for when all of 1000 partitions moved at
// once.
type stormResult struct {
	Client   string
	Metadata int64 // requests, in the stormWatch after the move
	Offsets  int64 // ListOffsets and OffsetForLeaderEpoch requests, likewise
	Fetches  int64 // likewise; nothing is written meanwhile
}

const (
	stormPartitions = 1000
	stormWatch      = 5 * time.Second
)

// fronts are proxies before a cluster's brokers, which count requests by their key.
type fronts struct {
	listeners []net.Listener
	serving   sync.WaitGroup
	counts    [128]atomic.Int64

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

// front makes a proxy before the broker at an address. It has the signature of
// kafkatest.KafkaConfig's Front.
func (f *fronts) front(_ int32, to string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	f.listeners = append(f.listeners, l)
	f.serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", to)
			if err != nil || !f.hold(client, broker) {
				_ = client.Close()
				continue
			}
			f.serving.Go(func() { f.requests(client, broker) })
			f.serving.Go(func() {
				_, _ = io.Copy(client, broker)
				_ = client.Close()
			})
		}
	})
	return l.Addr().String(), nil
}

func (f *fronts) hold(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns = append(f.conns, conns...)
	return !f.closed
}

// requests passes on what a client sends.
func (f *fronts) requests(client io.Reader, broker io.WriteCloser) {
	defer broker.Close() //nolint:errcheck // nothing is lost
	var head [6]byte     // size and API key
	for {
		if _, err := io.ReadFull(client, head[:]); err != nil {
			return
		}
		if key := binary.BigEndian.Uint16(head[4:]); int(key) < len(f.counts) {
			f.counts[key].Add(1)
		}
		if _, err := broker.Write(head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(broker, client, int64(binary.BigEndian.Uint32(head[:]))-2); err != nil {
			return
		}
	}
}

func (f *fronts) close() {
	f.mu.Lock()
	f.closed = true
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.mu.Unlock()
	for _, l := range f.listeners {
		_ = l.Close()
	}
	f.serving.Wait()
}

func (f *fronts) reset() {
	for i := range f.counts {
		f.counts[i].Store(0)
	}
}

func (f *fronts) count(requests ...kmsg.Request) (n int64) {
	for _, r := range requests {
		n += f.counts[r.Key()].Load()
	}
	return n
}

// storm moves all leaders of a topic at once, with one client at a time, each with a
// cluster of its own: that many partitions are many for a small one.
func storm(ctx context.Context, cluster string, picked []client) ([]stormResult, error) {
	var all []stormResult
	for _, c := range picked {
		if c.tuned {
			continue
		}
		var r stormResult
		err := counted(ctx, cluster, func(bed kafkatest.Testbed, addrs []string, f *fronts) (err error) {
			r, err = stormOf(ctx, c, bed, addrs, f)
			return err
		})
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		if err != nil { // of a client that has not enough patience with so many partitions
			report("%s: %v", c.Name, err)
			continue
		}
		report("%-14s %d metadata requests, %d for offsets, %d fetches", c.Name, r.Metadata, r.Offsets, r.Fetches)
		all = append(all, r)
	}
	return all, nil
}

// counted has a cluster that says what clients, who are told its addresses, ask for.
func counted(ctx context.Context, cluster string, do func(bed kafkatest.Testbed, addrs []string, f *fronts) error) error {
	f := &fronts{}
	defer f.close()
	if cluster == "kafka" {
		bed, err := kafkatest.StartKafka(ctx, kafkatest.KafkaConfig{Front: f.front})
		if err != nil {
			return err
		}
		defer bed.Close()
		return do(bed, bed.Fronts(), f)
	}
	return together(cluster, func(bed kafkatest.Testbed) error {
		fake, ok := bed.(*kafkatest.Cluster)
		if !ok {
			return errors.New("it does not count requests")
		}
		fake.Fake().Control(func(q kmsg.Request) (kmsg.Response, error, bool) {
			fake.Fake().KeepControl()
			f.counts[q.Key()].Add(1)
			return nil, nil, false
		})
		return do(bed, bed.Addrs(), f)
	})
}

func stormOf(ctx context.Context, c client, bed kafkatest.Testbed, addrs []string, f *fronts) (stormResult, error) {
	r := stormResult{Client: c.Name}
	const topic = "storm"
	if err := bed.CreateTopic(topic, stormPartitions); err != nil {
		return r, err
	}
	log := stall.NewLog(stormPartitions)
	// sarama asks for offsets over the connections that its fetches are parked on, so
	// that 1000 partitions of which none has anything take it a quarter of an hour.
	awake, cancel := context.WithCancel(ctx)
	var waking sync.WaitGroup
	waking.Go(func() {
		w, err := producer(bed.Addrs(), topic)
		if err != nil {
			return
		}
		defer w.Close()
		for writeEach(awake, w, len(addrs)) == nil {
		}
	})
	stop, err := c.Start(addrs, topic, stormPartitions, log.Received)
	cancel()
	waking.Wait()
	if err != nil {
		return r, err
	}
	defer within(stop)
	// One record for each partition, then the move, then one more.
	write := func() error {
		w, err := producer(bed.Addrs(), topic)
		if err != nil {
			return err
		}
		defer w.Close()
		return writeEach(ctx, w, stormPartitions)
	}
	await := func(since time.Time) error {
		for p := range int32(stormPartitions) {
			for !log.Gaps(p).Last().After(since) {
				if time.Since(since) > time.Minute || ctx.Err() != nil {
					return fmt.Errorf("partition %d has not come back after a minute", p)
				}
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	}
	began := time.Now()
	if err := write(); err != nil {
		return r, err
	}
	if err := await(began); err != nil {
		return r, err
	}
	time.Sleep(time.Second)

	leaders, err := bed.Leaders(topic)
	if err != nil {
		return r, err
	}
	to := make(map[int32]int32)
	for p, leader := range leaders {
		to[int32(p)] = (leader + 1) % 3
	}
	f.reset()
	if err := bed.MoveLeaders(topic, to); err != nil {
		return r, err
	}
	time.Sleep(stormWatch)
	r.Metadata = f.count(&kmsg.MetadataRequest{})
	r.Offsets = f.count(&kmsg.ListOffsetsRequest{}, &kmsg.OffsetForLeaderEpochRequest{})
	r.Fetches = f.count(&kmsg.FetchRequest{})
	began = time.Now() // what the producer asks for now is not the client's
	if err := write(); err != nil {
		return r, err
	}
	return r, await(began)
}

// within calls stop, and returns when it does, or after a while: the result stands,
// however a client ends.
func within(stop func()) {
	done := make(chan struct{})
	go func() { stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
	}
}

// writeEach writes one record to each partition.
func writeEach(ctx context.Context, w *kgo.Client, partitions int) error {
	var records []*kgo.Record
	for p := range int32(partitions) {
		records = append(records, &kgo.Record{Partition: p, Value: []byte("one")})
	}
	return w.ProduceSync(ctx, records...).FirstErr()
}
