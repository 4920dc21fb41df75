package kern

import (
	"fmt"
	"math"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

func TestMatMulPanels(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, rows := range []int{1, 15, 64, 70} {
			for _, cols := range []int{0, 1, 34, 199} {
				for _, n := range []int{0, 1, 6, 66} {
					if rows == 64 && n == 66 {
						continue // enough of large ones
					}
					for _, coarse := range []bool{false, true} {
						t.Run(fmt.Sprintf("rows=%d/cols=%d/n=%d/coarse=%v", rows, cols, n, coarse), func(t *testing.T) {
							testMatMulPanels(t, rows, cols, n, coarse)
						})
					}
				}
			}
		}
	})
}

// rounded returns x as coarse products see it.
func rounded(x []float32, coarse bool) []float32 {
	y := append([]float32(nil), x...)
	for i, v := range y {
		if coarse && hasCoarse() {
			y[i] = math.Float32frombits((math.Float32bits(v) + 0x8000) &^ 0xffff)
		}
	}
	return y
}

// transposed returns w, of rows x cols, the other way round.
func transposed(t *testing.T, w []float32, rows, cols int) []float32 {
	u := cputest.Guarded[float32](t, len(w), true)
	for r := range rows {
		for c := range cols {
			u[c*rows+r] = w[r*cols+c]
		}
	}
	return u
}

func testMatMulPanels(t *testing.T, rows, cols, n int, coarse bool) {
	r := rng(rows + cols)
	atEnd := (rows+n)%2 == 0
	w, x := normals(t, r, rows*cols, atEnd), normals(t, r, n*cols, atEnd)
	// What memory that is used again held before does not matter.
	stale := func() Panels {
		p := Panels{data: make([]float32, 2*panelBlock(cols))}
		for i := range p.data {
			p.data[i] = float32(math.NaN())
		}
		return p
	}
	panels, turned, both := stale(), stale(), stale()
	panels.Reset(rows, cols, coarse)
	turned.Reset(rows, cols, coarse)
	wt := transposed(t, w, rows, cols)
	for i := range panels.Len() {
		panels.Pack(i, w, cols)
		mid := cols / 2 &^ 1
		turned.PackTransposed(i, wt, rows, 0, mid)
		turned.PackTransposed(i, wt, rows, mid, cols)
	}
	var vectors Vectors
	vectors.Reset(n, 0, cols, coarse)
	vectors.Pack(0, n, x, cols)
	both.Reset(n, cols, coarse)
	for i := range both.Len() {
		both.Pack(i, x, cols)
	}
	other := both.Vectors()
	start := normals(t, r, n*rows, true)
	wr, xr := rounded(w, coarse), rounded(x, coarse)
	for k, span := range [][2]int{{0, cols}, {0, cols / 2 &^ 1}, {cols / 4 &^ 1, cols}} {
		c0, c1 := span[0], span[1]
		if k > 0 { // of those columns alone
			vectors.Reset(n, c0, c1, coarse)
			if n > 0 {
				vectors.Pack(0, n, x[c0:], cols)
			}
		}
		for _, add := range []bool{false, true} {
			dst := cputest.Guarded[float32](t, n*rows, atEnd)
			copy(dst, start)
			again := append([]float32(nil), start...)
			for i := range min(panels.Len(), n*panels.Len()) {
				MatMulPanels(dst[i*PanelRows:], rows, &panels, i, &vectors, 0, n, c0, c1, add)
				for tok := range n { // one by one, of other operands that are the same
					MatMulPanels(again[tok*rows+i*PanelRows:], rows, &turned, i, &other, tok, tok+1, c0, c1, add)
				}
			}
			for tok := range n {
				for row := range rows {
					want, mag := dot64(wr[row*cols+c0:row*cols+c1], xr[tok*cols+c0:tok*cols+c1])
					i := tok*rows + row
					if add {
						want, mag = want+float64(start[i]), mag+math.Abs(float64(start[i]))
					}
					wantClose(t, fmt.Sprintf("row %d, token %d, columns %v, add %v", row, tok, span, add), dst[i], want, mag, c1-c0+1)
					if again[i] != dst[i] {
						t.Fatalf("row %d, token %d, columns %v, add %v: %x alone, %x in the batch", row, tok, span, add, again[i], dst[i])
					}
				}
			}
		}
	}
}

