//go:build trace

package mapper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/IBM/sarama"
)

type tracedWorker struct{ ch chan Executor }

func (w *tracedWorker) Assignment() chan<- Executor { return w.ch }

type tracedResolver struct{ conn *sarama.Broker }

type tracedExecutor struct{ conn *sarama.Broker }

func (e *tracedExecutor) BrokerConn() *sarama.Broker { return e.conn }
func (e *tracedExecutor) Stop()                      {}

func (r tracedResolver) ResolveBroker(Worker) (*sarama.Broker, error) { return r.conn, nil }
func (r tracedResolver) SpawnExecutor(conn *sarama.Broker) Executor   { return &tracedExecutor{conn} }

// A hint may reach the mapper when its entry is retired and the worker lives in
// another one: that is no look at the worker.
func TestTraceOfALateHint(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("BROKERMAP_TRACE", dir)
	cfg, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	m := newMapper(cfg, tracedResolver{sarama.NewBroker("a:1")})
	l := newLoop(m)
	l.async = func(call func()) { call() }
	settle := func() {
		for range 4 {
			l.pass()
		}
	}
	w := &tracedWorker{make(chan Executor, 1)}
	m.OnWorkerSpawned(w)
	settle()
	late := m.find(w)
	m.OnWorkerStopped(w)
	settle()
	m.OnWorkerSpawned(w)
	if m.find(w) == late {
		t.Fatal("the worker has its old entry")
	}
	m.ring.Push(late)
	settle()
	files, err := filepath.Glob(filepath.Join(dir, "*.trace"))
	if err != nil || len(files) != 1 {
		t.Fatalf("traces %v, error %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\"Look\""); n != 3 {
		t.Errorf("%d looks, want 3:\n%s", n, text)
	}
}
