package report_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/pack/report"
)

func example() *report.Page {
	p := &report.Page{
		File: `<b>m & "co".lamina`, Source: "src", Method: "data-free, dq", Made: "2026-11-22T00:00:00Z",
		Pack: &pack.Report{Weights: 1_234_567, Bytes: 400_000, Bits: 2.592, Mode: "dq", Seconds: 1.25},
		Points: []report.Point{
			{Name: "m.lamina", Text: "100 tokens of t", Bits: 2.592, Bytes: 400_000, PPL: 31.5, KL: 0.08, HasKL: true, Top1: 0.81},
			{Name: "src, the source", Text: "100 tokens of t", Bits: 16, PPL: 30, HasKL: true, Top1: 1, Source: true},
			{Name: "other.lamina", Text: "100 tokens of t", Bits: 3.5, PPL: 30.5, KL: 0.03, HasKL: true, Top1: 0.9},
			{Name: "elsewhere.lamina", Text: "7 tokens of u", Bits: 3, PPL: 1234.5},
		},
		Figures: []report.Figure{{Title: "Ranks & co", X: "tolerance", Y: "rank", Series: []report.Series{
			{Name: "<dense>", Points: []report.XY{{X: 0.1, Y: 3}, {X: 0.2, Y: 2}, {X: math.NaN(), Y: 1}, {X: 3, Y: math.Inf(1)}}},
		}}},
	}
	names := []string{"embed"}
	for i := range 3 {
		for _, kind := range []string{"qkv", "out", "gate_up", "down"} {
			names = append(names, fmt.Sprintf("layers.%d.%s", i, kind))
		}
	}
	for i, name := range append(names, "head") {
		p.Pack.Tensors = append(p.Pack.Tensors, pack.TensorReport{
			Name: name, Rows: 64 * (i + 1), Cols: 96, Bytes: 1000 + 111*int64(i), Bits: 2 + float64(i)/10, Error: 0.2 - float64(i)/100, Planes: i % 2,
		})
	}
	return p
}

func render(t *testing.T, p *report.Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// parse reads a page with the parser of XML told about HTML, which is stricter
// than any browser: every element is closed in order, attributes are quoted. It
// returns the text of every element of a name.
func parse(t *testing.T, page, name string) (texts []string) {
	t.Helper()
	// The content of scripts and styles is not markup.
	page = regexp.MustCompile(`(?s)(<(script|style)>).*?(</(?:script|style)>)`).ReplaceAllString(page, "$1$3")
	d := xml.NewDecoder(strings.NewReader(page))
	d.Entity = xml.HTMLEntity
	var open []string
	inside, text := 0, ""
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("page does not parse: %v", err)
		}
		switch x := tok.(type) {
		case xml.StartElement:
			if open = append(open, x.Name.Local); x.Name.Local == name {
				inside, text = len(open), ""
			}
		case xml.EndElement:
			if inside == len(open) {
				texts, inside = append(texts, text), 0
			}
			open = open[:len(open)-1]
		case xml.CharData:
			text += string(x)
		}
	}
	if len(open) != 0 {
		t.Fatalf("left open: %v", open)
	}
	return texts
}

func TestPage(t *testing.T) {
	p := example()
	text := render(t, p)
	cells := parse(t, text, "td")
	has := map[string]bool{}
	for _, c := range cells {
		has[c] = true
	}
	for _, x := range p.Pack.Tensors {
		if !has[x.Name] {
			t.Errorf("no tensor %s", x.Name)
		}
	}
	for _, want := range []string{"qkv", "head", "2,443", "3.300", "0.0700", "elsewhere.lamina", "1234.500", "0.08000", "81.00", "7 tokens of u"} {
		if !has[want] {
			t.Errorf("no cell %q", want)
		}
	}
	headings := strings.Join(parse(t, text, "h2"), ", ")
	if headings != "Quality, Allocation, Error, Perplexity against size, KL divergence against size, Ranks & co, Tensors" {
		t.Errorf("headings %s", headings)
	}
	if title := parse(t, text, "title"); len(title) != 1 || !strings.HasPrefix(title[0], p.File) {
		t.Errorf("title %q", title)
	}
	if strings.Contains(text, "<b>") || strings.Contains(text, "<dense>") {
		t.Error("a name became markup")
	}
	if n := strings.Count(text, "<svg"); n != 5 {
		t.Errorf("%d drawings", n)
	}
	// What was measured elsewhere is in the table and not in a drawing.
	if n := strings.Count(text, "elsewhere.lamina"); n != 1 {
		t.Errorf("%d times elsewhere.lamina", n)
	}
}

// TestSelfContained: nothing is fetched from anywhere.
func TestSelfContained(t *testing.T) {
	text := render(t, example())
	for _, bad := range []string{"http:", "https:", "//", "url(", "@import", "src=", "href", "<link", "<iframe", "<img"} {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("%q in %.80q", bad, text[max(0, i-30):])
		}
	}
	if !strings.Contains(text, `default-src 'none'`) {
		t.Error("no content security policy")
	}
}

// TestHostile: figures never fail or hang on odd numbers.
func TestHostile(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for name, points := range map[string][]report.XY{
		"nothing": nil, "not finite": {{X: nan, Y: 1}, {X: 1, Y: inf}}, "one": {{X: 3, Y: 3}}, "zero": {{}},
		"wide": {{X: -1e15, Y: 1e-14}, {X: 1e15, Y: 1e15}}, "huge": {{X: -1e300, Y: 1e-300}, {X: 1e300, Y: 1e300}}, "tiny": {{X: 1e-310, Y: 1e-310}, {X: 2e-310, Y: 3e-310}},
		"largest": {{X: -math.MaxFloat64, Y: -math.MaxFloat64}, {X: math.MaxFloat64, Y: math.MaxFloat64}},
		"equal":   {{X: 1e14, Y: 1e14}, {X: 1e14, Y: 1e14}}, "negative": {{X: 1, Y: -1}, {X: 2, Y: -5}},
	} {
		for _, style := range []report.Style{report.Line, report.Steps, report.Dots, report.Level} {
			for _, log := range []bool{false, true} {
				p := &report.Page{Pack: &pack.Report{}, Figures: []report.Figure{{Title: "F", LogY: log, Series: []report.Series{{Name: name, Style: style, Points: points}}}}}
				text := render(t, p)
				parse(t, text, "td")
				_, svg, drawn := strings.Cut(text, "<svg")
				empty := name == "nothing" || name == "not finite" || name == "huge" || name == "largest" ||
					log && (name == "zero" || name == "tiny" || name == "negative")
				if drawn == empty {
					t.Errorf("%s, style %d, log %v: drawn %v", name, style, log, drawn)
				}
				svg, _, _ = strings.Cut(svg, "</svg>")
				if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
					t.Errorf("%s, style %d, log %v: not a number in the drawing", name, style, log)
				}
			}
		}
	}
}

func TestClass(t *testing.T) {
	for name, want := range map[string]string{
		"embed": "embed", "head": "head", "layers.0.qkv": "qkv", "layers.31.gate_up": "gate_up", "layers.x.qkv": "layers.x.qkv",
		"layers.3": "layers.3", "layers.-1.out": "layers.-1.out", "": "", "layers.2.down.a": "down.a",
	} {
		if got := report.Class(name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
}
