package consumer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// oldBroker is a broker of Kafka 0.8.2 with message sets.
func oldBroker(t *testing.T) *sarama.MockBroker {
	b := sarama.NewMockBroker(t, 1)
	t.Cleanup(b.Close)
	fetch := sarama.NewMockFetchResponse(t, 3)
	for i := range int64(10) {
		fetch.SetMessageWithKey(topic, 0, i, sarama.StringEncoder("k"), sarama.StringEncoder("v"))
	}
	b.SetHandlerByMap(map[string]sarama.MockResponse{
		"MetadataRequest": sarama.NewMockMetadataResponse(t).
			SetBroker(b.Addr(), b.BrokerID()).SetLeader(topic, 0, b.BrokerID()),
		"OffsetRequest": sarama.NewMockOffsetResponse(t).
			SetOffset(topic, 0, sarama.OffsetOldest, 0).SetOffset(topic, 0, sarama.OffsetNewest, 10),
		"FetchRequest": fetch,
	})
	return b
}

func TestOldMessageFormatsAreRead(t *testing.T) {
	b := oldBroker(t)
	client, err := sarama.NewClient([]string{b.Addr()}, config(func(c *sarama.Config) {
		c.Version = sarama.V0_8_2_0
		c.ApiVersionsRequest = false
		c.Producer.Return.Successes = false
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	theirs, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	pc := consume(t, theirs, 0, 2)
	want := receive(t, pc, 8)
	_ = pc.Close()
	ours := open(t, client, Config{})
	pc = consume(t, ours, 0, 2)
	got := receive(t, pc, 8)
	_ = pc.Close()
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("message %d is\n%+v, sarama's is\n%+v", i, got[i], want[i])
		}
	}
	for _, r := range b.History() {
		if f, ok := r.Request.(*sarama.FetchRequest); ok && f.Version != 0 {
			t.Errorf("a Fetch request of version %d", f.Version)
		}
	}
	r := read(t, client, Config{})
	if err := r.Add(topic, 0, 2); err != nil {
		t.Fatal(err)
	}
	next := int64(2)
	for batch, err := range r.Batches(bounded(t)) {
		if err != nil {
			t.Fatal(err)
		}
		for i := range batch.Records {
			rec := &batch.Records[i]
			if rec.Offset != next || string(rec.Key) != "k" || string(rec.Value) != "v" || len(rec.Headers()) != 0 {
				t.Errorf("%+v at %d", rec, next)
			}
			next++
		}
		if next == 10 {
			break
		}
	}
	if next != 10 {
		t.Errorf("the records end at %d", next)
	}
}

func TestReadCommittedIsSaramas(t *testing.T) {
	for _, level := range []sarama.IsolationLevel{sarama.ReadUncommitted, sarama.ReadCommitted} {
		cluster, client := start(t, 1, func(c *sarama.Config) { c.Consumer.IsolationLevel = level })
		conf := config(func(c *sarama.Config) {
			c.Producer.Idempotent = true
			c.Producer.RequiredAcks = sarama.WaitForAll
			c.Producer.Transaction.ID = "x"
			c.Net.MaxOpenRequests = 1
		})
		p, err := sarama.NewSyncProducer(cluster.Addrs(), conf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			if err := p.BeginTxn(); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.ByteEncoder{byte('0' + i)}}); err != nil {
					t.Fatal(err)
				}
			}
			end := p.CommitTxn
			if i%3 == 1 {
				end = p.AbortTxn
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		_ = p.Close()
		produce(t, client, 0, 0, 1) // the end
		theirs, err := sarama.NewConsumerFromClient(client)
		if err != nil {
			t.Fatal(err)
		}
		var both [2][]*sarama.ConsumerMessage
		for i, c := range []sarama.Consumer{theirs, open(t, client, Config{})} {
			pc := consume(t, c, 0, sarama.OffsetOldest)
			for last := false; !last; {
				m := receive(t, pc, 1)[0]
				both[i] = append(both[i], m)
				last = string(m.Value) == "v0"
			}
			if err := pc.Close(); err != nil {
				t.Error(err)
			}
		}
		if want := map[sarama.IsolationLevel]int{sarama.ReadUncommitted: 19, sarama.ReadCommitted: 13}[level]; len(both[0]) != want {
			t.Errorf("sarama has %d messages, want %d", len(both[0]), want)
		}
		if !reflect.DeepEqual(both[0], both[1]) {
			t.Errorf("level %d: ours are %d messages, sarama's %d, or others", level, len(both[1]), len(both[0]))
		}
	}
}

