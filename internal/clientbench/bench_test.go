package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/brokermap/brokermap/internal/kafkatest"
	"github.com/brokermap/brokermap/internal/stall"
)

// TestMain lets the test binary be the child that measures.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-child" {
		if err := runChild(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Each client reads each record once, in its own process, beside a cluster in
// another one.
func TestEveryClientReadsEverything(t *testing.T) {
	err := alone("kfake", func(addrs []string, bed kafkatest.Testbed) error {
		s := shape{Partitions: 3, Size: 100, Records: 3000}
		if err := load(t.Context(), addrs, bed, "t", s); err != nil {
			return err
		}
		for _, c := range clients() {
			m, err := measure(task{Kind: "consume", Client: c.Name, Addrs: addrs, Topic: "t", Partitions: s.Partitions, Records: s.Records})
			if err != nil {
				return err
			}
			if m.Wrong != 0 || m.Wall <= 0 || m.CPU <= 0 || m.RSS <= 0 {
				t.Errorf("%s: %+v", c.Name, m)
			}
		}
		_, err := measure(task{Kind: "consume", Client: "nobody", Addrs: addrs})
		if err == nil || !strings.Contains(err.Error(), `"nobody" is no client`) {
			t.Errorf("a client that there is not: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLatencyIsMeasured(t *testing.T) {
	ours, err := pick("brokermap")
	if err != nil {
		t.Fatal(err)
	}
	err = alone("kfake", func(addrs []string, bed kafkatest.Testbed) error {
		m, err := latencyOf(t.Context(), ours[0], addrs, bed, "t", 120)
		if m.P50 <= 0 || m.P50 > m.P99 || m.P99 > m.Worst || m.Worst > time.Minute {
			t.Errorf("%+v", m)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// made are results in which each figure can be told.
func made() results {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	trial := func(fault string, floor, first, second int) stall.Trial {
		f, _ := stall.FaultByName(fault)
		return stall.Trial{Fault: f, Floor: stall.Stall{Slowest: ms(floor)}, Stalls: []stall.Stall{{SlowestExcess: ms(first)}, {SlowestExcess: ms(second)}}}
	}
	return results{Go: "go1", Load: "0.5", Cores: 2, Clusters: map[string]*clusterResults{"kafka": {
		Throughput: []throughputResult{{shape{12, 100, 1000}, map[string][]consumed{
			"brokermap": {{Wall: ms(1), CPU: ms(1)}, {Wall: ms(2), CPU: ms(1)}, {Wall: ms(4), CPU: ms(1)}},
			"sarama":    {{Wall: ms(4), CPU: ms(4)}},
		}}},
		Latency: []latencyResult{{1200, map[string][]consumed{"brokermap": {{P50: ms(2), P99: ms(3), Worst: ms(5)}}}}},
		Storm:   []stormResult{{"brokermap", 7, 8, 9}},
		Stalls: &stallResults{
			Clients: []string{"brokermap", "sarama"},
			Trials:  []stall.Trial{trial("kill", 100, 5, 600), trial("move", 10, 1, 2000), trial("kill", 120, 9, 700), trial("kill", 110, 7, 500)},
			Tallies: []stall.Tally{{Received: 42}, {Received: 43, Lost: 1}},
		},
		Soak: &soakResult{Client: "brokermap", Time: time.Minute, Pause: 5 * time.Second, Faults: map[string]int{"kill": 3}, Samples: []soakSample{{ms(1), 10, 1 << 20}}},
	}}}
}

func TestMarkdown(t *testing.T) {
	text := string(markdown(made()))
	for _, want := range []string{
		"| brokermap | 500 k | 2.00x | 1000 ns | 0.25x | – |",
		"| brokermap | 2.00 ms | 3.00 ms | 5.00 ms |",
		"| brokermap | 7 | 8 | 9 |",
		"| | kill | move |",
		"| brokermap | 7 [9] | 1 [1] |",
		"| sarama | 600 [700] | 2000 [2000] |",
		"| *the cluster's gap* | *110 [120]* | *10 [10]* |",
		"a broker dies (3 trials)",
		"| sarama | 43 | 1 | 0 | 0 |",
		"with 3 faults, at most 5.0 s apart: map[kill:3]",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
}

// Stalls of our clients alone stand beside those of all, in whatever order the files
// are named.
func TestStallsAloneStandBesideTheOthers(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, load string, clients ...string) string {
		r := results{Load: load, Clusters: map[string]*clusterResults{"kafka": {Stalls: &stallResults{Clients: clients}}}}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	beside, alone, again := write("beside", "1", "brokermap", "sarama"), write("alone", "2", "brokermap"), write("again", "3", "brokermap", "franz-go")
	for _, files := range [][]string{{beside, alone}, {alone, beside}, {beside, alone, again}} {
		res, err := read(files)
		if err != nil {
			t.Fatal(err)
		}
		c := res.Clusters["kafka"]
		if c.Alone == nil || !c.Alone.onlyOurs() || c.Stalls.onlyOurs() {
			t.Errorf("%v: %+v, alone %+v", files, c.Stalls, c.Alone)
		}
		if len(files) == 3 && c.Stalls.Clients[1] != "franz-go" {
			t.Errorf("the later one does not override: %v", c.Stalls.Clients)
		}
		if text := string(markdown(res)); !strings.Contains(text, "### Stalls without the others") {
			t.Errorf("%v: the table is not shown", files)
		}
	}
	if res, err := read([]string{alone}); err != nil || res.Clusters["kafka"].Alone != nil {
		t.Errorf("one file alone: %v, %v", res.Clusters["kafka"], err)
	}
}

func TestPlots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clients.svg")
	if err := writePlots(path, made()); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<svg", "Stall beyond", "Records a second, Apache Kafka", "brokermap", ">kill<"} {
		if !strings.Contains(string(svg), want) {
			t.Errorf("the plot has no %q", want)
		}
	}
}
