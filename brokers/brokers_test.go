package brokers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/mapper"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

const testTopic = "t"

func startTopic(t *testing.T, partitions int32) *kafkatest.Cluster {
	t.Helper()
	c, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{testTopic: partitions}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func config() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.V4_0_0_0
	return conf
}

func clusterOf(t *testing.T, addrs ...string) *Cluster {
	t.Helper()
	c := NewCluster(config(), func() []string { return addrs })
	t.Cleanup(c.Close)
	return c
}

// never asks nobody else before the first one has answered.
func never(time.Duration) time.Duration { return time.Hour }

// closedPort returns the address of a port on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// worker is a PartitionWorker.
type worker struct {
	partition int32
	replica   int32

	mu   sync.Mutex
	told []Leader
}

func (w *worker) Assignment() chan<- mapper.Executor { return make(chan mapper.Executor, 1) }

func (w *worker) Partition() (string, int32) { return testTopic, w.partition }

func (w *worker) Replica() int32 { return w.replica }

func (w *worker) Resolved(l Leader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, l)
}

func workers(n int32) []mapper.Worker {
	all := make([]mapper.Worker, n)
	for i := range all {
		all[i] = &worker{partition: int32(i), replica: -1}
	}
	return all
}

func TestClusterAsksTheNextBroker(t *testing.T) {
	for name, fault := range map[string]func(*kafkatest.Cluster, int32) error{
		"frozen": (*kafkatest.Cluster).Freeze,
		"killed": (*kafkatest.Cluster).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			k := startTopic(t, 4)
			c := clusterOf(t, k.Addrs()...)
			if _, err := c.Metadata(t.Context(), testTopic); err != nil {
				t.Fatal(err)
			}
			if err := fault(k, 0); err != nil { // who answered last is asked first
				t.Fatal(err)
			}
			v, err := c.Metadata(t.Context(), testTopic)
			if err != nil {
				t.Fatal(err)
			}
			if l := v.Topics[testTopic].Partitions[1]; l.Err != nil || l.ID != 1 || l.Addr != k.Addrs()[1] {
				t.Errorf("partition 1 is led by %+v", l)
			}
			c.hedge = never // a busy machine is no silent broker
			before := c.Requests()
			if _, err := c.Metadata(t.Context(), testTopic); err != nil {
				t.Fatal(err)
			}
			if got := c.Requests() - before; got != 1 {
				t.Errorf("%d requests once it is known who answers", got)
			}
		})
	}
}

// A broker that is slower than the last answer was is not waited for.
func TestNextBrokerIsAskedSoonerWhereAnswersAreFast(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, hedgeFirst}, {time.Millisecond, hedgeLeast}, {8 * time.Millisecond, 32 * time.Millisecond}, {time.Second, hedgeMost},
	} {
		if got := hedgeAfter(c.took); got != c.want {
			t.Errorf("after an answer in %v the next one has %v, want %v", c.took, got, c.want)
		}
	}
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()...)
	var told time.Duration
	c.hedge = func(took time.Duration) time.Duration {
		told = took
		return time.Hour
	}
	for range 2 {
		if _, err := c.Metadata(t.Context(), testTopic); err != nil {
			t.Fatal(err)
		}
	}
	if told <= 0 || told > time.Minute {
		t.Errorf("the last answer took %v", told)
	}
}

