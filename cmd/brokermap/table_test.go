package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTableFitsAndIsDrawnOver(t *testing.T) {
	v := view{title: "title", elapsed: 12345 * time.Millisecond, rate: 99999, tally: tally{produced: 1, received: 2}}
	for id := range int32(tableBrokers + 3) {
		v.brokers = append(v.brokers, brokerState{
			id: id, addr: "127.0.0.1:65535", state: "down", rate: 99999,
			executors:  []string{"#1000", "#1001"},
			partitions: []int32{0, 10, 20, 30, 40, 50, 60, 70},
			last:       &fault{kind: faultRevive, at: 99900 * time.Millisecond, stall: 9999 * time.Millisecond},
		})
	}
	v.brokers[1].last, v.brokers[1].executors, v.brokers[1].partitions = nil, nil, nil
	lines := v.lines()
	for _, l := range lines {
		if len(l) > 80 {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"127.0.0.1:65535", "#1000 ..", "0 10 20 30 40 ..", "99999", "revive 99.9 s", "9999 ms", "and 3 more", "2 received"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	if got := v.status(); strings.Contains(got, "\n") || !strings.Contains(got, "broker 0 down: #1000 #1001, 8 partitions, 99999/s") {
		t.Errorf("status line %q", got)
	}

	var out bytes.Buffer
	table := &table{out: &out}
	table.draw(v)
	up := fmt.Sprintf("\x1b[%dA", len(lines))
	if strings.Contains(out.String(), up) {
		t.Error("the first drawing goes up")
	}
	out.Reset()
	table.draw(v)
	if !strings.Contains(out.String(), up) {
		t.Errorf("the second drawing, of %d lines, does not go up: %q", len(lines), out.String())
	}
}

func TestListIsCut(t *testing.T) {
	for _, c := range []struct {
		items []int
		width int
		want  string
	}{
		{nil, 5, "-"},
		{[]int{1, 2, 3}, 5, "1 2 3"},
		{[]int{1, 2, 3, 4}, 5, "1 .."},
		{[]int{1, 2, 3, 4}, 6, "1 2 .."},
		{[]int{1000000}, 3, "1000000"},
	} {
		if got := list(c.items, c.width); got != c.want {
			t.Errorf("list(%v, %d) = %q, want %q", c.items, c.width, got, c.want)
		}
	}
}

func TestTerminal(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/f")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if isTerminal(f) || isTerminal(&bytes.Buffer{}) {
		t.Error("a file is a terminal")
	}
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil { // a device, as a terminal is
		t.Setenv("TERM", "xterm")
		if !isTerminal(null) {
			t.Error("a device is no terminal")
		}
		t.Setenv("TERM", "dumb")
		if isTerminal(null) {
			t.Error("a dumb terminal is one for a table")
		}
		_ = null.Close()
	}
}
