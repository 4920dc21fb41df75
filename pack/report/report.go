// Package report writes what packing did as one page of HTML that needs nothing
// else: no network, no other file. It shows bits and error of every tensor in a
// table that can be sorted, how they are spread over the layers, which levels
// the quantiser used, and perplexity against size where that was measured.
//
// It measures nothing: numbers come from package pack, from the packed file
// (see [Levels]) and from the caller. A [Page] is a plain value; Write may be
// called for different pages at once.
package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/lamina-llm/lamina/pack"
)

// Page is what a report shows. What is empty is left out.
type Page struct {
	File   string // path of the packed file
	Source string // path of the checkpoint
	Method string // how it was made, as "data-free, dq"
	Made   string // when, as people read it

	Pack   *pack.Report // required
	Levels []Histogram  // of the file, see [Levels]
	Points []Point      // measured quality

	// Figures are shown after those that the page makes itself.
	Figures []Figure
}

// Point is a measured pair of size and quality.
type Point struct {
	Name   string
	Text   string  // what it was measured on; only equal ones are drawn together
	Bits   float64 // bits per weight of the whole file
	Bytes  int64   // of the whole file; 0 is unknown
	PPL    float64 // perplexity
	KL     float64 // KL(source || this) in nats per token
	HasKL  bool    // KL and Top1 are known
	Top1   float64 // agreement with the source, 0 to 1
	Source bool    // this is the source itself: drawn as a level
}

// Write writes the page.
func (p *Page) Write(w io.Writer) error {
	v := view{Page: p}
	for _, f := range append(p.figures(), p.Figures...) {
		d, err := f.draw()
		if err != nil {
			return fmt.Errorf("report: figure %q: %w", f.Title, err)
		}
		if d != nil {
			v.Drawings = append(v.Drawings, *d)
		}
	}
	for _, t := range p.Pack.Tensors {
		if p.Pack.Bytes > 0 {
			v.Share = append(v.Share, 100*float64(t.Bytes)/float64(p.Pack.Bytes))
		} else {
			v.Share = append(v.Share, 0)
		}
	}
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// view is what the template sees.
type view struct {
	*Page
	Drawings []drawing
	Share    []float64 // of the file, per tensor, in %
}

// Headings are those of the table of tensors.
func (view) Headings() []heading {
	var list []heading
	for i, name := range []string{"tensor", "kind", "rows", "columns", "bytes", "% of file", "bits per weight", "relative error", "raw planes"} {
		list = append(list, heading{i, name})
	}
	return list
}

type heading struct {
	Column int
	Name   string
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": func(n int64) string { return grouped(strconv.FormatInt(n, 10)) },
	"fixed": func(digits int, v float64) string { return strconv.FormatFloat(v, 'f', digits, 64) },
	"pct":   func(v float64) string { return strconv.FormatFloat(100*v, 'f', 2, 64) },
	"class": Class,
}).Parse(pageText))

// grouped puts commas into a number.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Class returns what kind of tensor a name is: "qkv" for "layers.3.qkv", and
// the name itself outside the layers.
func Class(name string) string {
	if layer(name) < 0 {
		return name
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(name, "layers."), ".")
	return rest
}

// layer returns the layer that a tensor belongs to, or -1.
func layer(name string) int {
	rest, ok := strings.CutPrefix(name, "layers.")
	number, _, dot := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if !ok || !dot || err != nil || n < 0 {
		return -1
	}
	return n
}

// figures makes the page's own.
func (p *Page) figures() []Figure {
	bits := Figure{Title: "Allocation", X: "layer", Y: "bits per weight", Note: "Bits of every tensor, side information included. Embedding and head stand beside the layers."}
	errs := Figure{Title: "Error", X: "layer", Y: "relative error", Note: "||W − W'|| / ||W|| of every tensor. With calibration, weights are moved on purpose where that makes the outputs right."}
	layers := 0
	for _, t := range p.Pack.Tensors {
		layers = max(layers, layer(t.Name)+1)
	}
	for _, t := range p.Pack.Tensors {
		x := layer(t.Name)
		if x < 0 && t.Name == "embed" {
			x = -1
		} else if x < 0 {
			x = layers
		}
		bits.add(Class(t.Name), XY{float64(x), t.Bits})
		errs.add(Class(t.Name), XY{float64(x), t.Error})
	}
	levels := Figure{Title: "Levels", X: "level", Y: "part of the weights, %", Note: "How often the quantiser chose each level, in steps from zero, per kind of tensor. A dependent quantiser counts in halves of its step. Levels beyond ±" + strconv.Itoa(shownLevels) + " are not drawn."}
	for _, h := range p.Levels {
		s := Series{Name: h.Class, Style: Steps}
		for l := -shownLevels; l <= shownLevels; l++ {
			if part := h.Part(l); part > 0 {
				s.Points = append(s.Points, XY{float64(l), 100 * part})
			}
		}
		levels.Series = append(levels.Series, s)
	}
	return append([]Figure{bits, errs, levels}, p.quality()...)
}

// shownLevels is how far from zero levels are drawn.
const shownLevels = 24

// quality draws what was measured against size: the points that share a text
// with the first.
func (p *Page) quality() []Figure {
	ppl := Figure{Title: "Perplexity against size", X: "bits per weight, whole file", Y: "perplexity"}
	kl := Figure{Title: "KL divergence against size", X: "bits per weight, whole file", Y: "nats per token", LogY: true}
	for _, x := range p.Points {
		if x.Text != p.Points[0].Text {
			continue
		}
		if x.Source {
			ppl.Series = append(ppl.Series, Series{Name: x.Name, Style: Level, Points: []XY{{0, x.PPL}}})
			continue
		}
		ppl.Series = append(ppl.Series, Series{Name: x.Name, Style: Dots, Points: []XY{{x.Bits, x.PPL}}})
		if x.HasKL {
			kl.Series = append(kl.Series, Series{Name: x.Name, Style: Dots, Points: []XY{{x.Bits, x.KL}}})
		}
	}
	if len(p.Points) > 0 {
		ppl.Note = "Measured on " + p.Points[0].Text + "."
		kl.Note = "KL(source || file), measured on " + p.Points[0].Text + "."
	}
	return []Figure{ppl, kl}
}

// add appends a point to the series of a name, which it makes if need be.
func (f *Figure) add(name string, p XY) {
	i := slices.IndexFunc(f.Series, func(s Series) bool { return s.Name == name })
	if i < 0 {
		i, f.Series = len(f.Series), append(f.Series, Series{Name: name})
	}
	f.Series[i].Points = append(f.Series[i].Points, p)
}