// Columns of a list are packed as those columns alone would be.
func TestPackListed(t *testing.T) {
	const rows, cols, wide = 70, 35, 90
	w := normals(t, rng(1), cols*wide, true)
	var list []int32
	chosen := make([]float32, cols*rows)
	for r := range rows {
		list = append(list, int32((r*17+3)%wide))
		for c := range cols {
			chosen[c*rows+r] = w[c*wide+int(list[r])]
		}
	}
	var got, want Panels
	got.Reset(rows, cols, false)
	want.Reset(rows, cols, false)
	for i := range got.Len() {
		got.PackListed(i, w, wide, list)
		want.PackTransposed(i, chosen, rows, 0, cols)
	}
	wantSame(t, "panels", got.data, want.data)
}

// Infinities and NaNs reach the products that they are part of and no others.
func TestMatMulPanelsOdd(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, coarse := range []bool{false, true} {
			const rows, cols, n = 33, 65, 7
			w, x := normals(t, rng(1), rows*cols, true), normals(t, rng(2), n*cols, true)
			w[5*cols+64], x[3*cols+1] = float32(math.Inf(1)), float32(math.NaN())
			var p Panels
			var v Vectors
			p.Reset(rows, cols, coarse)
			p.Pack(0, w, cols)
			v.Reset(n, 0, cols, coarse)
			v.Pack(0, n, x, cols)
			dst := make([]float32, n*rows)
			MatMulPanels(dst, rows, &p, 0, &v, 0, n, 0, cols, false)
			for i, got := range dst {
				nan, inf := math.IsNaN(float64(got)), math.IsInf(float64(got), 0)
				if nan != (i/rows == 3) || inf != (i%rows == 5 && i/rows != 3) {
					t.Errorf("coarse %v: row %d, vector %d: %v", coarse, i%rows, i/rows, got)
				}
			}
		}
	})
}

func BenchmarkMatMulPanels(b *testing.B) {
	const rows, cols, n = 640, 576, 512
	for _, coarse := range []bool{false, true} {
		b.Run(fmt.Sprintf("coarse=%v", coarse), func(b *testing.B) {
			cputest.BenchEachTier(b, func(b *testing.B, _ cpu.Tier) {
				var p Panels
				var v Vectors
				p.Reset(rows, cols, coarse)
				v.Reset(n, 0, cols, coarse)
				w, dst := floats(rows*cols), make([]float32, n*rows)
				for i := range p.Len() {
					p.Pack(i, w, cols)
				}
				v.Pack(0, n, floats(n*cols), cols)
				for b.Loop() {
					for i := range p.Len() {
						MatMulPanels(dst[i*PanelRows:], rows, &p, i, &v, 0, n, 0, cols, false)
					}
				}
				b.ReportMetric(float64(rows*cols*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gmac/s")
			})
		})
	}
}

// BenchmarkPanels puts a matrix into panels, as it stands and transposed.
func BenchmarkPanels(b *testing.B) {
	const rows, cols = 640, 576
	for _, coarse := range []bool{false, true} {
		b.Run(fmt.Sprintf("coarse=%v", coarse), func(b *testing.B) {
			var p Panels
			w := floats(rows * cols)
			for name, pack := range map[string]func(i int){
				"rows": func(i int) { p.Pack(i, w, cols) }, "transposed": func(i int) { p.PackTransposed(i, w, rows, 0, cols) },
			} {
				b.Run(name, func(b *testing.B) {
					b.SetBytes(4 * rows * cols)
					p.Reset(rows, cols, coarse)
					for b.Loop() {
						for i := range p.Len() {
							pack(i)
						}
					}
				})
			}
		})
	}
}
