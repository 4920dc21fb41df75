package report_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/report"
	"github.com/lamina-llm/lamina/weights"
)

// spans codes random levels and counts them: side information, then chunks.
func spans(t *testing.T, rows, cols int, r *rand.Rand, count map[int]int64) (spans [][]byte) {
	t.Helper()
	var seen [rans.Alphabet]int64
	for i := range seen {
		seen[i] = int64(20 - (i-8)*(i-8)/4)
	}
	table, err := rans.FitTable(seen, 0xffff)
	if err != nil {
		t.Fatal(err)
	}
	side := &rans.Side{Band: 48, Depth: 1, Row: rans.Scales{Base: 1}, Col: rans.Scales{Base: 1}, Tables: []rans.Table{table}}
	enc, err := rans.NewEncoder(rows, cols, side)
	if err != nil {
		t.Fatal(err)
	}
	l := tile.Layout{Rows: rows, Cols: cols}
	blob, err := side.AppendTo(nil, l)
	if err != nil {
		t.Fatal(err)
	}
	spans = append(spans, blob)
	m := enc.Matrix()
	for i := range m.Chunks() {
		r0, r1 := m.Band(i / m.Blocks())
		p0, p1 := m.Block(i % m.Blocks())
		var index [][]uint8
		var outliers [][]rans.Outlier
		for p := p0; p < p1; p++ {
			c0, c1 := l.Columns(p)
			idx := make([]uint8, (r1-r0)*(c1-c0))
			var list []rans.Outlier
			for row := range r1 - r0 {
				for col := range min(c1, cols) - c0 {
					u := r.IntN(rans.Alphabet)
					idx[row*(c1-c0)+col] = uint8(u)
					level := u - 8
					if r.IntN(50) == 0 {
						delta := r.IntN(600) - 300
						list = append(list, rans.Outlier{Row: row, Col: col, Delta: int32(delta)})
						level += delta
					}
					count[min(max(level, -128), 128)]++
				}
			}
			index, outliers = append(index, idx), append(outliers, list)
		}
		data, err := enc.Chunk(nil, i, index, outliers)
		if err != nil {
			t.Fatal(err)
		}
		spans = append(spans, data)
	}
	return spans
}

// tensor writes the next tensor.
func tensor(t *testing.T, w *weights.Writer, name, codec string, rows, cols int, spans ...[]byte) {
	t.Helper()
	err := w.BeginTensor(weights.TensorInfo{Name: name, Role: "linear", Codec: codec, Rows: rows, Cols: cols, Weights: int64(rows * cols)})
	for _, s := range spans {
		err = errors.Join(err, w.Span(s))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLevels counts what was coded: several bands and panels, padding columns,
// outliers, two tensors of a class and one of another.
func TestLevels(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.lamina")
	w, err := weights.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	qkv, down := map[int]int64{}, map[int]int64{}
	if err := w.BeginUnit("layers.0"); err != nil {
		t.Fatal(err)
	}
	tensor(t, w, "layers.0.qkv", "rans1", 100, 300, spans(t, 100, 300, r, qkv)...)
	tensor(t, w, "layers.0.attn_norm", "f32", 1, 2, make([]byte, 8))
	tensor(t, w, "layers.1.qkv", "rans1", 16, 64, spans(t, 16, 64, r, qkv)...)
	// 20 rows of a dense part, and 13 that are a product of rank 5.
	f := &decode.Factors{Rows: 33, Cols: 70, Parts: []decode.Part{{Rows: 20, Dense: 0, Down: -1}, {Rows: 13, Rank: 5, Dense: -1, Down: 0}}}
	description, err := f.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	parts := [][]byte{description}
	for _, shape := range f.Shapes() {
		parts = append(parts, spans(t, shape[0], shape[1], r, down)...)
	}
	tensor(t, w, "layers.1.down", decode.FactoredCodec, 33, 70, parts...)
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	file, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	list, err := report.Levels(t.Context(), file)
	if err != nil || len(list) != 2 || list[0].Class != "qkv" || list[1].Class != "down" {
		t.Fatal(list, err)
	}
	for i, want := range []map[int]int64{qkv, down} {
		h, total := list[i], int64(0)
		for _, n := range want {
			total += n
		}
		if h.Weights != total {
			t.Errorf("%s: %d weights, want %d", h.Class, h.Weights, total)
		}
		for l := -130; l <= 130; l++ {
			if got := h.Part(l) * float64(total); math.Abs(got-float64(want[l])) > 1e-6 {
				t.Errorf("%s: level %d is there %v times, want %d", h.Class, l, got, want[l])
			}
		}
	}
	p := example()
	p.Levels = list
	if text := render(t, p); !strings.Contains(text, "<h2>Levels</h2>") {
		t.Error("levels are not drawn")
	}
}
