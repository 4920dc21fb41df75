//go:build !purego && (amd64 || arm64)

package kern

// The block of one call of [blockF32SIMD].
const (
	panelVectors = 6
	panelPart    = 16
)

// blockF32SIMD multiplies panelPart rows of a panel with panelVectors vectors, or
// adds that. steps is not 0; row, step and ldd are elements between vectors,
// between their elements, and between results.
//
//go:noescape
func blockF32SIMD(dst, panel, x *float32, steps, row, step, ldd int, add bool)

// matMulBlocks is matMulPanelGeneric block by block. Blocks that are not whole are
// computed in memory of their own.
func matMulBlocks(dst []float32, ldd int, panel []float32, v *Vectors, t0, t1, e, rows int, add bool) {
	steps := len(panel) / PanelRows
	var in [panelVectors * panelSteps]float32
	var out [panelVectors * panelPart]float32
	for t := t0; t < t1; t += panelVectors {
		m := min(panelVectors, t1-t)
		x, row, step := &in[0], panelSteps, 1
		if m == panelVectors && (v.step == 1 || t%PanelRows+m <= PanelRows) {
			x, row, step = &v.from(t, e)[0], v.ld, v.step
		} else {
			for k := range m {
				from := v.from(t+k, e)
				for s := range steps {
					in[k*panelSteps+s] = from[s*v.step]
				}
			}
		}
		for r := 0; r < rows; r += panelPart {
			at, h := (t-t0)*ldd+r, min(panelPart, rows-r)
			if m == panelVectors && h == panelPart {
				blockF32SIMD(&dst[at], &panel[r], x, steps, row, step, ldd, add)
				continue
			}
			blockF32SIMD(&out[0], &panel[r], x, steps, row, step, panelPart, false)
			for k := range m {
				store(dst[at+k*ldd:][:h], out[k*panelPart:], add)
			}
		}
	}
}
