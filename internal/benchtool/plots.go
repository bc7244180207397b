package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// A chart draws benchmarks that differ in one parameter.
type chart struct {
	title, x, y string
	curves      []curve
}

type curve struct {
	name  string
	bench string // with a star for the parameter on the x axis
	unit  string
	style int // color; the same implementation has the same everywhere
}

const (
	styleOurs = iota
	styleTheirs
	styleThird
	styleFourth
	styleOursToo
)

var colors = []color.Color{
	color.RGBA{0x1b, 0x6c, 0xa8, 0xff},
	color.RGBA{0xc6, 0x4b, 0x3a, 0xff},
	color.RGBA{0x7a, 0x7a, 0x7a, 0xff},
	color.RGBA{0xc9, 0x95, 0x1a, 0xff},
	color.RGBA{0x5f, 0xb3, 0x8a, 0xff},
}

// charts are drawn in rows of chartColumns.
func charts() []chart {
	const stuck, storm = ":Trigger/state=stuck/workers=100000/procs=1x/producers=*/impl=", ":Trigger/state=storm/workers=100000/procs=1x/producers=*/impl="
	return []chart{
		{"TriggerReassign, 100 000 workers", "producers", "ns a call", []curve{
			{"ours, storm", storm + "ours", "ns/op", styleOurs},
			{"ours, resolver stuck", stuck + "ours", "ns/op", styleOursToo},
			{"classic, storm", storm + "classic", "ns/op", styleTheirs},
			{"classic, resolver stuck", stuck + "classic", "ns/op", styleFourth},
		}},
		{"Spawn to assigned", "workers", "ns a worker", []curve{
			{"ours", ":Spawn/workers=*/impl=ours", "spawn-ns", styleOurs},
			{"classic", ":Spawn/workers=*/impl=classic", "spawn-ns", styleTheirs},
			{"floor", ":Spawn/workers=*/impl=floor", "spawn-ns", styleThird},
		}},
		{"Memory of an assigned worker", "workers", "bytes", []curve{
			{"ours", ":Spawn/workers=*/impl=ours", "heap-B", styleOurs},
			{"classic", ":Spawn/workers=*/impl=classic", "heap-B", styleTheirs},
			{"floor", ":Spawn/workers=*/impl=floor", "heap-B", styleThird},
		}},
		{"1000 connections: failure to moved", "workers", "ns a worker", []curve{
			{"ours", ":Scale/workers=*/impl=ours", "move-ns", styleOurs},
			{"classic", ":Scale/workers=*/impl=classic", "move-ns", styleTheirs},
		}},
		{"Ring, one parking consumer", "producers", "ns an item", []curve{
			{"ours", benchRing + "Throughput/impl=ours/producers=*", "ns/op", styleOurs},
			{"Go channel", benchRing + "Throughput/impl=chan/producers=*", "ns/op", styleTheirs},
			{"xsync MPMC", benchRing + "Throughput/impl=xsync.MPMC/producers=*", "ns/op", styleThird},
			{"xsync UMPSC", benchRing + "Throughput/impl=xsync.UMPSC/producers=*", "ns/op", styleFourth},
		}},
		{"Map, hit in random order", "entries", "ns", []curve{
			{"ours", benchMap + "Load/impl=ours/entries=*", "ns/op", styleOurs},
			{"64 mutex shards", benchMap + "Load/impl=mutex64/entries=*", "ns/op", styleTheirs},
			{"xsync.Map", benchMap + "Load/impl=xsync/entries=*", "ns/op", styleThird},
		}},
	}
}

const (
	chartColumns = 2
	chartWidth   = 12 * vg.Centimeter
	chartHeight  = 8 * vg.Centimeter
)

// points are medians and quartiles by parameter.
type points struct {
	plotter.XYs
	plotter.YErrors
}

func (res *results) points(c curve) points {
	var p points
	for _, name := range res.names {
		value, ok := matches(c.bench, name)
		if !ok {
			continue
		}
		s := res.sample(name, c.unit)
		if len(s) == 0 || s.median() <= 0 || s.quantile(0.25) <= 0 {
			continue // a logarithm has to be taken
		}
		p.XYs = append(p.XYs, plotter.XY{X: value, Y: s.median()})
		p.YErrors = append(p.YErrors, struct{ Low, High float64 }{s.median() - s.quantile(0.25), s.quantile(0.75) - s.median()})
	}
	return p
}

// matches reports that name is pattern with a number in the place of its star.
func matches(pattern, name string) (value float64, ok bool) {
	before, after, _ := strings.Cut(pattern, "*")
	rest, ok1 := strings.CutPrefix(name, before)
	rest, ok2 := strings.CutSuffix(rest, after)
	value, err := strconv.ParseFloat(rest, 64)
	return value, ok1 && ok2 && err == nil
}

