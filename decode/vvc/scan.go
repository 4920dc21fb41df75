package vvc

// Coefficients are parsed into padded work arrays: template neighbours to the right, below, left and above exist for
// every coefficient and are zero outside of the block.
const (
	levelPad    = 2
	levelStride = 40
	levelRows   = 32 + 2*levelPad
)

// scanTable is the up-right diagonal scan of a block (clause 6.5.2).
type scanTable struct {
	x, y [64]uint8
	off  [64]uint16 // y*levelStride + x
}

// scanTables is indexed by the log2 of width and height; sizes beyond 64 positions are left out.
var scanTables = func() (t [5][5]scanTable) {
	for lw := range t {
		for lh := range t[lw] {
			if lw+lh > 6 {
				continue
			}
			s := &t[lw][lh]
			n := 0
			for diag := 0; n < 1<<(lw+lh); diag++ {
				for x, y := 0, diag; y >= 0; x, y = x+1, y-1 {
					if x < 1<<lw && y < 1<<lh {
						s.x[n], s.y[n] = uint8(x), uint8(y)
						s.off[n] = uint16(y*levelStride + x)
						n++
					}
				}
			}
		}
	}
	return t
}()

// index returns the scan position of (x, y).
func (s *scanTable) index(x, y, n int) int {
	for i := range n {
		if int(s.x[i]) == x && int(s.y[i]) == y {
			return i
		}
	}
	return 0
}

// subblockLog2 holds the log2 of the subblock width and height by log2 of the block width and height (clause 7.3.11.11).
func subblockLog2(lw, lh int) (int, int) {
	switch {
	case min(lw, lh) >= 2:
		return 2, 2
	case lw == 0:
		return 0, min(lh, 4)
	case lh == 0:
		return min(lw, 4), 0
	case lw == 1 && lh > 2:
		return 1, 3
	case lh == 1 && lw > 2:
		return 3, 1
	}
	return 1, 1
}
