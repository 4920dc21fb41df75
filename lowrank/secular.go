package lowrank

import "math"

// secular is a diagonal matrix plus one of rank one, diag(poles) + rho u u^T.
// Poles ascend and differ, no element of u is zero, rho is positive. Its
// eigenvalues, one above each pole, are the roots of
//
//	f(x) = 1 + rho sum u_i^2 / (poles_i - x).
type secular struct {
	poles, u []float64
	rho      float64

	// Root t is poles[origin[t]] + offset[t], so that its distance from every pole
	// is known to the last digits.
	origin []int
	offset []float64
	weight []float64 // u as it is exactly for the roots that were found
}

// value returns root t.
func (s *secular) value(t int) float64 { return s.poles[s.origin[t]] + s.offset[t] }

// distance returns pole i minus root t.
func (s *secular) distance(i, t int) float64 {
	return (s.poles[i] - s.poles[s.origin[t]]) - s.offset[t]
}

// solve finds all roots.
func (s *secular) solve(pool Pool) {
	k := len(s.poles)
	s.origin, s.offset = make([]int, k), make([]float64, k)
	const block = 8
	parallel(pool, k, (k+block-1)/block, func(task int) {
		for t := task * block; t < min(task*block+block, k); t++ {
			s.origin[t], s.offset[t] = s.root(t)
		}
	})
}

// at evaluates f at poles[origin] + x, where the poles up to t are below: the
// sums over those and the rest, and their derivatives.
func (s *secular) at(t, origin int, x float64) (below, above, slopeBelow, slopeAbove float64) {
	base := s.poles[origin]
	for i, p := range s.poles[:t+1] {
		w := s.u[i] / ((p - base) - x)
		below += s.u[i] * w
		slopeBelow += w * w
	}
	for i, p := range s.poles[t+1:] {
		u := s.u[t+1+i]
		w := u / ((p - base) - x)
		above += u * w
		slopeAbove += w * w
	}
	return s.rho * below, s.rho * above, s.rho * slopeBelow, s.rho * slopeAbove
}

// root finds the root above pole t, between it and the next pole, or for the last
// at most rho |u|^2 above. Each step replaces the sums over poles below and above
// by one pole each that has the same value and slope (Bunch, Nielsen and Sorensen,
// Rank-one modification of the symmetric eigenproblem, 1978), or halves
// the bracket where that leads out of it.
func (s *secular) root(t int) (origin int, x float64) {
	k := len(s.poles)
	last := t == k-1
	var lo, hi float64 // around the root, from the origin
	gap := 0.0
	if last {
		for _, v := range s.u {
			gap += v * v
		}
		gap *= s.rho
		origin, lo, hi = t, 0, gap*(1+0x1p-40)
		x = gap / 2
	} else {
		gap = s.poles[t+1] - s.poles[t]
		below, above, _, _ := s.at(t, t, gap/2)
		// All other poles as they are in the middle.
		a, b := s.rho*s.u[t]*s.u[t], s.rho*s.u[t+1]*s.u[t+1]
		rest := 1 + below + above + a/(gap/2) - b/(gap/2)
		if 1+below+above >= 0 {
			origin, lo, hi = t, 0, gap/2
			x = quadratic(rest, rest*gap+a+b, a*gap)
		} else {
			origin, lo, hi = t+1, -gap/2, 0
			x = quadratic(rest, -rest*gap+a+b, -b*gap)
		}
	}
	if !(x > lo && x < hi) {
		x = (lo + hi) / 2
	}
	const eps = 0x1p-53
	for range 100 {
		below, above, slopeBelow, slopeAbove := s.at(t, origin, x)
		f := 1 + below + above
		if math.Abs(f) <= eps*(8*(1-below+above)+math.Abs(x)*(slopeBelow+slopeAbove)) {
			break
		}
		if f < 0 {
			lo = x
		} else {
			hi = x
		}
		var step float64
		near := (s.poles[t] - s.poles[origin]) - x // to the pole below
		if last {
			// c + b/(near - step) = 0
			step = near + near*near*slopeBelow/(f-near*slopeBelow)
		} else {
			far := (s.poles[t+1] - s.poles[origin]) - x
			c := f - near*slopeBelow - far*slopeAbove
			step = quadratic(c, (near+far)*f-near*far*(slopeBelow+slopeAbove), near*far*f)
		}
		y := x + step
		if !(y > lo && y < hi) {
			y = (lo + hi) / 2
		}
		if y == x || y == lo || y == hi {
			break
		}
		x = y
	}
	return origin, x
}

// quadratic returns the root of c x^2 - a x + b that stays finite as c goes to
// zero.
func quadratic(c, a, b float64) float64 {
	d := math.Sqrt(math.Abs(a*a - 4*b*c))
	if a > 0 {
		return 2 * b / (a + d)
	}
	return (a - d) / (2 * c)
}

// weigh finds the u whose roots are exactly those that were found, up to a
// factor.
func (s *secular) weigh(pool Pool) {
	k := len(s.poles)
	s.weight = make([]float64, k)
	const block = 8
	parallel(pool, k, (k+block-1)/block, func(task int) {
		for i := task * block; i < min(task*block+block, k); i++ {
			p := s.poles[i]
			w := -s.distance(i, k-1)
			for t := range i {
				w *= s.distance(i, t) / (p - s.poles[t])
			}
			for t := i; t < k-1; t++ {
				w *= s.distance(i, t) / (p - s.poles[t+1])
			}
			s.weight[i] = math.Copysign(math.Sqrt(math.Abs(w)), s.u[i])
		}
	})
}

// vector writes the eigenvector of root t, of length 1, its elements in the
// order of the poles by.
func (s *secular) vector(v []float64, t int, by []int) {
	sum := 0.0
	base, x := s.poles[s.origin[t]], s.offset[t]
	for i, p := range by {
		y := s.weight[p] / ((s.poles[p] - base) - x)
		v[i] = y
		sum += y * y
	}
	scale := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] *= scale
	}
}