// Who was asked first and is interrupted does not delay the answer of another.
func TestAnswerDoesNotWaitForOthers(t *testing.T) {
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()...)
	c.hedge = func(time.Duration) time.Duration { return time.Millisecond }
	slow := make(chan struct{})
	var first atomic.Bool
	answered := make(chan int, 1)
	go func() {
		n, err := ask(t.Context(), c, func(*sarama.Broker) (int, error) {
			if first.CompareAndSwap(false, true) {
				<-slow
				return 1, nil
			}
			return 2, nil
		}, nil)
		if err != nil {
			n = -1
		}
		answered <- n
	}()
	select {
	case n := <-answered:
		if n != 2 {
			t.Errorf("answer %d, want the second one's", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("no answer before the first one is done")
	}
	close(slow)
}

// A connection that the broker closed while nobody used it is no failure.
func TestClusterConnectsAgain(t *testing.T) {
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()[0])
	for range 3 {
		if _, err := c.Metadata(t.Context(), testTopic); err != nil {
			t.Fatal(err)
		}
		for id := range k.Addrs() {
			if _, err := k.Drop(int32(id)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestClusterOfNobodyAndOfNothing(t *testing.T) {
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()[0])
	v, err := c.Metadata(t.Context(), "nothing")
	if err != nil || !errors.Is(v.Topics["nothing"].Err, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("a topic that does not exist: %+v, %v", v, err)
	}
	if got := len(c.askers); got != 3 {
		t.Errorf("%d brokers are known after an answer that named three", got)
	}
	for id := range k.Addrs() {
		if err := k.Freeze(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.Metadata(ctx, testTopic); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, sarama.ErrOutOfBrokers) {
		t.Errorf("a frozen cluster: %v", err)
	}
	nobody := clusterOf(t, closedPort(t), closedPort(t))
	if _, err := nobody.Metadata(t.Context(), testTopic); !errors.Is(err, sarama.ErrOutOfBrokers) {
		t.Errorf("nobody is asked: %v", err)
	}
	if got := nobody.Requests(); got != 0 {
		t.Errorf("%d requests were sent to nobody", got)
	}
	none := clusterOf(t)
	if _, err := none.Metadata(t.Context(), testTopic); !errors.Is(err, sarama.ErrOutOfBrokers) {
		t.Errorf("no address: %v", err)
	}
	none.Close()
	if _, err := none.Metadata(t.Context(), testTopic); !errors.Is(err, sarama.ErrClosedClient) {
		t.Errorf("after Close: %v", err)
	}
}

func TestViewReadsNonsense(t *testing.T) {
	v := readView(&sarama.MetadataResponse{Version: 9, Topics: []*sarama.TopicMetadata{{Name: testTopic, Partitions: []*sarama.PartitionMetadata{
		{ID: 3, Leader: -1, Err: sarama.ErrLeaderNotAvailable}, {ID: 1, Leader: 9}, {ID: -1}, {ID: 1 << 30},
	}}}})
	want := []error{sarama.ErrUnknownTopicOrPartition, sarama.ErrLeaderNotAvailable, sarama.ErrUnknownTopicOrPartition, sarama.ErrLeaderNotAvailable}
	for p, l := range v.Topics[testTopic].Partitions {
		if p < len(want) && !errors.Is(l.Err, want[p]) {
			t.Errorf("partition %d: %v, want %v", p, l.Err, want[p])
		}
	}
	if got := len(v.Topics[testTopic].Partitions); got != 4 {
		t.Errorf("%d partitions, want 4", got)
	}
}

// Wrong credentials are not tried again and again.
func TestRefusedCredentialsAreNotRepeated(t *testing.T) {
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, testTopic), kfake.EnableSASL(), kfake.Superuser("PLAIN", "me", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	var tries atomic.Int64
	const saslAuthenticate = 36
	k.ControlKey(saslAuthenticate, func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		tries.Add(1)
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode = int16(sarama.ErrSASLAuthenticationFailed)
		return answer, nil, true
	})
	conf := config()
	conf.Net.SASL.Enable = true
	conf.Net.SASL.User, conf.Net.SASL.Password = "me", "guess"
	c := NewCluster(conf, k.ListenAddrs)
	defer c.Close()
	l := leadersOf(t, c)
	for range 10 {
		if _, err := l.ResolveBroker(&worker{replica: -1}); !errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
			t.Errorf("ResolveBroker() = %v", err)
		}
	}
	if n := tries.Load(); n != 1 {
		t.Errorf("they were tried %d times", n)
	}
}

// Whoever asks while a request is on its way shares the next one.
func TestRequestsAreJoinedButNeverOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int64
		r := newRounds(func(_ context.Context, keys []int) (int64, error) {
			n := sent.Add(1)
			time.Sleep(time.Second)
			return n, nil
		})
		join := func(key int, want int64) func() {
			return func() {
				if got, err := r.join(t.Context(), []int{key}); got != want || err != nil {
					t.Errorf("key %d is answered by request %d, %v, want %d", key, got, err, want)
				}
			}
		}
		var all sync.WaitGroup
		all.Go(join(0, 1))
		synctest.Wait()
		for key := range 1000 {
			all.Go(join(key, 2))
		}
		all.Wait()
		if got := sent.Load(); got != 2 {
			t.Errorf("%d requests for 1001 questions", got)
		}
		all.Go(join(0, 3))
		all.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.join(ctx, []int{1}); !errors.Is(err, context.Canceled) {
			t.Errorf("join() after the end of its context: %v", err)
		}
		r.close()
		if _, err := r.join(t.Context(), []int{1}); !errors.Is(err, context.Canceled) {
			t.Errorf("join() after close: %v", err)
		}
	})
}

