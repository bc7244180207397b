package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/brokermap/brokermap/internal/stall"
)

// colors are of the clients, by their place in clients().
var colors = []color.Color{
	color.RGBA{0x1b, 0x6c, 0xa8, 0xff},
	color.RGBA{0x5f, 0xb3, 0x8a, 0xff},
	color.RGBA{0xc6, 0x4b, 0x3a, 0xff},
	color.RGBA{0xe3, 0x9c, 0x91, 0xff},
	color.RGBA{0xc9, 0x95, 0x1a, 0xff},
	color.RGBA{0xe6, 0xcb, 0x8a, 0xff},
	color.RGBA{0x7a, 0x5c, 0xa0, 0xff},
	color.RGBA{0x7a, 0x7a, 0x7a, 0xff},
}

// bars are groups of bars: one group for each label, in it one bar for each client.
type bars struct {
	title, unit string
	log         bool
	labels      []string
	clients     []string
	values      [][]float64 // by client, then label
}

// writePlots draws, of each cluster, throughput, CPU time and stalls.
func writePlots(path string, res results) error {
	var all []bars
	for _, c := range clusterTitles {
		r := res.Clusters[c.name]
		if r == nil {
			continue
		}
		if len(r.Throughput) > 0 {
			all = append(all, throughputBars(c.title, r.Throughput)...)
		}
		if r.Stalls != nil {
			all = append(all, stallBars(c.title, r.Stalls))
		}
	}
	if len(all) == 0 {
		return nil
	}
	const width, height = 28 * vg.Centimeter, 9 * vg.Centimeter
	canvas := vgsvg.New(width, height*vg.Length(len(all)))
	page := draw.New(canvas)
	page.SetColor(color.White) // for pages that are dark
	page.Fill(page.Path())
	tiles := draw.Tiles{Cols: 1, Rows: len(all), PadY: vg.Centimeter / 2, PadTop: vg.Centimeter / 4,
		PadBottom: vg.Centimeter / 4, PadLeft: vg.Centimeter / 4, PadRight: vg.Centimeter / 4}
	for i, b := range all {
		p, err := b.plot()
		if err != nil {
			return err
		}
		p.Draw(tiles.At(page, 0, i))
	}
	var buf bytes.Buffer
	if _, err := canvas.WriteTo(&buf); err != nil {
		return err
	}
	// Not everybody has the font that the text was measured with.
	svg := bytes.ReplaceAll(buf.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;"))
	return os.WriteFile(path, svg, 0o644)
}

func throughputBars(cluster string, shapes []throughputResult) []bars {
	rate := bars{title: "Records a second, " + cluster, unit: "million", clients: order(shapes[0].Rounds)}
	cpu := bars{title: "CPU time a record, " + cluster, unit: "ns", log: true, clients: rate.clients}
	for _, name := range rate.clients {
		var rates, cpus []float64
		for _, s := range shapes {
			rates, cpus = append(rates, s.rate(name)/1e6), append(cpus, s.cpu(name))
		}
		rate.values, cpu.values = append(rate.values, rates), append(cpu.values, cpus)
	}
	for _, s := range shapes {
		rate.labels = append(rate.labels, s.Shape.String())
	}
	cpu.labels = rate.labels
	return []bars{rate, cpu}
}

func stallBars(cluster string, s *stallResults) bars {
	b := bars{title: "Stall beyond the cluster's, slowest partition, median, " + cluster, unit: "ms", log: true, clients: s.Clients}
	for _, f := range s.faults() {
		b.labels = append(b.labels, f.Name)
	}
	for i := range s.Clients {
		var values []float64
		for _, f := range b.labels {
			v, _ := s.of(f, i, func(t stall.Stall) time.Duration { return t.SlowestExcess })
			values = append(values, median(v).Seconds()*1e3)
		}
		b.values = append(b.values, values)
	}
	return b
}

func (b bars) plot() (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text = b.title, b.unit
	for _, f := range []*font.Font{&p.Title.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font} {
		f.Typeface, f.Variant, f.Size = "Liberation", "Sans", 10
	}
	p.Title.TextStyle.Font.Size = 12
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Transparent, color.Gray{0xdd}
	p.Add(grid)
	const bar = 7 // points
	all := clients()
	high := 0.0
	for i, name := range b.clients {
		values := make(plotter.Values, len(b.labels))
		for j, v := range b.values[i] {
			if b.log { // bars begin at 1: what is less is nothing
				v = math.Log10(max(v, 1))
			}
			values[j] = v
			high = max(high, v)
		}
		chart, err := plotter.NewBarChart(values, vg.Points(bar))
		if err != nil {
			return nil, err
		}
		chart.LineStyle.Width = 0
		chart.Offset = vg.Points((float64(i) - float64(len(b.clients)-1)/2) * bar)
		for k, c := range all {
			if c.Name == name {
				chart.Color = colors[k%len(colors)]
			}
		}
		p.Add(chart)
		p.Legend.Add(name, chart)
	}
	p.NominalX(b.labels...)
	p.Legend.Top, p.Legend.Padding = true, vg.Points(4)
	p.X.Max = float64(len(b.labels)) + 0.4 // room for the legend
	if b.log {
		var ticks plot.ConstantTicks
		for e := range int(high) + 2 {
			ticks = append(ticks, plot.Tick{Value: float64(e), Label: fmt.Sprintf("%.0f", math.Pow10(e))})
		}
		p.Y.Tick.Marker, p.Y.Max = ticks, high+0.2
	}
	p.Y.Min = 0
	return p, nil
}
