package kern

// element is how a cache stores one number of a key or value: binary16, or int8
// with a scale that the caller applies.
type element interface{ uint16 | int8 }

// keyBlock is how many keys or values the grouped kernels pass over before they
// turn to the next queries: 32 rows of 128 binary16 numbers are 8 KiB, which stay
// in the first-level cache. It is a multiple of 4.
const keyBlock = 32

// ScoresF16 computes the attention scores of one query head against len(dst)
// keys: dst[j] = q . k[j*stride : j*stride+len(q)]. Keys are binary16, stride
// elements apart.
//
// The rounding error is that of [Dot].
func ScoresF16(dst, q []float32, k []uint16, stride int) { scores(dst, q, k, stride) }

// WeightedSumF16 adds len(p) weighted values to the output of one query head:
// y[i] += sum_j p[j]*v[j*stride+i] for i < len(y). Values are binary16, stride
// elements apart. The sum runs over ascending j, starting from y, so a call
// may be split in two anywhere along j without changing the result.
func WeightedSumF16(y, p []float32, v []uint16, stride int) { weightedSum(y, p, v, stride) }

// ScoresF16x is [ScoresF16] for nq queries that meet the same keys: the heads of
// a group, for one token or several. q is nq rows of len(q)/nq elements, dst nq
// rows of n scores. Four queries at a time, or a last three, share each load of a
// key; every row of dst has the bits that ScoresF16 gives.
func ScoresF16x(dst, q []float32, k []uint16, nq, n, stride int) { scoresX(dst, q, k, nq, n, stride) }

// WeightedSumF16x is [WeightedSumF16] for the nq queries of [ScoresF16x]. p is nq
// rows of n weights, y nq rows of len(y)/nq elements. Every row of y has the bits
// that WeightedSumF16 gives.
func WeightedSumF16x(y, p []float32, v []uint16, nq, n, stride int) {
	weightedSumX(y, p, v, nq, n, stride)
}

// ScoresI8x is [ScoresF16x] for keys of int8. The caller multiplies each score
// with the scale of its key. The order of the sum is the same: keys that are
// whole numbers give the same bits in either format.
func ScoresI8x(dst, q []float32, k []int8, nq, n, stride int) { scoresX(dst, q, k, nq, n, stride) }

// WeightedSumI8x is [WeightedSumF16x] for values of int8, whose scales the caller
// has multiplied into the weights.
func WeightedSumI8x(y, p []float32, v []int8, nq, n, stride int) {
	weightedSumX(y, p, v, nq, n, stride)
}

func scores[E element](dst, q []float32, k []E, stride int) {
	if len(dst) == 0 {
		return
	}
	k = strided(k, len(dst), len(q), stride)
	n := scoresVectors(dst, q, k, stride)
	switch {
	case n == 0:
		for j := range dst {
			dst[j] = dotElements(q, k[j*stride:])
		}
	case n < len(q):
		for j := range dst {
			dst[j] += dotElements(q[n:], k[j*stride+n:])
		}
	}
}

func weightedSum[E element](y, p []float32, v []E, stride int) {
	if len(p) == 0 || len(y) == 0 {
		return
	}
	v = strided(v, len(p), len(y), stride)
	n := weightedSumVectors(y, p, v, stride)
	if n == len(y) {
		return
	}
	for j, a := range p {
		addElements(y[n:], a, v[j*stride+n:])
	}
}

func scoresX[E element](dst, q []float32, k []E, nq, n, stride int) {
	if n <= 0 || nq <= 0 {
		return
	}
	size := len(q) / nq
	dst, k = dst[:nq*n], strided(k, n, size, stride)
	shared := sharing(nq, size)
	for j := 0; j < n; j += keyBlock {
		m := min(keyBlock, n-j)
		for h := 0; h < shared && m >= 4; h += 4 {
			scores4(&dst[h*n+j], &q[h*size], &k[j*stride], size, m&^3, stride, n, min(3, shared-1-h))
		}
		for h := range nq {
			from := 0
			if h < shared {
				from = m &^ 3
			}
			if from < m {
				scores(dst[h*n+j+from:h*n+j+m], q[h*size:(h+1)*size], k[(j+from)*stride:], stride)
			}
		}
	}
}

func weightedSumX[E element](y, p []float32, v []E, nq, n, stride int) {
	if n <= 0 || nq <= 0 {
		return
	}
	size := len(y) / nq
	p, v = p[:nq*n], strided(v, n, size, stride)
	shared := sharing(nq, size)
	for j := 0; j < n; j += keyBlock {
		m := min(keyBlock, n-j)
		for h := 0; h < shared; h += 4 {
			weightedSum4(&y[h*size], &p[h*n+j], &v[j*stride], size, m, stride, n, min(3, shared-1-h))
		}
		for h := shared; h < nq; h++ {
			weightedSum(y[h*size:(h+1)*size], p[h*n+j:h*n+j+m], v[j*stride:], stride)
		}
	}
}

// sharing returns how many of nq queries go through the kernels for four: whole
// fours, and a last three, for which the kernel computes the third row twice.
func sharing(nq, size int) int {
	switch {
	case size == 0 || !hasGroup4(size):
		return 0
	case nq%4 == 3:
		return nq
	}
	return nq &^ 3
}

// strided cuts s to what rows of width elements, stride apart, occupy.
func strided[E element](s []E, rows, width, stride int) []E {
	if stride < 0 {
		panic("kern: negative stride")
	}
	return s[:(rows-1)*stride+width]
}

func dotElements[E element](q []float32, k []E) float32 {
	k = k[:len(q)]
	var s0, s1 float32
	i := 0
	for ; i+2 <= len(q); i += 2 {
		s0 += q[i] * number(k[i])
		s1 += q[i+1] * number(k[i+1])
	}
	if i < len(q) {
		s0 += q[i] * number(k[i])
	}
	return s0 + s1
}

func addElements[E element](y []float32, a float32, v []E) {
	v = v[:len(y)]
	for i := range y {
		y[i] += a * number(v[i])
	}
}

// number returns the value of an element.
func number[E element](e E) float32 {
	if h, ok := any(e).(uint16); ok {
		return widen(h)
	}
	return float32(e)
}