// groupWorker is a GroupWorker.
type groupWorker struct {
	group string
	mu    sync.Mutex
	told  []int32
	errs  []error
}

func (w *groupWorker) Assignment() chan<- mapper.Executor { return make(chan mapper.Executor, 1) }

func (w *groupWorker) Group() string { return w.group }

func (w *groupWorker) Resolved(id int32, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told, w.errs = append(w.told, id), append(w.errs, err)
}

func TestCoordinatorsAskOncePerGroup(t *testing.T) {
	k := startTopic(t, 1)
	c := clusterOf(t, k.Addrs()...)
	c.hedge = never
	co := NewCoordinators(CoordinatorsConfig{Cluster: c})
	defer co.Close()
	var all []mapper.Worker
	for i := range 100 {
		all = append(all, &groupWorker{group: fmt.Sprintf("g%d", i%4)})
	}
	got := co.ResolveBrokers(t.Context(), all)
	for i, r := range got {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		w := all[i].(*groupWorker)
		if len(w.told) != 1 || k.Addrs()[w.told[0]] != r.BrokerConn.Addr() {
			t.Errorf("worker %d was told %v and gets %s", i, w.told, r.BrokerConn.Addr())
		}
		if r.BrokerConn != got[i%4].BrokerConn {
			t.Errorf("worker %d of group %s has a connection of its own", i, w.group)
		}
	}
	if n := c.Requests(); n != 4 {
		t.Errorf("%d requests for four groups", n)
	}
	for id := range k.Addrs() {
		if err := k.Kill(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := co.ResolveBroker(all[0]); !errors.Is(err, sarama.ErrOutOfBrokers) {
		t.Errorf("ResolveBroker() without brokers: %v", err)
	}
}

// A request that a frozen broker does not answer, and a dial that is not answered,
// end at once when they are interrupted.
func TestConnInterrupt(t *testing.T) {
	k := startTopic(t, 1)
	for name, opened := range map[string]bool{"request": true, "dial": false} {
		t.Run(name, func(t *testing.T) {
			conn := NewConn(ConnConfig{Client: config()}, sarama.NewBroker(k.Addrs()[0]))
			defer conn.Close()
			if opened {
				if err := conn.Connect(); err != nil {
					t.Fatal(err)
				}
			}
			if err := k.Freeze(0); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = k.Thaw(0) }()
			failed := make(chan error, 1)
			go func() {
				failed <- conn.Do(context.Background(), func(b *sarama.Broker) error {
					_, err := b.GetMetadata(sarama.NewMetadataRequest(sarama.V4_0_0_0, nil))
					return err
				})
			}()
			time.Sleep(10 * time.Millisecond) // any moment will do
			conn.Interrupt()
			select {
			case err := <-failed:
				if err == nil {
					t.Error("no error")
				}
			case <-time.After(5 * time.Second):
				t.Fatal("it goes on")
			}
			if err := conn.Connect(); err == nil {
				t.Error("an interrupted connection connects")
			}
		})
	}
}
