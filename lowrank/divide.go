package lowrank

import (
	"cmp"
	"math"
	"slices"

	"github.com/lamina-llm/lamina/internal/kern"
)

// Blocks of divide and conquer.
const (
	leafSize   = 32  // tridiagonal matrices of this size or twice it are left to QL
	mergeAlone = 256 // matrices that are merged by one worker each; larger ones by all workers together
)

// alone is a Pool of the calling goroutine.
type alone struct{}

func (alone) Workers() int { return 1 }

func (alone) For(n int, f func(worker, i int)) {
	for i := range n {
		f(0, i)
	}
}

// divide finds the eigenvalues of the tridiagonal matrix, smallest first, in d,
// and the eigenvectors of the last count of them, as rows of n, likewise.
//
// It is Cuppen's divide and conquer: halves are solved, and what couples them is
// a matrix of rank one, so that the whole is diagonal plus rank one in the basis
// of their eigenvectors. Deflation, and vectors from Loewner's formula, which
// makes them orthogonal whatever the values' last digits are, are those of Gu and
// Eisenstat (A divide-and-conquer algorithm for the symmetric tridiagonal
// eigenproblem, 1995). Nearly all of the work is products: 2/3 n^3 multiplications
// for all vectors, and less where values deflate.
func (t *tridiagonal) divide(count int) ([]float64, error) {
	n := t.n
	levels := 0
	for n>>levels > 2*leafSize {
		levels++
	}
	bound := func(level, i int) int { return i * n >> level }
	// Cut: every coupling goes off the diagonal on both sides of it.
	for i := 1; i < 1<<levels; i++ {
		m := bound(levels, i)
		t.d[m-1] -= math.Abs(t.e[m-1])
		t.d[m] -= math.Abs(t.e[m-1])
	}
	z, next := make([]float64, n*n), []float64(nil)
	errs := make([]error, 1<<levels)
	parallel(t.pool, n, 1<<levels, func(i int) {
		lo, hi := bound(levels, i), bound(levels, i+1)
		errs[i] = t.leaf(z[lo*n+lo:], lo, hi)
	})
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	for level := levels - 1; level >= 0; level-- {
		if next == nil {
			next = make([]float64, n*n)
		}
		merge := func(i int, pool Pool) {
			lo, mid, hi := bound(level, i), bound(level+1, 2*i+1), bound(level, i+1)
			skip := 0
			if level == 0 {
				skip = n - count
			}
			m := merger{n: hi - lo, mid: mid - lo, stride: n, d: t.d[lo:hi], coupling: t.e[mid-1], z: z[lo*n+lo:], skip: skip, pool: pool}
			m.run(next[lo*n+lo:])
		}
		if n>>level <= mergeAlone {
			parallel(t.pool, n, 1<<level, func(i int) { merge(i, alone{}) })
		} else {
			for i := range 1 << level {
				merge(i, t.pool)
			}
		}
		z, next = next, z
	}
	if levels == 0 {
		return z[(n-count)*n:], nil
	}
	return z[:count*n], nil
}

// leaf solves rows lo to hi by QL, with eigenvectors as rows of z.
func (t *tridiagonal) leaf(z []float64, lo, hi int) error {
	n := hi - lo
	own := tridiagonal{n: n, d: t.d[lo:hi], e: append([]float64(nil), t.e[lo:hi]...), pool: alone{}}
	own.e[n-1] = 0
	blocks := identityBlocks(n)
	if err := own.iterate(blocks); err != nil {
		return err
	}
	order := ascending(own.d)
	for k, i := range order {
		row := z[k*t.n : k*t.n+n]
		for j := range row {
			row[j] = blocks[j/kern.RotateLanes][i*kern.RotateLanes+j%kern.RotateLanes]
		}
	}
	slices.Sort(own.d)
	return nil
}

// identityBlocks returns the unit matrix as blocks that [kern.Rotate] takes.
func identityBlocks(n int) [][]float64 {
	z := make([][]float64, (n+kern.RotateLanes-1)/kern.RotateLanes)
	for b := range z {
		z[b] = make([]float64, n*kern.RotateLanes)
		for lane := range min(kern.RotateLanes, n-b*kern.RotateLanes) {
			z[b][(b*kern.RotateLanes+lane)*kern.RotateLanes+lane] = 1
		}
	}
	return z
}

// ascending returns the order that sorts v.
func ascending(v []float64) []int {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(v[i], v[j]) })
	return order
}

// merger joins two solved halves of a tridiagonal matrix.
type merger struct {
	n, mid   int // size, and that of the first half
	stride   int
	d        []float64 // eigenvalues of the halves, each ascending; then of the whole
	coupling float64   // between the halves
	z        []float64 // eigenvectors of the halves as rows; pairs that deflate are turned in place
	skip     int       // how many of the smallest eigenvalues need no vector
	pool     Pool

	secular
	rows []int // of z, for each pole
}

