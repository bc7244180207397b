package kafkatest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
)

const topic = "t"

// startKafka starts a real cluster, or skips t where none is wanted.
func startKafka(t *testing.T, cfg kafkatest.KafkaConfig) *kafkatest.Kafka {
	t.Helper()
	if os.Getenv(kafkatest.WantKafka) == "" {
		t.Skip(kafkatest.ErrNotWanted)
	}
	cfg.Logf = t.Logf
	began := time.Now()
	k, err := kafkatest.StartKafka(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("up in %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(k.LogTail(30))
		}
		k.Close()
	})
	return k
}

func leadersOf(t *testing.T, k *kafkatest.Kafka) []int32 {
	t.Helper()
	leaders, err := k.Leaders(topic)
	if err != nil {
		t.Fatal(err)
	}
	return leaders
}

func TestKafkaFaults(t *testing.T) {
	k := startKafka(t, kafkatest.KafkaConfig{Topics: map[string]int32{topic: 6}})
	settled := []int32{0, 1, 2, 0, 1, 2}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := leadersOf(t, k); !slices.Equal(got, settled) {
		t.Fatalf("leaders are %v, want %v", got, settled)
	}

	must(k.MoveLeader(topic, 0, 2))
	must(k.MoveLeaders(topic, map[int32]int32{1: 0, 4: 2}))
	if got, want := leadersOf(t, k), []int32{2, 0, 2, 0, 2, 2}; !slices.Equal(got, want) {
		t.Errorf("moved: leaders are %v, want %v", got, want)
	}
	must(k.Settle(topic))
	must(k.Reassign(topic, 3, 2, 1))
	if got, want := leadersOf(t, k), []int32{0, 1, 2, 2, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("reassigned: leaders are %v, want %v", got, want)
	}
	must(k.Settle(topic))

	for _, fault := range []struct {
		name         string
		strike, undo func(int32) error
		dial         error // of the struck broker
	}{
		{"kill", k.Kill, k.Revive, syscall.ECONNREFUSED},
		{"stop", k.Stop, k.Revive, syscall.ECONNREFUSED},
		{"freeze", k.Freeze, k.Thaw, nil},
	} {
		if got := leadersOf(t, k); !slices.Equal(got, settled) {
			t.Fatalf("before %s: leaders are %v, want %v", fault.name, got, settled)
		}
		began := time.Now()
		must(fault.strike(1))
		c, err := net.Dial("tcp", k.Addrs()[1])
		if !errors.Is(err, fault.dial) {
			t.Errorf("%s: dial: %v, want %v", fault.name, err, fault.dial)
		}
		if err == nil {
			_ = c.Close()
		}
		moved, err := k.Elect(topic, 1)
		must(err)
		if fault.name != "stop" && !slices.Equal(moved, []int32{1, 4}) {
			t.Errorf("%s: partitions %v moved, want 1 and 4", fault.name, moved)
		}
		elected := time.Since(began)
		if got := leadersOf(t, k); slices.Contains(got, 1) || slices.Contains(got, -1) {
			t.Errorf("%s: leaders are %v", fault.name, got)
		}
		if err := k.Settle(topic); err == nil {
			t.Errorf("%s: the cluster has settled without broker 1", fault.name)
		}
		began = time.Now()
		must(fault.undo(1))
		must(k.Settle(topic))
		t.Logf("%s: others lead after %v; settled %v after the end of the fault", fault.name, elected.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	}

	coordinator, err := k.Coordinator("g")
	must(err)
	must(k.Stop(coordinator))
	if next, err := k.Coordinator("g"); err != nil || next == coordinator {
		t.Errorf("Coordinator() = %d, %v after broker %d was stopped", next, err, coordinator)
	}
	must(k.Revive(coordinator))
	must(k.Settle(topic))

	k.KillController()
	if got := leadersOf(t, k); !slices.Equal(got, settled) {
		t.Errorf("without a controller: leaders are %v, want %v", got, settled)
	}
	must(k.ReviveController())
	must(k.MoveLeader(topic, 0, 1))

	// A connection that both sides see end.
	c, err := net.Dial("tcp", k.Addrs()[2])
	must(err)
	defer c.Close()
	if n, err := k.Drop(2); n != 1 || err != nil {
		t.Errorf("Drop() = %d, %v, want 1", n, err)
	}
	must(c.SetReadDeadline(time.Now().Add(time.Minute)))
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a dropped connection gave %d bytes, %v", n, err)
	}
}

