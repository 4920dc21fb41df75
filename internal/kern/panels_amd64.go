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

func hasCoarse() bool { return cpu.HasBF16() }

// packRows packs whole groups of 16 rows and returns how many rows that are.
func packRows(panel, w []float32, rows, cols, ld int, coarse bool) (r int) {
	if cpu.Active() != cpu.AVX512 {
		return 0
	}
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

func matMulPanel(dst []float32, ldd int, panel []float32, v *Vectors, t0, t1, e, rows int, add bool) {
	switch cpu.Active() {
	case cpu.AVX512:
	case cpu.AVX2:
		matMulBlocks(dst, ldd, panel, v, t0, t1, e, rows, add)
		return
	default:
		matMulPanelGeneric(dst, ldd, panel, v, t0, t1, e, rows, add)
		return
	}
	mask, steps := leading(rows), len(panel)/PanelRows
	for t := t0; t < t1; {
		next := t1
		if v.step != 1 {
			next = min(t1, (t/PanelRows+1)*PanelRows)
		}
		d, w, x := &dst[(t-t0)*ldd], &panel[0], &v.from(t, e)[0]
		if v.coarse {
			panelBF16AVX512(d, w, x, next-t, steps, v.ld, v.step, ldd, mask, add)
		} else {
			panelF32AVX512(d, w, x, next-t, steps, v.ld, v.step, ldd, mask, add)
		}
		t = next
	}
}
