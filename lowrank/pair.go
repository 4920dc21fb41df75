package lowrank

import (
	"fmt"
	"math"
)

// Pair is an approximation W ~ A B.
type Pair struct {
	Rank int
	A    []float64 // rows x Rank, orthonormal columns (zero ones beyond the rank of W or of its inputs)
	B    []float64 // Rank x cols

	// Errors is ||(W - A B) X|| / ||W X||: of the start and after every turn
	// for ALS, one value for the others, nil without Gram matrix. It never
	// grows beyond rounding.
	Errors []float64
}

// SVD returns the best approximation in the Frobenius norm, with the singular
// values in B. The error wraps [ErrShape] if r is not in [1, min(rows, cols)].
func (l *Layer) SVD(r int) (*Pair, error) {
	if err := l.checkRank(r); err != nil {
		return nil, err
	}
	var q []float64
	if l.start == nil {
		q = make([]float64, r*l.k)
		for i := range r {
			q[i*l.k+i] = 1
		}
	} else {
		q = l.start[:r*l.k]
	}
	p := l.pair(q, r)
	if l.modes != nil {
		p.Errors = []float64{l.left(l.begin(r), r)}
	}
	return p, nil
}

// Optimal returns the approximation of least ||(W - A B) X||, which is what
// SVD-LLM (arXiv 2403.07378) gets from the SVD of W T with M = T T^T, and where
// ALS goes. Columns of A come in the order of the output energy that they carry.
// Errors wrap [ErrShape], [ErrNoInputs] or [ErrNoConvergence].
func (l *Layer) Optimal(r int) (*Pair, error) {
	if err := l.checkWeighted(r); err != nil {
		return nil, err
	}
	p := l.pair(l.modes[:r*l.k], r)
	lost := 0.0
	for _, v := range l.carried[r:] {
		lost += v
	}
	p.Errors = []float64{l.relative(lost)}
	return p, nil
}

// OptimalRank returns the smallest rank, at least 1, at which [Layer.Optimal]
// loses at most lost of [Layer.Energy], in its unit; below 0 or NaN nothing is
// lost. Errors are those of Optimal.
func (l *Layer) OptimalRank(lost float64) (int, error) {
	if err := l.checkWeighted(1); err != nil {
		return 0, err
	}
	r, tail := l.k, 0.0
	for ; r > 1; r-- {
		if tail += max(l.carried[r-1], 0); !(tail <= lost) {
			break
		}
	}
	return r, nil
}

// ALS returns PGSVD's approximation: turns of alternating least squares,
// starting from the SVD. Columns of A come in the order of the output energy that
// they carry. Where inputs span fewer dimensions than r, what they do not reach is
// lost, as with the pseudo-inverses of the paper: columns of A and rows of B are
// zero. Errors wrap [ErrShape], [ErrNoInputs] or [ErrNoConvergence].
func (l *Layer) ALS(r, turns int) (*Pair, error) {
	if err := l.checkWeighted(r); err != nil {
		return nil, err
	}
	if turns < 0 {
		return nil, fmt.Errorf("lowrank: %w: %d turns", ErrShape, turns)
	}
	q := l.begin(r)
	errs := []float64{l.left(q, r)}
	for range turns {
		var err error
		if q, err = l.orthonormal(l.image(q, r), r); err != nil {
			return nil, err
		}
		errs = append(errs, l.left(q, r))
	}
	// Within the subspace, the directions of most output energy first.
	_, turn, err := eigen(r, gram(q, l.image(q, r), r, l.k, l.pool), r, l.pool)
	if err != nil {
		return nil, err
	}
	q = product(turn, transpose(q, r, l.k, l.pool), r, l.k, r, l.pool)
	p := l.pair(product(q, transpose(l.modes, l.k, l.k, l.pool), r, l.k, l.k, l.pool), r)
	p.Errors = errs
	return p, nil
}

func (l *Layer) checkRank(r int) error {
	if r < 1 || r > l.k {
		return fmt.Errorf("lowrank: %w: rank %d of a %d x %d matrix", ErrShape, r, l.rows, l.cols)
	}
	return nil
}