func TestKafkaBadCalls(t *testing.T) {
	for _, cfg := range []kafkatest.KafkaConfig{
		{Brokers: -1}, {Brokers: 101}, {Replicas: 4}, {Replicas: -1}, {HeapMB: -1}, {SessionTimeout: -1},
	} {
		if k, err := kafkatest.StartKafka(t.Context(), cfg); err == nil {
			k.Close()
			t.Errorf("StartKafka(%+v): no error", cfg)
		}
	}
	k := startKafka(t, kafkatest.KafkaConfig{Brokers: 1, Topics: map[string]int32{topic: 1}})
	_, dropErr := k.Drop(1)
	_, electErr := k.Elect(topic, -1)
	_, leadersErr := k.Leaders("unknown")
	for call, err := range map[string]error{
		"Drop": dropErr, "Elect": electErr, "Leaders": leadersErr,
		"Kill": k.Kill(1), "Stop": k.Stop(1), "Revive": k.Revive(1), "Freeze": k.Freeze(-1), "Thaw": k.Thaw(1),
		"MoveLeader of no partition": k.MoveLeader(topic, 1, 0), "MoveLeader to nobody": k.MoveLeader(topic, 0, 1),
		"Reassign to nobody": k.Reassign(topic, 0, 1), "Reassign to none": k.Reassign(topic, 0),
		"CreateTopic again": k.CreateTopic(topic, 1),
	} {
		if err == nil {
			t.Errorf("%s: no error", call)
		}
	}
	k.Close()
	k.Close()
	if _, err := k.Leaders(topic); err == nil {
		t.Error("Leaders after Close: no error")
	}
}

// orphanage makes the test binary the process that starts a cluster and is killed.
const orphanage = "BROKERMAP_KAFKATEST_ORPHANAGE"

func startOrphans() {
	k, err := kafkatest.StartKafka(context.Background(), kafkatest.KafkaConfig{Brokers: 1})
	if err == nil {
		err = k.Freeze(0) // a process that is stopped must go, too
	}
	if err != nil {
		fmt.Println(strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
	fmt.Println("pids", k.Pids())
	select {}
}

// Nothing that was started is left when the process that did is killed.
func TestKafkaDiesWithItsParent(t *testing.T) {
	if os.Getenv(kafkatest.WantKafka) == "" {
		t.Skip(kafkatest.ErrNotWanted)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	tmp := t.TempDir()
	cmd.Env = append(os.Environ(), orphanage+"=1", "TMPDIR="+tmp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	var broker, controller int
	if _, err := fmt.Sscanf(line, "pids [%d %d]", &broker, &controller); err != nil {
		t.Fatalf("the process said %q: %v", line, err)
	}
	for _, pid := range []int{broker, controller} {
		for began := time.Now(); alive(pid); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("process %d has outlived the one that started it", pid)
			}
		}
	}

	// What it could not remove itself is removed by the next one, once it is old.
	left, err := filepath.Glob(filepath.Join(tmp, "kafkatest-*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("the process left %v, %v, want one directory", left, err)
	}
	past := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(left[0], "lock"), past, past); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", tmp)
	startKafka(t, kafkatest.KafkaConfig{Brokers: 1})
	if _, err := os.Stat(left[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", left[0], err)
	}
}

// alive says whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
