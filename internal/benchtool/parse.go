package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// results is the output of the benchmarks.
type results struct {
	config map[string]string // goos, cpu, ...
	rounds int
	// values has one measurement a round, NaN where the round has none, by series.
	values map[series][]float64
	names  []string // of the benchmarks, in the order of their first appearance
}

// series is what is measured once a round: a benchmark, which is called
// package:Name/key=value/..., in one unit.
type series struct{ bench, unit string }

const pkgPrefix = "github.com/brokermap/brokermap"

// parse reads the format of go test -bench, with "round: n" lines in between.
func parse(r io.Reader) (*results, error) {
	res := &results{config: make(map[string]string), values: make(map[series][]float64)}
	pkg := ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if key, value, ok := strings.Cut(line, ": "); ok && !strings.ContainsAny(key, " \t/") {
			switch key {
			case "round":
				res.rounds++
			case "pkg":
				pkg = strings.TrimPrefix(strings.TrimPrefix(value, pkgPrefix), "/")
			default:
				res.config[key] = strings.TrimSpace(value)
			}
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if res.rounds == 0 {
			res.rounds = 1 // plain output of go test
		}
		name := pkg + ":" + strings.TrimPrefix(trimProcs(fields[0]), "Benchmark")
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			res.add(name, fields[i+1], v)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(res.values) == 0 {
		return nil, fmt.Errorf("no benchmark has run")
	}
	return res, nil
}

func (res *results) add(name, unit string, v float64) {
	s := series{name, unit}
	if !slices.Contains(res.names, name) {
		res.names = append(res.names, name)
	}
	vs := res.values[s]
	for len(vs) < res.rounds {
		vs = append(vs, math.NaN())
	}
	vs[res.rounds-1] = v
	res.values[s] = vs
}

// runs returns how often the benchmarks ran, the least and the most.
func (res *results) runs() (least, most int) {
	least = math.MaxInt
	for _, vs := range res.values {
		n := len(sampleOf(vs))
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

// trimProcs takes the number of processors from the end of a name.
func trimProcs(name string) string {
	if i := strings.LastIndexByte(name, '-'); i >= 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			return name[:i]
		}
	}
	return name
}

// sample is a number of measurements of the same thing, in ascending order.
type sample []float64

func sampleOf(vs []float64) sample {
	s := slices.DeleteFunc(slices.Clone(vs), math.IsNaN)
	slices.Sort(s)
	return s
}

// quantile interpolates between neighbors.
func (s sample) quantile(q float64) float64 {
	at := q * float64(len(s)-1)
	i := int(at)
	if i+1 >= len(s) {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

func (s sample) median() float64 { return s.quantile(0.5) }

func (res *results) sample(bench, unit string) sample {
	return sampleOf(res.values[series{bench, unit}])
}

// ratio returns a/b, round by round.
func (res *results) ratio(a, b, unit string) sample {
	as, bs := res.values[series{a, unit}], res.values[series{b, unit}]
	var rs []float64
	for i := range min(len(as), len(bs)) {
		rs = append(rs, as[i]/bs[i])
	}
	return sampleOf(rs)
}
