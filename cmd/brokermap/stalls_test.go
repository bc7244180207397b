package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

func TestChaosOnEmbeddedCluster(t *testing.T) {
	status, stdout, stderr := invoke(t.Context(), strings.Fields("chaos -faults drop -clients brokermap,sarama-tuned -partitions 6 -json")...)
	var got chaosJSON
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != 0 {
		t.Fatalf("status %d, stdout %q (%v), stderr %q", status, stdout, err, stderr)
	}
	if len(got.Trials) != 1 || got.Trials[0].Fault != "drop" || len(got.Trials[0].Beyond) != 2 || got.Trials[0].Cluster <= 0 {
		t.Errorf("trials are %+v", got.Trials)
	}
	for _, client := range []string{"brokermap", "sarama-tuned"} {
		if r := got.Records[client]; r.Received == 0 || r.Lost+r.Duplicated+r.OutOfOrder != 0 {
			t.Errorf("%s: %+v", client, r)
		}
	}
	if !strings.Contains(stderr, "round 1, drop: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("stderr %q, want a line for the trial", stderr)
	}
}

func TestKafkaChaosOfRemoteCluster(t *testing.T) {
	if os.Getenv(kafkatest.WantKafka) == "" {
		t.Skip(kafkatest.ErrNotWanted)
	}
	k, err := kafkatest.StartKafka(t.Context(), kafkatest.KafkaConfig{Logf: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	args := append(strings.Fields("chaos -faults move,drop -clients brokermap -json -brokers"), k.Addrs()[0])
	status, stdout, stderr := invoke(t.Context(), args...)
	var got chaosJSON
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != 0 || len(got.Trials) != 2 || got.Records["brokermap"].Received == 0 {
		t.Errorf("status %d, stdout %q (%v), stderr %q", status, stdout, err, stderr)
	}
	for _, bad := range []string{"stop", "kill", "freeze", "bounce", "coordinator", "controller"} {
		status, _, stderr := invoke(t.Context(), "chaos", "-faults", bad, "-brokers", k.Addrs()[0])
		if status != 2 || !strings.Contains(stderr, bad) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%s: status %d, stderr %q, want 2 and one line", bad, status, stderr)
		}
	}
}

func TestChaosTable(t *testing.T) {
	o, err := parseChaosFlags(strings.Fields("-faults move,kill,drop -clients brokermap,sarama"))
	if err != nil {
		t.Fatal(err)
	}
	trial := func(fault, writer, first, second int) stall.Trial {
		ms := func(n int) stall.Stall {
			return stall.Stall{Slowest: time.Duration(n) * time.Millisecond, SlowestExcess: time.Duration(n) * time.Millisecond}
		}
		return stall.Trial{Fault: o.faults[fault], Floor: ms(writer), Stalls: []stall.Stall{ms(first), ms(second)}}
	}
	var out strings.Builder
	err = o.writeText(&out, stall.Result{
		Trials:  []stall.Trial{trial(0, 10, 1, 2000), trial(1, 1500, -3, 700), trial(0, 30, 3, 2100), trial(0, 20, 2, 1900)},
		Tallies: []stall.Tally{{Received: 9}, {Received: 8, Lost: 1}},
	})
	want := `Stalls of the slowest partition in ms, the clients' beyond the cluster's own; median [worst]
FAULT  CLUSTER      BROKERMAP  SARAMA
move   20 [30]      2 [3]      2000 [2100]
kill   1500 [1500]  -3 [-3]    700 [700]
brokermap: 9 records, 0 lost, 0 duplicated, 0 out of order
sarama: 8 records, 1 lost, 0 duplicated, 0 out of order
`
	if err != nil || out.String() != want {
		t.Errorf("error %v, table\n%s, want\n%s", err, &out, want)
	}
}

func TestChaosBadInput(t *testing.T) {
	nobody := closedPort(t)
	for args, want := range map[string][]string{
		"now":                 {`"now"`, "flags only"},
		"-clients kafka-go":   {"-clients", `"kafka-go"`, "sarama-tuned"},
		"-faults flood":       {"-faults", `"flood"`, "bounce"},
		"-faults controller":  {"-faults", "controller", "cannot be gone"},
		"-rounds 0":           {"-rounds", `"0"`, "from 1 to 1000"},
		"-partitions 1001":    {"-partitions", `"1001"`, "from 1 to 1000"},
		"-kafka=perhaps":      {"-kafka", `"perhaps"`, "true or false"},
		"-brokers x":          {"-brokers", `"x"`, "host:port"},
		"-kafka -brokers a:1": {"-kafka", "-brokers", "at most"},
		"-brokers " + nobody:  {nobody},
	} {
		status, stdout, stderr := invoke(t.Context(), append([]string{"chaos"}, strings.Fields(args)...)...)
		if status != 2 || stdout != "" || !strings.HasPrefix(stderr, "brokermap chaos: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("chaos %s: status %d, stdout %q, stderr %q, want 2, nothing and one line", args, status, stdout, stderr)
		}
		for _, w := range want {
			if !strings.Contains(stderr, w) {
				t.Errorf("chaos %s: stderr %q does not say %q", args, stderr, w)
			}
		}
	}
	for _, args := range []string{"chaos -h", "help chaos"} {
		if status, stdout, stderr := invoke(t.Context(), strings.Fields(args)...); status != 0 || stdout != chaosUsage || stderr != "" {
			t.Errorf("%s: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
		}
	}
}
