package main

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// outcome is a row that was measured.
type outcome struct {
	row
	ours, theirs sample // theirs is empty where the row is against a number
	ratio        sample // as the target has it: of ours to theirs or of theirs to ours, or ours itself
	missed       bool
}

// reImpl is the part of a benchmark's name that says what is measured.
var reImpl = regexp.MustCompile(`impl=(ours|plain)`)

// judge measures a row; ok is false where the results do not have it.
func judge(res *results, r row) (o outcome, ok bool) {
	if r.unit == "" {
		r.unit = "ns/op"
	}
	o = outcome{row: r, ours: res.sample(r.bench, r.unit)}
	if r.target.kind == ceiling {
		o.ratio = o.ours
	} else {
		their := reImpl.ReplaceAllString(r.bench, "impl="+r.against)
		o.theirs = res.sample(their, r.unit)
		if o.inverse() {
			o.ratio = res.ratio(r.bench, their, r.unit)
		} else {
			o.ratio = res.ratio(their, r.bench, r.unit)
		}
	}
	if len(o.ratio) == 0 {
		return o, false
	}
	switch m := o.ratio.median(); r.target.kind {
	case none:
		o.missed = m < 1 != o.inverse() && !isFloor(r.against)
	case faster:
		o.missed = m < r.target.bound
	case atMost, ceiling:
		o.missed = m > r.target.bound
	}
	return o, true
}

// isFloor says that an implementation is not an alternative but what any must cost.
func isFloor(impl string) bool { return impl == "floor" || impl == "two-rmw" }

// inverse says that the ratio is of ours to theirs: less is better.
func (o outcome) inverse() bool {
	return o.target.kind == atMost || o.target.kind == none && (o.unit == "heap-B" || isFloor(o.against))
}

func (o outcome) targetText() string {
	switch o.target.kind {
	case atMost:
		return fmt.Sprintf("≤ %gx", o.target.bound)
	case faster:
		return fmt.Sprintf("≥ %gx as fast", o.target.bound)
	case ceiling:
		return "≤ " + figure(o.target.bound, o.unit)
	}
	return "–"
}

func (o outcome) ratioText() string {
	q1, med, q3 := o.ratio.quantile(0.25), o.ratio.median(), o.ratio.quantile(0.75)
	word := " as fast"
	switch {
	case o.target.kind == ceiling:
		return figure(med, o.unit)
	case o.unit == "heap-B":
		word = " the memory"
	case o.inverse():
		word = " the time"
	}
	return fmt.Sprintf("%sx%s (%s–%s)", digits(med), word, digits(q1), digits(q3))
}

func (o outcome) verdict() string {
	switch {
	case o.target.kind == none && o.missed:
		return "we lose"
	case o.target.kind == none:
		return ""
	case o.missed:
		return "**missed**"
	}
	return "met"
}

func markdown(res *results) []byte {
	var w, b, lost bytes.Buffer
	met, missed, absent := 0, 0, 0
	for _, s := range table() {
		var rows bytes.Buffer
		for _, r := range s.rows {
			o, ok := judge(res, r)
			if !ok {
				absent++
				continue
			}
			theirs := "–"
			if len(o.theirs) > 0 {
				theirs = fmt.Sprintf("%s: %s", r.against, spread(o.theirs, o.unit))
			}
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s | %s |\n",
				o.what, spread(o.ours, o.unit), theirs, o.ratioText(), o.targetText(), o.verdict())
			switch {
			case o.target.kind != none && o.missed:
				missed++
			case o.target.kind != none:
				met++
			}
			if o.missed {
				fmt.Fprintf(&lost, "- %s: %s: %s", s.title, o.what, o.ratioText())
				switch {
				case o.inverse():
					fmt.Fprintf(&lost, " of %s", r.against)
				case r.against != "":
					fmt.Fprintf(&lost, " as %s", r.against)
				}
				if o.target.kind != none {
					fmt.Fprintf(&lost, ", target %s", o.targetText())
				}
				fmt.Fprintln(&lost)
			}
		}
		if rows.Len() == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.note != "" {
			fmt.Fprintf(&b, "%s\n\n", s.note)
		}
		fmt.Fprintf(&b, "| what | ours | compared with | ratio | target | |\n|---|---|---|---|---|---|\n%s", rows.Bytes())
	}

	fmt.Fprintf(&w, `# Benchmarks

Made by `+"`go -C internal/benchtool run . -out ../../docs`"+`; see there for its flags.

Only ratios mean something beyond the machine that they were measured on: %s, %s cores, %s, %s/%s.
Each benchmark ran %s, in interleaved processes, with what it is compared with
right after it. Figures are medians, with the quartiles in parentheses; a ratio is the median of the rounds' ratios.
`+"`classic`"+` is a lean mapper of the classic design, in [internal/classic](../internal/classic): events through a
buffered channel to one goroutine, a map, a goroutine for each resolution, executors stopped inline. What no figure
shows: while one of its executors takes long to start or stop, it serves nobody, and soon its callers block.

![The main results as plots](benchmarks.svg)

Targets met: %d, missed: %d.
`, or(res.config["cpu"], "unknown processor"), or(res.config["cores"], "?"), or(res.config["go"], "Go"), res.config["goos"], res.config["goarch"],
		times(res.runs()), met, missed)
	if load, err := strconv.ParseFloat(res.config["load"], 64); err == nil && load > 0.5 {
		fmt.Fprintf(&w, "**Other programs were running** (load average %g when it began): these figures are rough.\n", load)
	}
	if absent > 0 {
		fmt.Fprintf(&w, "Rows that this run left out: %d.\n", absent)
	}
	fmt.Fprint(&w, "\n## Where we lose\n\nTargets that are missed, and whatever is slower or bigger than what it is compared with.\n\n")
	if lost.Len() == 0 {
		lost.WriteString("Nowhere.\n")
	}
	w.Write(lost.Bytes())
	w.Write(b.Bytes())
	return w.Bytes()
}

// spread formats the median and the quartiles of a sample.
func spread(s sample, unit string) string {
	lo, hi := s.quantile(0.25), s.quantile(0.75)
	med := figure(s.median(), unit)
	if digits(lo) == digits(hi) {
		return med
	}
	scale, _ := scaled(s.median(), unit)
	return fmt.Sprintf("%s (%s–%s)", med, digits(lo/scale), digits(hi/scale))
}

// figure formats a value with its unit.
func figure(v float64, unit string) string {
	scale, name := scaled(v, unit)
	if name == "" {
		return digits(v)
	}
	return digits(v/scale) + " " + name
}

// scaled returns the unit to show v in, and its size.
func scaled(v float64, unit string) (scale float64, name string) {
	switch {
	case strings.HasPrefix(unit, "allocs"):
		return 1, ""
	case unit == "heap-B":
		return 1, "B"
	case v >= 1e9:
		return 1e9, "s"
	case v >= 1e6:
		return 1e6, "ms"
	case v >= 1e4:
		return 1e3, "µs"
	}
	return 1, "ns"
}

// digits formats with about three significant digits.
func digits(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func times(least, most int) string {
	switch {
	case least < most:
		return fmt.Sprintf("%d to %d times", least, most)
	case most == 1:
		return "once"
	}
	return fmt.Sprintf("%d times", most)
}

func or(s, alternative string) string {
	if s == "" {
		return alternative
	}
	return s
}
