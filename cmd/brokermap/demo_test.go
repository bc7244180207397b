package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

// parseSummary returns the summary on the last line of stdout.
func parseSummary(t *testing.T, stdout string) summary {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	d := json.NewDecoder(strings.NewReader(lines[len(lines)-1]))
	d.DisallowUnknownFields()
	var s summary
	if err := d.Decode(&s); err != nil {
		t.Fatalf("the last line of stdout %q is no summary: %v", stdout, err)
	}
	if d.More() {
		t.Fatalf("the last line of stdout %q is more than a summary", stdout)
	}
	return s
}

// checkSummary checks what must hold for every run that went well.
func checkSummary(t *testing.T, s summary) {
	t.Helper()
	if s.Lost != 0 || s.Duplicated != 0 || s.OutOfOrder != 0 || s.Received != s.Produced {
		t.Errorf("produced %d, received %d: lost %d, duplicated %d, out of order %d",
			s.Produced, s.Received, s.Lost, s.Duplicated, s.OutOfOrder)
	}
	if s.ExecutorsSpawned != s.ExecutorsStopped || s.ExecutorsSpawned == 0 {
		t.Errorf("%d executors were spawned and %d stopped", s.ExecutorsSpawned, s.ExecutorsStopped)
	}
}

func TestDemoLosesNothingInChaos(t *testing.T) {
	t.Parallel()
	const (
		duration   = 3 * time.Second
		rate       = 600
		partitions = 7
		seed       = 5
	)
	status, stdout, stderr := invoke(t.Context(), "demo", "-json", "-duration", duration.String(),
		"-rate", fmt.Sprint(rate), "-partitions", fmt.Sprint(partitions), "-seed", fmt.Sprint(seed))
	if status != 0 {
		t.Fatalf("status %d, stderr:\n%s", status, stderr)
	}
	if strings.Count(stdout, "\n") != 1 {
		t.Errorf("stdout with -json is %q, want one line", stdout)
	}
	s := parseSummary(t, stdout)
	checkSummary(t, s)
	// A busy machine may hold the last batches back, never the schedule up.
	if want := int64(rate * duration.Seconds()); s.Produced < want/2 || s.Produced > want+want/10+partitions {
		t.Errorf("%d records were produced at %d a second for %v", s.Produced, rate, duration)
	}
	plan := planFaults(seed, duration, partitions, 3)
	if len(s.Faults) != len(plan) {
		t.Fatalf("%d faults in %+v, want the %d of the plan", len(s.Faults), s.Faults, len(plan))
	}
	kinds := make(map[string]int)
	longest := int64(0)
	for i, f := range s.Faults {
		kinds[f.Kind]++
		if f.Kind != plan[i].kind || f.AtMS < plan[i].at.Milliseconds() || f.AtMS > s.DurationMS {
			t.Errorf("fault %d is %+v, want %s at %v", i, f, plan[i].kind, plan[i].at)
		}
		if f.StallMS < 0 || f.StallMS >= s.DurationMS { // 0 where a busy machine makes two faults coincide
			t.Errorf("fault %d stalled for %d ms of %d", i, f.StallMS, s.DurationMS)
		}
		longest = max(longest, f.StallMS)
	}
	if election := min(electionMost, faultPause(duration)/2); longest < election.Milliseconds() {
		t.Errorf("the longest stall was %d ms, though nobody was elected for %v", longest, election)
	}
	for _, kind := range []string{faultMove, faultDrop, faultKill, faultRevive} {
		if kinds[kind] == 0 {
			t.Errorf("there was no %s in %+v", kind, s.Faults)
		}
	}
	// Every broken connection costs an executor, and every worker one resolution
	// at least.
	if broken := kinds[faultDrop] + kinds[faultKill]; s.ExecutorsSpawned < uint64(3+broken)/2 {
		t.Errorf("%d executors for three brokers and %d broken connections", s.ExecutorsSpawned, broken)
	}
	if s.Resolutions < partitions {
		t.Errorf("%d resolutions for %d workers", s.Resolutions, partitions)
	}
	if s.MetadataRequests < 3 || s.MetadataRequests > 3*int64(s.Resolutions) {
		t.Errorf("%d metadata requests for %d resolutions and %d faults", s.MetadataRequests, s.Resolutions, len(plan))
	}
	if d := duration.Milliseconds(); s.DurationMS < d || s.DurationMS > d+(settleTimeout+drainTimeout+shutdownTimeout).Milliseconds() {
		t.Errorf("it took %d ms, want %d and a little", s.DurationMS, d)
	}
}

