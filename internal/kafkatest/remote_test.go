package kafkatest_test

import (
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

func TestKafkaRemote(t *testing.T) {
	k := startKafka(t, kafkatest.KafkaConfig{})
	r, err := kafkatest.Connect(k.Addrs()[1:2])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := r.Addrs(); !slices.Equal(got, k.Addrs()) {
		t.Fatalf("brokers are %v, want %v", got, k.Addrs())
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	leaders := func(want ...int32) {
		t.Helper()
		if got := leadersOf(t, k); !slices.Equal(got, want) {
			t.Errorf("leaders are %v, want %v", got, want)
		}
	}
	must(r.CreateTopic(topic, 4))
	leaders(0, 1, 2, 0)
	must(r.MoveLeaders(topic, map[int32]int32{0: 2, 3: 1}))
	leaders(2, 1, 2, 1)
	must(r.MoveLeader(topic, 1, 0))
	leaders(2, 0, 2, 1)
	must(r.Reassign(topic, 2, 1, 0))
	leaders(2, 0, 1, 1)
	must(r.Settle(topic))
	leaders(0, 1, 2, 0)

	c, err := net.Dial("tcp", k.Addrs()[2])
	must(err)
	defer c.Close()
	if n, err := r.Drop(2); n < 1 || err != nil {
		t.Errorf("Drop() = %d, %v, want one at least", n, err)
	}
	must(c.SetReadDeadline(time.Now().Add(time.Minute)))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a dropped connection: %v", err)
	}

	_, dropErr := r.Drop(3)
	_, leadersErr := r.Leaders("unknown")
	for call, err := range map[string]error{
		"Drop": dropErr, "Leaders": leadersErr, "CreateTopic again": r.CreateTopic(topic, 1),
		"MoveLeader to nobody": r.MoveLeader(topic, 0, 3), "MoveLeader of no partition": r.MoveLeader(topic, 4, 0),
		"Reassign to none": r.Reassign(topic, 0), "Reassign to nobody": r.Reassign(topic, 0, -1),
	} {
		if err == nil {
			t.Errorf("%s: no error", call)
		}
	}
	r.Close()
	if _, err := k.Leaders(topic); err == nil {
		t.Error("the topic is still there")
	}
}

// Somebody who accepts, and is no Kafka, is found out within seconds.
func TestConnectToNoKafka(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	_, err = kafkatest.Connect([]string{l.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("Connect() = %v, want an error that names %v", err, l.Addr())
	}
	if d := time.Since(began); d > 30*time.Second {
		t.Errorf("it took %v", d)
	}
}
