package stall

import (
	"strings"
	"testing"
	"time"
)

// acknowledging makes a writer that has so many records acknowledged in each
// partition.
func acknowledging(counts ...int64) *Writer {
	w := &Writer{}
	for p, n := range counts {
		l := &lane{partition: int32(p)}
		l.acknowledged.Store(n)
		w.lanes = append(w.lanes, l)
	}
	return w
}

func TestLogTellsWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		sequences []int64
		want      Tally
		says      string
	}{
		"all right":          {[]int64{0, 1, 2, 3}, Tally{Received: 4}, ""},
		"more than is known": {[]int64{0, 1, 2, 3, 4, 5}, Tally{Received: 6}, ""},
		"the end is lost":    {[]int64{0, 1}, Tally{Received: 2, Lost: 2}, ""},
		"the middle is lost": {[]int64{0, 3}, Tally{Received: 2, Lost: 2}, ""},
		"the first is lost":  {[]int64{1, 2, 3}, Tally{Received: 3, Lost: 1}, ""},
		"everything is lost": {nil, Tally{Lost: 4}, ""},
		"once more":          {[]int64{0, 1, 1, 2, 3}, Tally{Received: 4, Duplicated: 1}, "record 1 again at offset 2, after offset 1"},
		"a rewind":           {[]int64{0, 1, 2, 0, 1, 2, 3}, Tally{Received: 4, Duplicated: 3}, "record 0 again"},
		"swapped":            {[]int64{0, 2, 1, 3}, Tally{Received: 4, Reordered: 1}, "record 1, late"},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLog(1)
			for i, s := range c.sequences {
				l.Received(0, int64(i), Key(0, s), value(s, time.Now(), 100))
			}
			got := l.Tally(acknowledging(4))
			if !strings.Contains(got.FirstWrong, c.says) || (c.says == "") != (got.FirstWrong == "") {
				t.Errorf("it says %q, want %q", got.FirstWrong, c.says)
			}
			got.FirstWrong = ""
			if got != c.want || got.OK() != (c.want.Lost+c.want.Duplicated+c.want.Reordered == 0) {
				t.Errorf("tally is %+v, want %+v", got, c.want)
			}
		})
	}
	for name, r := range map[string][2][]byte{
		"another partition's": {Key(1, 0), value(0, time.Now(), 100)},
		"another writer's":    {Key(0, 0), []byte("hello")},
	} {
		l := NewLog(1)
		l.Received(0, 0, r[0], r[1])
		if got := l.Tally(acknowledging(0)); got.Foreign != 1 || got.OK() {
			t.Errorf("%s: tally is %+v, want one foreign", name, got)
		}
	}
}

func TestGapsCountWhereTheyTouch(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var g Gaps
	for _, ms := range []int{0, 10, 110, 115, 165, 170} {
		g.Mark(at(ms))
	}
	for _, c := range []struct{ from, to, want int }{
		{0, 170, 100},
		{50, 60, 100}, // within a gap
		{112, 170, 50},
		{166, 170, 5},
		{166, 470, 300}, // one that has not ended
	} {
		if got := g.Longest(at(c.from), at(c.to)).Milliseconds(); got != int64(c.want) {
			t.Errorf("longest gap from %d to %d is %d, want %d", c.from, c.to, got, c.want)
		}
	}
	g.Forget()
	if got := g.Longest(at(0), at(170)); got != 0 || !g.Last().Equal(at(170)) {
		t.Errorf("forgotten: longest gap %v, last event %v", got, g.Last().Sub(start))
	}
}

func TestFrontierIsWhatAnybodyKnows(t *testing.T) {
	zero := time.Now()
	at := func(below int64, ms int) instant {
		return instant{below, zero.Add(time.Duration(ms) * time.Millisecond)}
	}
	for name, c := range map[string]struct {
		acknowledged, given []instant
		want                int // the longest gap until 100
	}{
		"acknowledged first":     {[]instant{at(5, 10), at(10, 40), at(15, 95)}, []instant{at(5, 11), at(10, 90), at(15, 96)}, 55},
		"given first":            {[]instant{at(5, 10), at(10, 60), at(15, 90)}, []instant{at(5, 11), at(10, 20), at(15, 91)}, 70},
		"known twice":            {[]instant{at(5, 10), at(10, 99)}, []instant{at(5, 50), at(10, 100)}, 89},
		"nobody was given it":    {[]instant{at(5, 10), at(10, 40), at(15, 80)}, nil, 40},
		"nothing more came":      {[]instant{at(5, 10)}, []instant{at(4, 11), at(5, 12)}, 90},
		"acknowledgements split": {[]instant{at(5, 10), at(10, 50), at(15, 90)}, []instant{at(10, 12), at(15, 92)}, 78},
	} {
		t.Run(name, func(t *testing.T) {
			got := frontier(c.acknowledged, c.given).Longest(zero, zero.Add(100*time.Millisecond))
			if got != time.Duration(c.want)*time.Millisecond {
				t.Errorf("%v, want %d ms", got, c.want)
			}
		})
	}
	i := &instants{}
	i.mark(5, zero)
	i.mark(10, zero)
	if i.forget(); len(i.all()) != 1 || i.all()[0].below != 10 {
		t.Errorf("forgotten, it keeps %v, want the last", i.all())
	}
}
