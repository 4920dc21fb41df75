package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"image/color"
	"io"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Sheet is a page of one table and some figures.
type Sheet struct {
	Title   string
	Notes   []string // paragraphs below the title
	Head    []string
	Rows    [][]string // as long as Head
	Left    int        // that many first columns hold text, the others numbers
	Figures []Figure
}

//go:embed sheet.html
var sheetSource string

var sheet = template.Must(template.New("sheet").Parse(sheetSource))

// Write writes the page: one file without references to others.
func (s *Sheet) Write(w io.Writer) error {
	v := struct {
		*Sheet
		Drawings []drawing
	}{Sheet: s}
	for i := range s.Figures {
		d, err := s.Figures[i].draw()
		if err != nil {
			return fmt.Errorf("report: figure %q: %w", s.Figures[i].Title, err)
		}
		if d != nil {
			v.Drawings = append(v.Drawings, *d)
		}
	}
	if err := sheet.Execute(w, v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// WritePNG writes f as a picture of its own, with its legend.
func (f *Figure) WritePNG(w io.Writer) error {
	p, err := f.plot(&drawing{})
	if err == nil && p == nil {
		err = fmt.Errorf("nothing to draw")
	}
	if err != nil {
		return fmt.Errorf("report: figure %q: %w", f.Title, err)
	}
	p.Title.Text, p.BackgroundColor = f.Title, color.White
	p.Title.TextStyle.Font = p.X.Label.TextStyle.Font
	p.Title.TextStyle.Font.Size = vg.Points(12)
	p.Legend.Top = true
	p.Legend.TextStyle.Font = p.X.Tick.Label.Font
	p.Legend.TextStyle.Font.Size = vg.Points(8)
	c := vgimg.NewWith(vgimg.UseWH(10*vg.Inch, 6*vg.Inch), vgimg.UseDPI(120))
	p.Draw(draw.Crop(draw.New(c), 0, -vg.Points(10), 0, -vg.Points(4)))
	_, err = vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}
