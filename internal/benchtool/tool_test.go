package main

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `go: go1.26.0
cores: 2
load: 7.25
round: 1
goos: linux
goarch: amd64
pkg: github.com/brokermap/brokermap
cpu: Some Processor
BenchmarkAcquire/goroutines=1/workers=1/impl=ours-2    	100	        20.00 ns/op	  18.5 cpu-ns/op
BenchmarkAcquire/goroutines=1/workers=1/impl=two-rmw-2 	100	         5.00 ns/op
BenchmarkSpawn/workers=1000/impl=ours-2      	  1	       220.5 heap-B	 400.0 spawn-ns
BenchmarkSpawn/workers=1000/impl=classic-2   	  1	       110.0 heap-B	2000.0 spawn-ns
PASS
pkg: github.com/brokermap/brokermap/internal/ringbuf
BenchmarkThroughput/impl=ours/producers=8-2 	100	        20.00 ns/op
BenchmarkThroughput/impl=chan/producers=8-2 	100	        80.00 ns/op
round: 2
pkg: github.com/brokermap/brokermap
BenchmarkAcquire/goroutines=1/workers=1/impl=ours-2    	100	        10.00 ns/op	  18.5 cpu-ns/op
BenchmarkAcquire/goroutines=1/workers=1/impl=two-rmw-2 	100	        10.00 ns/op
BenchmarkSpawn/workers=1000/impl=ours-2      	  1	       220.5 heap-B	 800.0 spawn-ns
`

func parsed(t *testing.T) *results {
	t.Helper()
	res, err := parse(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestRatiosAreOfOneRound(t *testing.T) {
	res := parsed(t)
	const ours, theirs = ":Acquire/goroutines=1/workers=1/impl=ours", ":Acquire/goroutines=1/workers=1/impl=two-rmw"
	if got := res.ratio(ours, theirs, "ns/op"); len(got) != 2 || got[0] != 1 || got[1] != 4 {
		t.Errorf("ratios %v, want 1 and 4", got)
	}
	if got := res.ratio(":Spawn/workers=1000/impl=classic", ":Spawn/workers=1000/impl=ours", "spawn-ns"); len(got) != 1 || got[0] != 5 {
		t.Errorf("ratios %v, want 5 of the first round alone", got)
	}
	if res.config["cpu"] != "Some Processor" || res.rounds != 2 {
		t.Errorf("config %v, %d rounds", res.config, res.rounds)
	}
	if got := times(res.runs()); got != "1 to 2 times" {
		t.Errorf("they ran %s, want 1 to 2 times", got)
	}
}

func TestQuantile(t *testing.T) {
	s := sampleOf([]float64{4, 1, math.NaN(), 2, 3})
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 1: 4, 0.25: 1.75} {
		if got := s.quantile(q); got != want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	md := string(markdown(parsed(t)))
	for _, want := range []string{
		"| Acquire + Release, 1 worker, 1 goroutine | 15.0 ns (12.5–17.5) | two-rmw: 7.50 ns (6.25–8.75) | 2.50x the time (1.75–3.25) | ≤ 2x | **missed** |",
		"| 1 k workers: time | 600 ns (500–700) | classic: 2000 ns | 5.00x as fast (5.00–5.00) | ≥ 2.5x as fast | met |",
		"| 1 k workers: memory of each that lives | 220 B | – | 220 B | ≤ 200 B | **missed** |",
		"| 8 producers | 20.0 ns | chan: 80.0 ns | 4.00x as fast (4.00–4.00) | ≥ 2.2x as fast | met |",
		"- Mapper: leases: Acquire + Release, 1 worker, 1 goroutine: 2.50x the time (1.75–3.25) of two-rmw, target ≤ 2x",
		"x the memory (2.00–2.00) of classic",
		"**Other programs were running** (load average 7.25 when it began)",
		"Some Processor, 2 cores, go1.26.0, linux/amd64",
	} {
		if !strings.Contains(md, want) {
			t.Errorf("the table lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(md)
	}
}

// TestEveryRowCanBeMeasured keeps a typing error from leaving a row out for ever.
func TestEveryRowCanBeMeasured(t *testing.T) {
	for _, s := range table() {
		for _, r := range s.rows {
			if !reImpl.MatchString(r.bench) || r.against == "" != (r.target.kind == ceiling) {
				t.Errorf("%s: %s: %+v", s.title, r.what, r)
			}
		}
	}
}

func TestPlots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plots.svg")
	if err := writePlots(path, parsed(t)); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Spawn to assigned", "Ring, one parking consumer", "Go channel"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("the plot lacks %q", want)
		}
	}
}
