//go:build !purego

package kern

import "github.com/lamina-llm/lamina/internal/cpu"

//go:noescape
func finishAVX2(s *Sums, y *float32, ldy, rows int)

// finishVectors does as many rows as fill vectors, of all tokens, and returns
// their number.
func finishVectors(s *Sums, y []float32, ldy int) int {
	rows := whole(s.Rows)
	if rows > 0 {
		finishAVX2(s, &y[0], ldy, rows)
	}
	return rows
}

//go:noescape
func sumPanelsAVX2(y *float32, d *int32, stride int, center *int32, scale, row *float32, rows, panels int)

// sumPanelsVectors does as many rows as fill vectors and returns their number.
func sumPanelsVectors(y []float32, d []int32, stride int, center []int32, scale, row []float32) int {
	rows := whole(len(y))
	if rows > 0 {
		sumPanelsAVX2(&y[0], &d[0], stride, &center[0], &scale[0], &row[0], rows, len(center))
	}
	return rows
}

//go:noescape
func tileSumsAVX512(s *Sums, y *float32, pack *byte, x *int8, row, cols, n, ldy, ldx int)

// matMulTo does everything, or reports that it did nothing. Whole eights of tokens of
// 32 rows go from the registers of the products to y.
func (s *Sums) matMulTo(y []float32, ldy int, w []byte, x []int8, cols, ldx int) bool {
	if cpu.Active() != cpu.AVX512 || s.N < packTokens || s.Rows < 32 || cols == 0 || cols > packCols {
		return false
	}
	var pack [32 * packCols]byte
	rows, n := s.Rows&^31, s.N&^7
	for r := 0; r < rows; r += 32 {
		packAVX512(&pack[0], &w[r*cols], cols, cols)
		packAVX512(&pack[64], &w[(r+16)*cols], cols, cols)
		tileSumsAVX512(s, &y[r], &pack[0], &x[0], r, cols, n, ldy, ldx)
		if n < s.N {
			tileAVX512(&s.D[n*s.Rows+r], &pack[0], &x[n*ldx], cols, s.N-n, s.Rows, ldx, 0)
		}
	}
	matMulByDots(s.D, w, x, rows, s.Rows, cols, s.N, ldx)
	if rows < s.Rows {
		whole := *s
		whole.N = n
		whole.addTo(y, ldy, rows)
	}
	if n < s.N {
		rest := s.from(n)
		rest.addTo(y[n*ldy:], ldy, finishVectors(rest, y[n*ldy:], ldy))
	}
	return true
}