// certificate returns a self-signed one for loopback, and who trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLSAndSASLAreTheClients(t *testing.T) {
	cert, pool := certificate(t)
	for name, c := range map[string]struct {
		options []kfake.Opt
		set     func(*sarama.Config)
	}{
		"SASL": {
			[]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", "secret")},
			func(c *sarama.Config) {
				c.Net.SASL.Enable = true
				c.Net.SASL.User, c.Net.SASL.Password = "me", "secret"
			},
		},
		"TLS": {
			[]kfake.Opt{kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}})},
			func(c *sarama.Config) {
				c.Net.TLS.Enable = true
				c.Net.TLS.Config = &tls.Config{RootCAs: pool}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			options := append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, topic)}, c.options...)
			cluster, err := kfake.NewCluster(options...)
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			client, err := sarama.NewClient(cluster.ListenAddrs(), config(c.set))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()
			produce(t, client, 0, 0, 5)
			ours, err := New(client, Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ours.Close() }()
			pc := consume(t, ours, 0, sarama.OffsetOldest)
			receive(t, pc, 5)
			if err := cluster.MoveTopicPartition(topic, 0, 0); err != nil { // a new epoch: metadata is asked for
				t.Fatal(err)
			}
			produce(t, client, 0, 5, 5)
			receive(t, pc, 5)
			if err := pc.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Brokers that cannot be reached are reported as the client reports them.
func TestUnreachableBrokers(t *testing.T) {
	cluster, client := start(t, 1, func(c *sarama.Config) {
		c.Metadata.Retry.Max = 0
		c.Consumer.Retry.Backoff = time.Millisecond
	})
	c := open(t, client, Config{})
	pc := consume(t, c, 0, sarama.OffsetOldest)
	wantQuiet(t, pc, 50*time.Millisecond)
	for id := range cluster.Addrs() {
		if err := cluster.Kill(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	for begun := time.Now(); !errors.Is(nextError(t, pc), sarama.ErrOutOfBrokers); {
		if time.Since(begun) > patience {
			t.Fatal("nobody says that the brokers are gone")
		}
	}
	for id := range cluster.Addrs() {
		if err := cluster.Revive(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	produce(t, connect(t, cluster), 0, 0, 1)
	receive(t, pc, 1)
}

// The answers of a broker that speaks an older version than the configuration
// says are understood.
func TestVersionsAreNegotiated(t *testing.T) {
	for _, v := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V1_1_0_0, sarama.V2_1_0_0, sarama.V2_3_0_0, sarama.V2_7_0_0, sarama.V4_0_0_0} {
		t.Run(v.String(), func(t *testing.T) {
			cluster, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{topic: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer cluster.Close()
			client := connect(t, cluster, func(c *sarama.Config) { c.Version = v })
			produce(t, client, 0, 0, 10)
			pc := consume(t, open(t, client, Config{}), 0, sarama.OffsetOldest)
			receive(t, pc, 10)
			if err := cluster.MoveLeader(topic, 0, 1); err != nil {
				t.Fatal(err)
			}
			produce(t, connect(t, cluster), 0, 10, 1)
			receive(t, pc, 1)
		})
	}
}

// A broker's quota is heeded, and does not hold Close up.
func TestThrottlingIsHeeded(t *testing.T) {
	cluster, client := start(t, 1)
	var fetches atomic.Int64
	onFetch(cluster, func(_ int32, r *kmsg.FetchRequest) *kmsg.FetchResponse {
		fetches.Add(1)
		answer := answerTo(r, func(*kmsg.FetchResponseTopicPartition) {})
		answer.ThrottleMillis = int32(time.Hour.Milliseconds())
		return answer
	})
	c := open(t, client, Config{})
	pc := consume(t, c, 0, sarama.OffsetOldest)
	for fetches.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 10 { // the other connection has the same quota
		wantQuiet(t, pc, 10*time.Millisecond)
		pc.Pause()
		pc.Resume() // which nudges both
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A version that the broker does not speak is reported, by theirs and by ours, and
// not asked for in a storm.
func TestUnsupportedVersionIsReported(t *testing.T) {
	for _, name := range []string{"sarama", "ours"} {
		t.Run(name, func(t *testing.T) {
			cluster, client := start(t, 1, func(c *sarama.Config) {
				c.Version = sarama.V0_10_2_0 // Fetch v3
				c.ApiVersionsRequest = false
			})
			var fetches atomic.Int64
			onFetch(cluster, func(int32, *kmsg.FetchRequest) *kmsg.FetchResponse {
				fetches.Add(1)
				return nil
			})
			c, err := sarama.NewConsumerFromClient(client)
			if name == "ours" {
				c, err = New(client, Config{})
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			pc, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
			if err != nil {
				t.Fatal(err)
			}
			if err := nextError(t, pc); err == nil {
				t.Error("no error")
			}
			time.Sleep(200 * time.Millisecond)
			if n := fetches.Load(); n > 30 {
				t.Errorf("%d fetches", n)
			}
			if err := pc.Close(); err != nil {
				t.Logf("Close() = %v", err)
			}
		})
	}
}
