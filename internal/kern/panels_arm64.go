//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

func matMulPanel(dst []float32, ldd int, panel []float32, v *Vectors, t0, t1, e, rows int, add bool) {
	if cpu.Active() == cpu.Generic {
		matMulPanelGeneric(dst, ldd, panel, v, t0, t1, e, rows, add)
		return
	}
	matMulBlocks(dst, ldd, panel, v, t0, t1, e, rows, add)
}
