//go:build purego || !(amd64 || arm64)

package kern

func matMulPanel(dst []float32, ldd int, panel []float32, v *Vectors, t0, t1, e, rows int, add bool) {
	matMulPanelGeneric(dst, ldd, panel, v, t0, t1, e, rows, add)
}
