//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

//go:noescape
func panelF32AVX512(dst, panel, x *float32, n, steps, row, step, ldd int, mask uint64, add bool)

//go:noescape
func panelBF16AVX512(dst, panel, x *float32, n, steps, row, step, ldd int, mask uint64, add bool)

//go:noescape
func packF32AVX512(dst, w *float32, cols, ld int)

//go:noescape
func packBF16AVX512(dst, w *float32, cols, ld int)

//go:noescape
func joinBF16AVX512(dst, w *float32, rows, ld int, mask uint64)

//go:noescape
func roundBF16AVX512(dst, x *float32, n int)

func hasPanels() bool { return cpu.Active() == cpu.AVX512 }
func hasCoarse() bool { return cpu.HasBF16() }

// packRows packs the whole groups of 16 rows and returns how many rows that are.
func packRows(panel, w []float32, rows, cols, ld int, coarse bool) (r int) {
	for ; r+16 <= rows; r += 16 {
		if coarse {
			packBF16AVX512(&panel[r], &w[r*ld], cols, ld)
		} else {
			packF32AVX512(&panel[r], &w[r*ld], cols, ld)
		}
	}
	return r
}

func joinRows(panel, w []float32, rows, ld, width int) {
	joinBF16AVX512(&panel[0], &w[0], rows, ld, leading(width))
}

func roundRow(dst, x []float32) {
	if len(x) > 0 {
		roundBF16AVX512(&dst[0], &x[0], len(x))
	}
}

// leading has a bit for each of the first n.
func leading(n int) uint64 { return ^uint64(0) >> (64 - n) }

// panelSteps is how many elements of a panel stay in the first-level cache while
// all vectors pass over them; half as many when these come from panels too, where their
// elements are in every fourth set of the cache alone.
const panelSteps = 96

func matMulPanel(dst []float32, ldd int, panel []float32, v *Vectors, t0, t1, e0, e1, rows int, add bool) {
	mask, most := leading(rows), panelSteps
	if v.step != 1 {
		most /= 2
	}
	for e := e0; e < e1; e += most {
		steps := min(most, e1-e)
		for t := t0; t < t1; {
			next := min(t1, (t/PanelRows+1)*PanelRows)
			if v.step == 1 {
				next = t1
			}
			d, w, x := &dst[(t-t0)*ldd], &panel[e*PanelRows], &v.data[t/PanelRows*v.block+t%PanelRows*v.ld+e*v.step]
			if v.coarse {
				panelBF16AVX512(d, w, x, next-t, steps, v.ld, v.step, ldd, mask, add)
			} else {
				panelF32AVX512(d, w, x, next-t, steps, v.ld, v.step, ldd, mask, add)
			}
			t = next
		}
		add = true
	}
}
