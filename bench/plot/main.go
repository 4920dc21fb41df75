// Command plot draws what bench/ram.sh wrote: token speed, and bytes read per
// token, by the memory that there was.
//
//	go run ./bench/plot -o ram.svg ram.csv
//
// The ending of the output says its format: svg, png or pdf.
package main

import (
	"cmp"
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-llm/lamina/internal/atomicfile"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

func main() {
	log.SetFlags(0)
	out := flag.String("o", "ram.svg", "file to write")
	flag.Parse()
	if err := run(flag.Arg(0), *out); err != nil {
		log.Fatal("plot: ", err)
	}
}

// series are the points of one program with one model.
type series struct {
	model       string
	program     string
	speed, read plotter.XYs
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := parse(f)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	speed, read := axes("tokens/s"), axes("MiB read per token")
	for i, s := range all {
		for _, to := range []struct {
			p      *plot.Plot
			points plotter.XYs
		}{{speed, s.speed}, {read, s.read}} {
			line, points, err := plotter.NewLinePoints(to.points)
			if err != nil {
				return fmt.Errorf("%s: %w", s.program, err)
			}
			line.Color, points.Color = plotutil.Color(i), plotutil.Color(i)
			points.Shape = plotutil.Shape(i)
			to.p.Add(line, points)
			to.p.Legend.Add(s.name(all), line, points)
		}
	}
	for _, p := range []*plot.Plot{speed, read} {
		p.Y.Max *= 1 + 0.07*float64(len(all)) // lines stay below the legend
	}
	return save(out, speed, read)
}

// name tells s from the other series.
func (s series) name(all []series) string {
	for _, o := range all {
		if o.model != s.model {
			return s.program + ", " + s.model
		}
	}
	return s.program
}

func axes(y string) *plot.Plot {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = "memory limit, % of the Q4_0 file", y
	p.X.Min, p.X.Max, p.Y.Min = 0, 105, 0
	p.Legend.Top, p.Legend.Left = true, true
	p.Add(plotter.NewGrid())
	return p
}

// save puts the plots side by side.
func save(path string, plots ...*plot.Plot) error {
	format := strings.TrimPrefix(filepath.Ext(path), ".")
	width, height := 5*vg.Inch, 4*vg.Inch
	c, err := draw.NewFormattedCanvas(width*vg.Length(len(plots)), height, format)
	if err != nil {
		return err
	}
	tiles := draw.Tiles{Rows: 1, Cols: len(plots), PadX: vg.Points(12)}
	canvases := plot.Align([][]*plot.Plot{plots}, tiles, draw.New(c))
	for i, p := range plots {
		p.Draw(canvases[0][i])
	}
	return atomicfile.Write(path, 0o644, func(w io.Writer) error { _, err := c.WriteTo(w); return err })
}

// parse reads the columns by name. Rows without a speed, of runs that were
// refused or killed, have no points.
func parse(r io.Reader) ([]series, error) {
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("no measurements")
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	var all []series
	for n, row := range rows[1:] {
		var v [3]float64
		for i, name := range []string{"percent", "tokens_per_s", "read_mib_per_token"} {
			c, ok := column[name]
			if !ok {
				return nil, fmt.Errorf("no column %s", name)
			}
			if row[c] == "" {
				v[i] = -1
			} else if v[i], err = strconv.ParseFloat(row[c], 64); err != nil {
				return nil, fmt.Errorf("line %d: %s: %w", n+2, name, err)
			}
		}
		s := series{program: row[column["program"]]}
		if c, ok := column["model"]; ok { // one file may have rows of several
			s.model = row[c]
		}
		i := slices.IndexFunc(all, func(o series) bool { return o.program == s.program && o.model == s.model })
		if i < 0 {
			i, all = len(all), append(all, s)
		}
		if v[1] >= 0 {
			all[i].speed = append(all[i].speed, plotter.XY{X: v[0], Y: v[1]})
		}
		if v[2] >= 0 {
			all[i].read = append(all[i].read, plotter.XY{X: v[0], Y: v[2]})
		}
	}
	for _, s := range all { // whatever the order of the rows
		for _, xy := range []plotter.XYs{s.speed, s.read} {
			slices.SortFunc(xy, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
		}
	}
	return slices.DeleteFunc(all, func(s series) bool { return len(s.speed) == 0 || len(s.read) == 0 }), nil
}
