// Net measures the net: it seeds defects one by one into the specification, the
// machine, the mapper's shell and the lock-free parts, has every layer of checks
// look for each, and prints who has caught which.
//
//	go run ./internal/net -out docs/net.md
//
// Run it from the root of the module. What it has found stands in the file of
// -results, one line a cell, so that it can be stopped and goes on where it was;
// a cell whose defect or layer has changed is looked at again. Several may run at
// a time, of different -rows.
//
// It fails where nobody caught a defect, or where the layer that should have
// caught it did not.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	results := flag.String("results", "net.jsonl", "file of what was found; it is added to")
	out := flag.String("out", "", "file to write the matrix to, besides the standard output")
	rows := flag.String("rows", "", "pattern of the defects to seed; empty: all")
	only := flag.String("layers", "", "pattern of the layers to ask; empty: all")
	look := flag.Bool("look", false, "only print what is there already")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *results, *out, *rows, *only, *look)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "net:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, results, out, rows, only string, look bool) error {
	rowPattern, err := regexp.Compile(rows)
	if err != nil {
		return err
	}
	layerPattern, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	known, err := read(results)
	if err != nil {
		return err
	}
	for _, d := range defects {
		if look || !rowPattern.MatchString(d.Name) {
			continue
		}
		for _, l := range layers {
			if !l.sees(d) || !layerPattern.MatchString(l.name) || known[key(d, l)].Took != 0 {
				continue
			}
			c, err := l.look(ctx, d)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil { // it stays open
				fmt.Fprintf(os.Stderr, "%s: %s: no verdict: %v\n", d.Name, l.name, err)
				continue
			}
			c.Key, c.Defect, c.Layer = key(d, l), d.Name, l.name
			known[c.Key] = c
			if err := add(results, c); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s: %s: caught: %v, in %v: %s\n", d.Name, l.name, c.Caught, c.Took.Round(time.Second), c.By)
		}
	}
	text, holes := matrix(known)
	fmt.Print(text)
	if out != "" {
		if err := os.WriteFile(out, []byte(text), 0o644); err != nil { //nolint:gosec // a document that all may read
			return err
		}
	}
	if len(holes) > 0 {
		return fmt.Errorf("holes in the net: %q", holes)
	}
	return nil
}

// cell is what a layer has made of a defect.
type cell struct {
	Key, Defect, Layer string
	Caught             bool
	By                 string
	Took               time.Duration
}

// hangs: no more is known than that a test did not end in time.
func (c cell) hangs() bool { return strings.Contains(c.By, timedOut) }

// read returns the cells of a file by their keys; none where there is no file.
func read(path string) (map[string]cell, error) {
	cells := map[string]cell{}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return cells, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c cell
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		cells[c.Key] = c
	}
	return cells, lines.Err()
}

// add appends one cell, in one write: others may do so too.
func add(path string, c cell) error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// named returns the layer of that name.
func named(name string) (layer, bool) {
	i := slices.IndexFunc(layers, func(l layer) bool { return l.name == name })
	if i < 0 {
		return layer{}, false
	}
	return layers[i], true
}
