package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"regexp"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Figure is one drawing: named series over common axes.
type Figure struct {
	Title  string
	X, Y   string // labels of the axes, with units
	Note   string // a sentence below the title
	LogY   bool   // logarithmic y axis; points at or below zero are left out
	Series []Series
}

// Series is a named row of points. What is not finite, or beyond 1e15, is left
// out.
type Series struct {
	Name   string
	Style  Style
	Points []XY
}

// XY is one point.
type XY struct{ X, Y float64 }

// Style says how a series is drawn.
type Style uint8

// The styles. A line of a single point is drawn as a dot.
const (
	Line  Style = iota // straight lines, with dots at the points
	Steps              // levels, as of a histogram
	Dots               // points alone
	Level              // a dashed line across the drawing at the first point's Y
)

// drawing is a figure as the page shows it.
type drawing struct {
	Title, Note string
	SVG         template.HTML
	Legend      []legend
}

type legend struct {
	Name  string
	Color template.CSS
}

// palette is that of Okabe and Ito, which people with any colour vision can
// tell apart.
var palette = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{230, 159, 0, 255}, {86, 180, 233, 255}, {70, 70, 70, 255}, {160, 145, 20, 255},
}

const width, height = 8.2 * vg.Inch, 3.6 * vg.Inch

// draw draws f as SVG; nil if there is nothing to draw.
func (f *Figure) draw() (*drawing, error) {
	d := &drawing{Title: f.Title, Note: f.Note}
	p, err := f.plot(d)
	if p == nil {
		return nil, err
	}
	p.Legend = plot.NewLegend() // the page has its own
	c := vgsvg.New(width, height)
	p.Draw(draw.Crop(draw.New(c), 0, -vg.Points(14), 0, -vg.Points(4))) // room for the last label
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, err
	}
	d.SVG = template.HTML(inline(b.Bytes(), f.Title)) // made here: text in it was escaped by vgsvg
	return d, nil
}

// plot makes the plot of f, and d's legend; nil if there is nothing to draw.
func (f *Figure) plot(d *drawing) (*plot.Plot, error) {
	p := plot.New()
	style(p)
	p.X.Label.Text, p.Y.Label.Text = f.X, f.Y
	p.Add(plotter.NewGrid())
	lo, hi := XY{math.Inf(1), math.Inf(1)}, XY{math.Inf(-1), math.Inf(-1)}
	for _, s := range f.Series {
		var points plotter.XYs
		for _, q := range s.Points {
			if !drawable(q.X) || !drawable(q.Y) || f.LogY && q.Y <= smallest {
				continue
			}
			points = append(points, plotter.XY{X: q.X, Y: q.Y})
			lo.Y, hi.Y = min(lo.Y, q.Y), max(hi.Y, q.Y)
			if s.Style != Level {
				lo.X, hi.X = min(lo.X, q.X), max(hi.X, q.X)
			}
		}
		if len(points) == 0 {
			continue
		}
		c := palette[len(d.Legend)%len(palette)]
		if err := add(p, s.Name, s.Style, points, c, len(d.Legend) >= len(palette)); err != nil {
			return nil, err
		}
		d.Legend = append(d.Legend, legend{s.Name, template.CSS(fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B))})
	}
	if len(d.Legend) == 0 {
		return nil, nil
	}
	if hi.X < lo.X { // levels alone
		lo.X, hi.X = 0, 1
	}
	p.X.Min, p.X.Max = padded(lo.X, hi.X)
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(ticks), plot.TickerFunc(ticks)
	if p.Y.Min, p.Y.Max = padded(lo.Y, hi.Y); lo.Y >= 0 {
		p.Y.Min = max(p.Y.Min, 0)
	}
	if f.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.TickerFunc(logTicks)
		p.Y.Min, p.Y.Max = lo.Y/1.3, hi.Y*1.3
	}
	return p, nil
}

// add draws one series, dashed when its colour has been used before.
func add(p *plot.Plot, name string, s Style, points plotter.XYs, c color.Color, again bool) error {
	if s == Level {
		f := plotter.NewFunction(func(float64) float64 { return points[0].Y })
		f.Color, f.Width, f.Dashes = c, vg.Points(1.4), []vg.Length{vg.Points(5), vg.Points(4)}
		p.Legend.Add(name, f)
		p.Add(f)
		return nil
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, vg.Points(1.4)
	if again {
		line.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
	}
	p.Legend.Add(name, line)
	dots.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(2.2), Shape: draw.CircleGlyph{}}
	switch {
	case s == Dots || s == Line && len(points) == 1:
		dots.Radius = vg.Points(4)
		p.Add(dots)
	case s == Steps:
		line.StepStyle = plotter.MidStep
		p.Add(line)
	default:
		p.Add(line, dots)
	}
	return nil
}

// style sets fonts and faint lines.
func style(p *plot.Plot) {
	for _, s := range []*text.Style{&p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label} {
		s.Font.Typeface, s.Font.Variant, s.Font.Size = "Liberation", "Sans", vg.Points(10)
	}
	p.BackgroundColor = color.Transparent
	p.X.Padding, p.Y.Padding = vg.Points(4), vg.Points(4)
}

// padded widens a range by a twentieth on both sides.
func padded(lo, hi float64) (float64, float64) {
	by := (hi - lo) / 20
	if by < math.Abs(hi)*1e-6 || by < smallest { // all alike
		by = max(math.Abs(hi)/10, 1e-3)
	}
	return lo - by, hi + by
}

// ticks marks multiples of 1, 2 or 5 times a power of ten, at most nine.
func ticks(lo, hi float64) []plot.Tick {
	step := math.Pow(10, math.Floor(math.Log10((hi-lo)/8)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (hi-lo)/(step*m) <= 8 {
			step *= m
			break
		}
	}
	var list []plot.Tick
	for i := math.Ceil(lo / step); i*step <= hi && len(list) < 9; i++ {
		v := i*step + 0 // no negative zero
		list = append(list, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 6, 64)})
	}
	return list
}

// logTicks marks 1, 2 and 5 of every decade.
func logTicks(lo, hi float64) []plot.Tick {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(lo)); e <= math.Log10(hi); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= lo && v <= hi {
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'g', 3, 64)})
			}
		}
	}
	return ticks
}

// Numbers that no measurement of ours gives would overwhelm the axes.
const (
	largest  = 1e15
	smallest = 1 / largest
)

func drawable(v float64) bool { return math.Abs(v) <= largest } // false for NaN

// What an SVG of its own has and one inside HTML does not need: prologue,
// namespaces, comments, a fixed size.
var (
	prologue  = regexp.MustCompile(`(?s)<\?xml.*?\?>\s*|<!--.*?-->\s*`)
	namespace = regexp.MustCompile(`\s+xmlns(:\w+)?="[^"]*"`)
	fixedSize = regexp.MustCompile(`<svg width="[^"]*" height="[^"]*"`)
)

// inline makes an SVG part of a page.
func inline(svg []byte, label string) string {
	for _, cut := range []*regexp.Regexp{prologue, namespace} {
		svg = cut.ReplaceAll(svg, nil)
	}
	open := `<svg role="img" aria-label="` + template.HTMLEscapeString(label) + `"`
	return string(fixedSize.ReplaceAllLiteral(svg, []byte(open)))
}
