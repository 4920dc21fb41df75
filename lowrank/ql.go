package lowrank

import (
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
)

// sweep is one step of QL: rotations between elements top and top-1 and on down.
type sweep struct{ top, at, n int }

// maxRotations is how many rotations are gathered before they are applied.
const maxRotations = 1 << 16

// iterate finds the eigenvalues by implicit QL, in d, and multiplies its
// rotations onto the rows of z, [kern.RotateLanes] of them a block.
func (t *tridiagonal) iterate(z [][]float64) error {
	n, d, e := t.n, t.d, t.e
	norm := 0.0
	for i := range n {
		norm = max(norm, math.Abs(d[i])+math.Abs(e[i]))
	}
	const eps = 0x1p-53
	tiny := norm * eps / 1024
	var sweeps []sweep
	var cs []float64
	flush := func() {
		parallel(t.pool, n, len(z), func(b int) {
			for _, s := range sweeps {
				kern.Rotate(z[b], cs[2*s.at:2*(s.at+s.n)], s.top)
			}
		})
		sweeps, cs = sweeps[:0], cs[:0]
	}
	for l := range n {
		for turn := 0; ; turn++ {
			// Where eigenvalues are zero but for rounding, so is what couples them, and
			// it does not shrink: the longer it takes, the more counts as nothing.
			nothing := math.Ldexp(tiny, min(turn, 20))
			m := l
			for ; m < n-1; m++ {
				if x := math.Abs(e[m]); x <= nothing || x <= eps*(math.Abs(d[m])+math.Abs(d[m+1])) {
					break
				}
			}
			if m == l {
				break
			}
			if turn == 60 {
				return fmt.Errorf("lowrank: %w: eigenvalue %d of %d", ErrNoConvergence, l, n)
			}
			s := sweep{top: m, at: len(cs) / 2}
			cs = t.step(l, m, cs)
			s.n = len(cs)/2 - s.at
			if z == nil {
				cs = cs[:0]
				continue
			}
			if sweeps = append(sweeps, s); len(cs) > 2*maxRotations {
				flush()
			}
		}
	}
	flush()
	return nil
}

// step is one implicit QL step on rows l to m, which are coupled to no others.
// It appends cosines and sines to cs.
func (t *tridiagonal) step(l, m int, cs []float64) []float64 {
	d, e := t.d, t.e
	g := (d[l+1] - d[l]) / (2 * e[l])
	r := math.Hypot(g, 1)
	g = d[m] - d[l] + e[l]/(g+math.Copysign(r, g))
	s, c, p := 1.0, 1.0, 0.0
	for i := m - 1; i >= l; i-- {
		f, b := s*e[i], c*e[i]
		r = math.Sqrt(f*f + g*g)
		e[i+1] = r
		if r == 0 { // the matrix falls apart here
			d[i+1] -= p
			e[m] = 0
			return cs
		}
		s, c = f/r, g/r
		g = d[i+1] - p
		r = (d[i]-g)*s + 2*c*b
		p = s * r
		d[i+1] = g + p
		g = c*r - b
		cs = append(cs, c, s)
	}
	d[l] -= p
	e[l], e[m] = g, 0
	return cs
}