func writePlots(path string, res *results) error {
	var plots []*plot.Plot
	for _, c := range charts() {
		p, err := res.plot(c)
		if err != nil {
			return err
		}
		if p != nil {
			plots = append(plots, p)
		}
	}
	if len(plots) == 0 {
		return nil
	}
	rows := (len(plots) + chartColumns - 1) / chartColumns
	canvas := vgsvg.New(chartWidth*chartColumns, chartHeight*vg.Length(rows))
	all := draw.New(canvas)
	all.SetColor(color.White) // for pages that are dark
	all.Fill(all.Path())
	tiles := draw.Tiles{Cols: chartColumns, Rows: rows, PadX: vg.Centimeter / 2, PadY: vg.Centimeter / 2,
		PadTop: vg.Centimeter / 4, PadBottom: vg.Centimeter / 4, PadLeft: vg.Centimeter / 4, PadRight: vg.Centimeter / 4}
	for i, p := range plots {
		p.Draw(tiles.At(all, i%chartColumns, i/chartColumns))
	}
	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return err
	}
	// Not everybody has the font that the text was measured with.
	svg := bytes.ReplaceAll(buf.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, svg, 0o644)
}

// plot draws c, or returns nil where nothing of it was measured.
func (res *results) plot(c chart) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = c.title
	p.X.Label.Text, p.Y.Label.Text = c.x, c.y
	for _, t := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		t.Typeface, t.Variant, t.Size = "Liberation", "Sans", 10
	}
	p.Title.TextStyle.Font.Size = 12
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.XOffs, p.Legend.Padding = 5, 2
	p.Add(grid())

	var xs []float64
	low, high := 0.0, 0.0
	for _, cv := range c.curves {
		pts := res.points(cv)
		if len(pts.XYs) == 0 {
			continue
		}
		line, marks, err := plotter.NewLinePoints(pts)
		if err != nil {
			return nil, err
		}
		bars, err := plotter.NewYErrorBars(pts)
		if err != nil {
			return nil, err
		}
		line.Color, marks.Color, bars.Color = colors[cv.style], colors[cv.style], colors[cv.style]
		line.Width = 1.5
		marks.Shape, marks.Radius = draw.CircleGlyph{}, 2.5
		p.Add(line, marks, bars)
		p.Legend.Add(cv.name, line, marks)
		for i, pt := range pts.XYs {
			if !slices.Contains(xs, pt.X) {
				xs = append(xs, pt.X)
			}
			lo, hi := pt.Y-pts.YErrors[i].Low, pt.Y+pts.YErrors[i].High
			if low == 0 || lo < low {
				low = lo
			}
			high = max(high, hi)
		}
	}
	if xs == nil {
		return nil, nil
	}
	slices.Sort(xs)
	p.X.Tick.Marker = exactly(xs)
	p.X.Min, p.X.Max = xs[0]*0.8, xs[len(xs)-1]*1.25
	p.Y.Tick.Marker = oneTwoFive{}
	// Room for the legend above the curves.
	p.Y.Min, p.Y.Max = low*0.8, high*headroom(low, high, len(c.curves))
	return p, nil
}

// headroom keeps the top part of a logarithmic axis free for n lines of legend.
func headroom(low, high float64, n int) float64 {
	free, room := 0.09*float64(n), high/low*1.25
	factor := 1.1
	for range 200 {
		if logRatio(factor, room*factor) >= free {
			break
		}
		factor *= 1.05
	}
	return factor
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	g.Vertical.Color = color.Transparent
	g.Horizontal.Color = color.Gray{0xdd}
	return g
}

// exactly puts ticks at the values that were measured.
type exactly []float64

func (xs exactly) Ticks(_, _ float64) []plot.Tick {
	var ticks []plot.Tick
	for _, x := range xs {
		ticks = append(ticks, plot.Tick{Value: x, Label: short(int(x))})
	}
	return ticks
}

// oneTwoFive puts ticks at 1, 2, 5, 10, ...; over many decades at powers of ten.
type oneTwoFive struct{}

func (oneTwoFive) Ticks(lo, hi float64) []plot.Tick {
	steps := []float64{1, 2, 5}
	if hi/lo > 3000 {
		steps = steps[:1]
	}
	var ticks []plot.Tick
	for decade := 1e-3; decade <= hi; decade *= 10 {
		for _, step := range steps {
			if v := decade * step; v >= lo && v <= hi {
				ticks = append(ticks, plot.Tick{Value: v, Label: shortFloat(v)})
			}
		}
	}
	return ticks
}

func shortFloat(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%g", v)
	}
	return short(int(v))
}

// logRatio is the part that factor has of a logarithmic axis that spans room.
func logRatio(factor, room float64) float64 { return math.Log(factor) / math.Log(room) }