func TestDemoInText(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := invoke(t.Context(), "demo", "-v", "-duration", "2s", "-partitions", "2", "-rate", "200")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	for _, want := range []string{
		"s  cluster ", "s  fault  ", "s  status ", "s  detail ", "s  mapper ",
		"2 partitions of brokermap-demo-", "on 3 brokers, seed 1",
		"records  ", "0 lost, 0 duplicated, 0 out of order", "stall  ", " ms  (producer ", "executors  ", "mapper  ", "metadata requests\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("stdout lacks %q:\n%s", want, stdout)
		}
	}
}

// startCluster starts a cluster that stands for somebody else's.
func startCluster(t *testing.T) (*kafkatest.Cluster, string) {
	t.Helper()
	c, err := kafkatest.Start(kafkatest.Config{Topics: map[string]int32{"theirs": 2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, strings.Join(c.Addrs(), ",")
}

// topics returns what there is on a cluster.
func topics(t *testing.T, c *kafkatest.Cluster) map[string]bool {
	t.Helper()
	m := newMetadata("theirs", c.Addrs())
	defer m.close()
	names := make(map[string]bool)
	err := withBroker(t.Context(), c.Addrs()[0], func(b *sarama.Broker) error {
		answer, err := b.GetMetadata(sarama.NewMetadataRequest(sarama.V4_0_0_0, nil))
		if err == nil {
			for _, topic := range answer.Topics {
				names[topic.Name] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func wantOnlyTheirs(t *testing.T, c *kafkatest.Cluster) {
	t.Helper()
	if got := topics(t, c); len(got) != 1 || !got["theirs"] {
		t.Errorf("topics are %v, want only those that were there before", got)
	}
}

func TestDemoOnExistingCluster(t *testing.T) {
	t.Parallel()
	c, addrs := startCluster(t)
	first, _, _ := strings.Cut(addrs, ",")
	status, stdout, stderr := invoke(t.Context(), "demo", "-brokers", closedPort(t)+","+first,
		"-duration", "700ms", "-json", "-topic", "mine", "-partitions", "5")
	if status != 0 {
		t.Fatalf("status %d, stderr:\n%s", status, stderr)
	}
	s := parseSummary(t, stdout)
	checkSummary(t, s)
	if s.Produced == 0 {
		t.Error("nothing was produced")
	}
	if len(s.Faults) != 0 || !strings.Contains(stdout, `"faults":[]`) {
		t.Errorf("faults on somebody else's cluster: %s", stdout)
	}
	wantOnlyTheirs(t, c)
}

func TestDemoLeavesExistingTopicAlone(t *testing.T) {
	t.Parallel()
	c, addrs := startCluster(t)
	status, stdout, stderr := invoke(t.Context(), "demo", "-brokers", addrs, "-topic", "theirs")
	if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, `"theirs"`) || !strings.Contains(stderr, "exists") {
		t.Errorf("status %d, stdout %q, stderr %q, want 2 and one line", status, stdout, stderr)
	}
	wantOnlyTheirs(t, c)
}

// watcher is an output that does something when a text comes by.
type watcher struct {
	text string
	then func()

	mu   sync.Mutex
	all  bytes.Buffer
	once sync.Once
}

func (w *watcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all.Write(b)
	if strings.Contains(w.all.String(), w.text) {
		w.once.Do(w.then)
	}
	return len(b), nil
}

func TestInterruptEndsDemoInOrder(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"embedded": nil,
		"existing": {"-brokers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, addrs := startCluster(t)
			if args != nil {
				args = append(args, addrs)
			}
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			stderr := &watcher{text: "status", then: interrupt}
			var stdout bytes.Buffer
			status := run(ctx, append([]string{"demo", "-json", "-duration", "1h"}, args...), &stdout, stderr)
			if status != 0 {
				t.Errorf("status %d, stderr:\n%s", status, stderr.all.String())
			}
			s := parseSummary(t, stdout.String())
			checkSummary(t, s)
			if s.Produced == 0 || s.DurationMS < 500 {
				t.Errorf("interrupted after a second: %+v", s)
			}
			wantOnlyTheirs(t, c)
		})
	}
}

func TestInterruptBeforeDemoBegins(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	status, stdout, stderr := invoke(ctx, "demo")
	if status != 2 || stdout != "" || stderr != "brokermap demo: interrupted before it began\n" {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, stderr)
	}
}

func TestFrozenClusterIsReported(t *testing.T) {
	t.Parallel()
	c, addrs := startCluster(t)
	for id := range c.Addrs() {
		if err := c.Freeze(int32(id)); err != nil {
			t.Fatal(err)
		}
	}
	status, stdout, stderr := invoke(t.Context(), "demo", "-brokers", addrs)
	if status != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "no broker answers") {
		t.Errorf("status %d, stdout %q, stderr %q, want 2 and one line", status, stdout, stderr)
	}
}

func TestClusterThatFreezesDoesNotHangDemo(t *testing.T) {
	t.Parallel()
	c, addrs := startCluster(t)
	stderr := &watcher{text: "status", then: func() {
		for id := range c.Addrs() {
			if err := c.Freeze(int32(id)); err != nil {
				t.Error(err)
			}
		}
	}}
	var stdout bytes.Buffer
	begun := time.Now()
	status := run(t.Context(), []string{"demo", "-json", "-brokers", addrs, "-duration", "2500ms", "-topic", "mine"}, &stdout, stderr)
	if status != 1 {
		t.Errorf("status %d, want 1: a topic is left behind", status)
	}
	for _, want := range []string{"never acknowledged", `"mine" is left behind`} {
		if !strings.Contains(stderr.all.String(), want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr.all.String())
		}
	}
	s := parseSummary(t, stdout.String())
	if s.ExecutorsSpawned != s.ExecutorsStopped || s.ExecutorsSpawned == 0 {
		t.Errorf("%d executors were spawned and %d stopped", s.ExecutorsSpawned, s.ExecutorsStopped)
	}
	if most := settleTimeout + drainTimeout + shutdownTimeout + adminTimeout; time.Since(begun) > most+5*time.Second {
		t.Errorf("it took %v", time.Since(begun))
	}
}

func TestPrepareFailuresLeaveNothing(t *testing.T) {
	c, _ := startCluster(t)
	m := newMetadata("mine", c.Addrs())
	defer m.close()
	v, err := m.ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stale := *v // it does not know of the topic that is made now
	if made, err := createTopic(t.Context(), m, v, 3); !made || err != nil {
		t.Fatalf("createTopic() = %v, %v", made, err)
	}
	if made, err := createTopic(t.Context(), m, &stale, 3); made || !errors.Is(err, errTopicExists) {
		t.Errorf("createTopic() = %v, %v, want it refused", made, err)
	}
	stale.Controller = 7 // one that is gone: it is looked up again
	if err := removeTopic(t.Context(), m); err != nil {
		t.Error(err)
	}
	if made, err := createTopic(t.Context(), m, &stale, 3); !made || err != nil {
		t.Errorf("createTopic() = %v, %v", made, err)
	}
	if err := removeTopic(t.Context(), m); err != nil {
		t.Error(err)
	}
	if err := removeTopic(t.Context(), m); !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
		t.Errorf("removeTopic() of none: %v", err)
	}
}
