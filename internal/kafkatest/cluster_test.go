package kafkatest

import (
	"errors"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

const topic = "t"

func start(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// dial opens a connection that waits for answers for so long, until the test ends.
func dial(t *testing.T, addr string, patience time.Duration) *sarama.Broker {
	t.Helper()
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	conf.Net.DialTimeout, conf.Net.ReadTimeout = patience, patience
	conf.ApiVersionsRequest = false
	b := sarama.NewBroker(addr)
	if err := b.Open(conf); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// ask sends one Metadata request on a connection of its own.
func ask(t *testing.T, addr string, patience time.Duration) (*sarama.MetadataResponse, error) {
	t.Helper()
	return dial(t, addr, patience).GetMetadata(sarama.NewMetadataRequest(sarama.V4_0_0_0, []string{topic}))
}

// leadersOnTheWire returns what the broker at addr says.
func leadersOnTheWire(t *testing.T, addr string) (leaders, epochs []int32) {
	t.Helper()
	answer, err := ask(t, addr, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	partitions := answer.Topics[0].Partitions
	leaders, epochs = make([]int32, len(partitions)), make([]int32, len(partitions))
	for _, p := range partitions {
		leaders[p.ID], epochs[p.ID] = p.Leader, p.LeaderEpoch
	}
	return leaders, epochs
}

func TestClusterServesTopicsWithLeadersInTurn(t *testing.T) {
	c := start(t, Config{Topics: map[string]int32{topic: 7}})
	addrs := c.Addrs()
	if len(addrs) != 3 {
		t.Fatalf("Addrs() = %v, want three brokers", addrs)
	}
	want := []int32{0, 1, 2, 0, 1, 2, 0}
	for _, addr := range addrs {
		if got, _ := leadersOnTheWire(t, addr); !slices.Equal(got, want) {
			t.Errorf("%s says that the leaders are %v, want %v", addr, got, want)
		}
	}
	if got, err := c.Leaders(topic); err != nil || !slices.Equal(got, want) {
		t.Errorf("Leaders() = %v, %v, want %v", got, err, want)
	}
}

func TestClusterMovesLeaderInNewEpoch(t *testing.T) {
	c := start(t, Config{Topics: map[string]int32{topic: 2}})
	_, before := leadersOnTheWire(t, c.Addrs()[1])
	if err := c.MoveLeader(topic, 0, 2); err != nil {
		t.Fatal(err)
	}
	leaders, after := leadersOnTheWire(t, c.Addrs()[1])
	if want := []int32{2, 1}; !slices.Equal(leaders, want) {
		t.Errorf("leaders are %v, want %v", leaders, want)
	}
	if after[0] <= before[0] || after[1] != before[1] {
		t.Errorf("epochs went from %v to %v, want a new one for partition 0 only", before, after)
	}
	if err := c.SpreadLeaders(topic); err != nil {
		t.Fatal(err)
	}
	leaders, last := leadersOnTheWire(t, c.Addrs()[1])
	if want := []int32{0, 1}; !slices.Equal(leaders, want) || last[1] != after[1] {
		t.Errorf("spread: leaders are %v in epochs %v, want %v and partition 1 left alone", leaders, last, want)
	}
}

func TestClusterKilledBrokerLeadsUntilElect(t *testing.T) {
	c := start(t, Config{Topics: map[string]int32{topic: 6}})
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", c.Addrs()[0]); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial of a killed broker: %v, want it refused", err)
	}
	if got, _ := leadersOnTheWire(t, c.Addrs()[1]); got[0] != 0 {
		t.Errorf("leaders are %v before anybody was elected", got)
	}
	if err := c.Freeze(1); err != nil {
		t.Fatal(err)
	}
	moved, err := c.Elect(topic, 0)
	if err != nil || !slices.Equal(moved, []int32{0, 3}) {
		t.Errorf("Elect() = %v, %v, want partitions 0 and 3", moved, err)
	}
	if got, want := must(c.Leaders(topic)), []int32{2, 1, 2, 2, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("leaders are %v, want %v: broker 1 is frozen", got, want)
	}
	if _, err := c.Elect(topic, 2); err == nil {
		t.Error("Elect() found somebody where everybody else is gone")
	}
	for _, err := range []error{c.Revive(0), c.Thaw(1), c.SpreadLeaders(topic)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got, want := must(c.Leaders(topic)), []int32{0, 1, 2, 0, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("leaders are %v, want %v", got, want)
	}
	for _, addr := range c.Addrs() {
		leadersOnTheWire(t, addr) // everybody answers again
	}
}

func TestClusterFrozenBrokerDoesNotAnswer(t *testing.T) {
	c := start(t, Config{Topics: map[string]int32{topic: 1}})
	if err := c.Freeze(2); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := ask(t, c.Addrs()[2], 30*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a frozen broker answered, or failed otherwise: %v", err)
	}
	leadersOnTheWire(t, c.Addrs()[0]) // the others go on
	if err := c.Thaw(2); err != nil {
		t.Fatal(err)
	}
	leadersOnTheWire(t, c.Addrs()[2])
}

func TestClusterDropCountsConnections(t *testing.T) {
	c := start(t, Config{})
	b := dial(t, c.Addrs()[1], time.Minute)
	request := sarama.NewMetadataRequest(sarama.V4_0_0_0, []string{topic})
	if _, err := b.GetMetadata(request); err != nil {
		t.Fatal(err)
	}
	if got := c.Connections(1); got != 1 {
		t.Errorf("Connections() = %d, want 1", got)
	}
	if n, err := c.Drop(1); n != 1 || err != nil {
		t.Errorf("Drop() = %d, %v, want 1", n, err)
	}
	if _, err := b.GetMetadata(request); err == nil {
		t.Error("a dropped connection answered")
	}
}

// A group's coordinator is who Kafka's protocol says it is.
func TestClusterCoordinator(t *testing.T) {
	c := start(t, Config{})
	for _, group := range []string{"a", "b", "c"} {
		want, err := sarama.NewClient(c.Addrs(), sarama.NewConfig())
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.Coordinator(group)
		if err != nil {
			t.Fatal(err)
		}
		if got := must(c.Coordinator(group)); got != b.ID() {
			t.Errorf("Coordinator(%q) = %d, want %d", group, got, b.ID())
		}
		_ = want.Close()
	}
}

func TestClusterBadCalls(t *testing.T) {
	if _, err := Start(Config{Brokers: -1}); err == nil {
		t.Error("Start with -1 brokers: no error")
	}
	if _, err := Start(Config{Options: []kfake.Opt{kfake.User("nonsense", "u", "p")}}); err == nil {
		t.Error("Start with an option that kfake refuses: no error")
	}
	c := start(t, Config{Brokers: 1, Topics: map[string]int32{topic: 1}})
	bad := func(when string, broker int32, topic string) {
		t.Helper()
		_, dropErr := c.Drop(broker)
		_, electErr := c.Elect(topic, broker)
		_, leadersErr := c.Leaders(topic)
		for name, err := range map[string]error{
			"Drop": dropErr, "Elect": electErr, "Leaders": leadersErr,
			"Kill": c.Kill(broker), "Revive": c.Revive(broker),
			"Freeze": c.Freeze(broker), "Thaw": c.Thaw(broker),
			"MoveLeader": c.MoveLeader(topic, 0, broker), "SpreadLeaders": c.SpreadLeaders(topic),
		} {
			if err == nil {
				t.Errorf("%s %s: no error", name, when)
			}
		}
		if got := c.Connections(broker); got != 0 {
			t.Errorf("Connections %s: %d, want 0", when, got)
		}
	}
	bad("with an unknown broker and topic", 1, "unknown")
	bad("with a negative broker", -1, "unknown")
	c.Close()
	c.Close()
	bad("after Close", 0, topic)
	if _, err := c.Coordinator("g"); err == nil {
		t.Error("Coordinator after Close: no error")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