// run writes the eigenvectors of the whole to out, as rows in ascending order of
// their values but without the first skip.
func (m *merger) run(out []float64) {
	order := ascending(m.d)
	u := make([]float64, m.n) // the coupling in the basis of the eigenvectors, of length 1
	for i := range u {
		if i < m.mid {
			u[i] = m.z[i*m.stride+m.mid-1] * math.Sqrt2 / 2
		} else {
			u[i] = m.z[i*m.stride+m.mid] * math.Copysign(math.Sqrt2/2, m.coupling)
		}
	}
	m.rho = 2 * math.Abs(m.coupling)
	gone, kinds := m.deflate(order, u)

	k := len(m.poles)
	m.solve(m.pool)
	m.weigh(m.pool)

	// All values in ascending order: a root, or what deflated (from k on).
	all := make([]float64, 0, m.n)
	for t := range k {
		all = append(all, m.value(t))
	}
	for _, i := range gone {
		all = append(all, m.d[i])
	}
	order = ascending(all)
	place := make([]int, m.n)
	for at, i := range order {
		m.d[at], place[i] = all[i], at-m.skip
	}
	for i, row := range gone {
		if at := place[k+i]; at >= 0 {
			copy(out[at*m.stride:at*m.stride+m.n], m.z[row*m.stride:row*m.stride+m.n])
		}
	}
	m.vectors(out, place, kinds)
}

// deflate sorts out eigenvalues of the halves that are some of the whole as they
// are: those that the coupling hardly reaches, and one of two that are nearly
// equal, once a rotation has given the coupling to the other. It returns their
// rows; what is left are the poles. kinds says where a row is not zero: 1 in the
// first half, 2 in the second, 3 in both.
func (m *merger) deflate(order []int, u []float64) (gone []int, kinds []uint8) {
	kinds = make([]uint8, m.n)
	top := 0.0
	for i, x := range u {
		top = max(top, math.Abs(m.d[i]), math.Abs(x))
		kinds[i] = 2
		if i < m.mid {
			kinds[i] = 1
		}
	}
	nothing := 8 * 0x1p-53 * top
	last := -1 // the pole that is not yet sure to stay
	keep := func(i int) {
		m.poles, m.u, m.rows = append(m.poles, m.d[i]), append(m.u, u[i]), append(m.rows, i)
	}
	for _, i := range order {
		if m.rho*math.Abs(u[i]) <= nothing {
			gone = append(gone, i)
			continue
		}
		if last < 0 {
			last = i
			continue
		}
		r := math.Hypot(u[last], u[i])
		c, s := u[i]/r, u[last]/r
		if gap := m.d[i] - m.d[last]; math.Abs(gap*c*s) > nothing {
			keep(last)
			last = i
			continue
		}
		// Turn the two so that the coupling reaches only i.
		x, y := m.z[last*m.stride:last*m.stride+m.n], m.z[i*m.stride:i*m.stride+m.n]
		for j := range x {
			x[j], y[j] = c*x[j]-s*y[j], s*x[j]+c*y[j]
		}
		a, b := m.d[last], m.d[i]
		m.d[last], m.d[i] = a*c*c+b*s*s, a*s*s+b*c*c
		u[i] = r
		kinds[i] |= kinds[last]
		kinds[last] = kinds[i]
		gone = append(gone, last)
		last = i
	}
	if last >= 0 {
		keep(last)
	}
	return gone, kinds
}

// vectors computes the eigenvectors of all roots. A row of the halves' basis that
// is zero in one half takes no part in the product for that half.
func (m *merger) vectors(out []float64, place []int, kinds []uint8) {
	k := len(m.poles)
	if k == 0 {
		return
	}
	// Poles by where their rows are not zero: first half, both, second half.
	var by []int
	var ends [3]int
	for g, kind := range []uint8{1, 3, 2} {
		for p := range k {
			if kinds[m.rows[p]] == kind {
				by = append(by, p)
			}
		}
		ends[g] = len(by)
	}
	halves := []struct{ from, to, lo, hi int }{{0, ends[1], 0, m.mid}, {ends[0], k, m.mid, m.n}}
	var basis [2][]float64
	for h, f := range halves {
		basis[h] = m.columns(by[f.from:f.to], f.lo, f.hi)
	}
	block := share(k, 4, m.pool)
	parallel(m.pool, m.n, (k+block-1)/block, func(task int) {
		// Roots that stand in a row in out are done together.
		v := make([]float64, block*k)
		for t := task * block; t < min(task*block+block, k); {
			if place[t] < 0 {
				t++
				continue
			}
			first := t
			for ; t < min(task*block+block, k) && place[t] == place[first]+t-first; t++ {
				m.vector(v[(t-first)*k:(t-first+1)*k], t, by)
			}
			for h, f := range halves {
				dst := out[place[first]*m.stride+f.lo:]
				for i := range t - first {
					clear(dst[i*m.stride : i*m.stride+f.hi-f.lo])
				}
				if width := f.to - f.from; width > 0 {
					kern.MatMulF64(dst, m.stride, basis[h], width, v[f.from:], k, f.hi-f.lo, width, t-first)
				}
			}
		}
	})
}

// columns returns elements lo to hi of the rows of z of some poles, element by
// element.
func (m *merger) columns(poles []int, lo, hi int) []float64 {
	width := len(poles)
	c := make([]float64, (hi-lo)*width)
	const block = 16
	parallel(m.pool, m.n, (hi-lo+block-1)/block, func(task int) {
		from, to := lo+task*block, min(lo+task*block+block, hi)
		for p, pole := range poles {
			row := m.z[m.rows[pole]*m.stride+from : m.rows[pole]*m.stride+to]
			for i, x := range row {
				c[(from-lo+i)*width+p] = x
			}
		}
	})
	return c
}