func (l *Layer) checkWeighted(r int) error {
	if l.modes == nil {
		return fmt.Errorf("lowrank: %w: none was given", ErrNoInputs)
	}
	return l.checkRank(r)
}

// begin returns the first r left singular vectors in the basis of the modes.
func (l *Layer) begin(r int) []float64 {
	if l.start != nil {
		return product(l.start, l.modes, r, l.k, l.k, l.pool)
	}
	q := make([]float64, r*l.k)
	for j := range l.k {
		for i := range r {
			q[i*l.k+j] = l.modes[j*l.k+i]
		}
	}
	return q
}

// image returns K times each of the r rows of q, in the basis of the modes.
func (l *Layer) image(q []float64, r int) []float64 {
	y := make([]float64, r*l.k)
	parallel(l.pool, l.k, r, func(i int) {
		for j, v := range l.carried {
			y[i*l.k+j] = v * q[i*l.k+j]
		}
	})
	return y
}

// left returns the relative error of the projection on the r rows of q, in the
// basis of the modes.
func (l *Layer) left(q []float64, r int) float64 {
	each := make([]float64, r)
	parallel(l.pool, l.k, r, func(i int) {
		for j, v := range l.carried {
			x := q[i*l.k+j]
			each[i] += v * x * x
		}
	})
	kept := 0.0
	for _, v := range each {
		kept += v
	}
	return l.relative(l.energy - kept)
}

// relative returns the root of the part that lost is of the output energy.
func (l *Layer) relative(lost float64) float64 {
	if l.energy == 0 { // W itself is zero, or no input reaches it
		return 0
	}
	return math.Sqrt(max(0, lost/l.energy))
}

// pair makes factors of the projection on the r rows of q.
func (l *Layer) pair(q []float64, r int) *Pair {
	if l.right == nil {
		return &Pair{Rank: r, A: transpose(q, r, l.k, l.pool), B: product(q, transpose(l.w, l.k, l.cols, l.pool), r, l.cols, l.k, l.pool)}
	}
	// A = U q^T = W V s^-1 q^T and B = q s V^T.
	b, c := make([]float64, r*l.k), make([]float64, r*l.k)
	parallel(l.pool, l.k, r, func(i int) {
		for j, s := range l.values {
			x := q[i*l.k+j]
			b[i*l.k+j] = x * s
			if s > 0 {
				c[i*l.k+j] = x / s
			}
		}
	})
	v := transpose(l.right, l.k, l.cols, l.pool)
	c = product(c, v, r, l.cols, l.k, l.pool)
	return &Pair{Rank: r, A: product(l.w, c, l.rows, r, l.cols, l.pool), B: product(b, v, r, l.cols, l.k, l.pool)}
}

// orthonormal returns r orthonormal rows that span what the rows of y do, the
// last ones zero if that is less; y is overwritten. It goes through a Cholesky
// factor of their Gram matrix, again if that was not near the identity (Yamamoto
// et al., Roundoff error analysis of the CholeskyQR2 algorithm, 2015), or through
// eigenvectors if there is none.
func (l *Layer) orthonormal(y []float64, r int) ([]float64, error) {
	q := y
	for range 2 {
		// Rows of one length: what is left to the factor is their angles.
		parallel(l.pool, l.k, r, func(i int) {
			row := q[i*l.k : (i+1)*l.k]
			sum := 0.0
			for _, x := range row {
				sum += x * x
			}
			if sum > 0 {
				scale := 1 / math.Sqrt(sum)
				for j := range row {
					row[j] *= scale
				}
			}
		})
		inner := gram(q, q, r, l.k, l.pool)
		factor, least := cholesky(r, append([]float64(nil), inner...), l.pool)
		if factor != nil {
			if q = factor.solve(q, l.k); least > goodPivot {
				break
			}
			continue
		}
		values, turn, err := eigen(r, inner, r, l.pool)
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			scale := 0.0
			if v > values[0]*0x1p-50*float64(r) {
				scale = 1 / math.Sqrt(v)
			}
			for j := range r {
				turn[i*r+j] *= scale
			}
		}
		q = product(turn, transpose(q, r, l.k, l.pool), r, l.k, r, l.pool)
	}
	return q, nil
}
