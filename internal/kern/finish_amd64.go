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
