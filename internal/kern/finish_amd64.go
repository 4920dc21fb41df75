//go:build !purego

package kern

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
