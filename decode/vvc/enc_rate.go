package vvc

import "math"

// binCost holds the bits that a zero costs by the probability of a one in 256 steps; a one costs binCost[^p].
var binCost = func() (t [256]float32) {
	for i := range t {
		t[i] = float32(-math.Log2(1 - (float64(i)+0.5)/256))
	}
	return t
}()

// cost returns the bits that bin b takes with context model m, going by its slow estimate: decisions that followed the
// noise of the fast one would reinforce it.
func (m *contextModel) cost(b int) float32 { return binCost[uint8(m.slow>>6)^uint8(-b)] }

// Zeros of the quantiser without even multiples are narrow. Where costs follow from decisions and decisions from costs, they
// die out: a zero that is rare is expensive, and then rarer. The search ends with one bit a sample that only tells signs.
// So zeros are taken to be at least nearly as likely as next to the zeros of the other quantiser, in the same context.
const (
	oddZeroShare  = 0.45 // of the other quantiser's probability
	oddZeroWeight = 0.4  // of that share where it is more than the model says
)

// oddZero returns the probability of a one, in 256 steps, that the search assumes for a significance flag with context model
// m of the odd quantiser; even is the model of the same context of the other one.
func oddZero(m, even *contextModel) uint8 {
	zero, share := 16383-int(m.slow), int(oddZeroShare*float64(16383-int(even.slow)))
	if zero < share {
		zero += int(oddZeroWeight * float64(share-zero))
	}
	return uint8((16383 - zero) >> 6)
}

// remainderLimit bounds the remainders whose lengths are tabulated.
const remainderLimit = 64

// remainderLength holds the bits of small remainders by Rice parameter.
var remainderLength = func() (t [4][remainderLimit]float32) {
	for rice := range t {
		for v := range t[rice] {
			t[rice][v] = float32(remainderBits(v, rice))
		}
	}
	return t
}()

// rateTable holds what luma residual syntax costs with the context models of one moment, in bits.
type rateTable struct {
	cbf      [2]float32
	subblock [2][2]float32     // by neighbours, coded_sub_block_flag
	sig      [3][12][2]float32 // by set of states, context, flag
	level    [21][6]float32    // by context, levels 1 to 3, and even and odd levels from 4 on without remainder; signs included
	lastX    [32]float32
	lastY    [32]float32
}

// load takes the costs for a block of w by h from models.
func (r *rateTable) load(models *[numContexts]contextModel, w, h int) {
	for b := range 2 {
		r.cbf[b] = models[ctxCbfLuma].cost(b)
		for i := range r.subblock {
			r.subblock[i][b] = models[ctxSubblockLuma+i].cost(b)
		}
	}
	for set, base := range residualContexts[0].sig {
		for i := range r.sig[set] {
			one := uint8(models[base+i].slow >> 6)
			if set > 0 {
				one = oddZero(&models[base+i], &models[residualContexts[0].sig[0]+i])
			}
			r.sig[set][i] = [2]float32{binCost[one], binCost[^one]}
		}
	}
	for i := range r.level {
		gt1, par, gt2 := &models[ctxGt1Luma+i], &models[ctxParLuma+i], &models[ctxGt2Luma+i]
		l := &r.level[i]
		l[1] = 1 + gt1.cost(0)
		more := 1 + gt1.cost(1)
		even, odd := more+par.cost(0), more+par.cost(1)
		l[2], l[3] = even+gt2.cost(0), odd+gt2.cost(0)
		l[4], l[5] = even+gt2.cost(1), odd+gt2.cost(1)
	}
	loadLast(&r.lastX, models[ctxLastXLuma:], w)
	loadLast(&r.lastY, models[ctxLastYLuma:], h)
}

// loadLast fills in the costs of one coordinate of the last significant coefficient of a side of n samples.
func loadLast(dst *[32]float32, models []contextModel, n int) {
	offset, shift := lastContext(n)
	sum := float32(0)
	limit := lastPrefixMax(n)
	for p := 0; p <= limit; p++ {
		m := &models[offset+p>>shift]
		c := sum
		if p < limit {
			c += m.cost(0)
			sum += m.cost(1)
		}
		first, next := lastGroupMin[p], lastGroupMin[p+1]
		if p > 3 {
			c += float32((p - 2) >> 1)
		}
		for v := first; v < min(next, n); v++ {
			dst[v] = c
		}
	}
}

// lastContext returns the offset and shift of the contexts of a luma last position prefix for a side of n samples.
func lastContext(n int) (offset, shift int) {
	l := log2(n)
	return [8]int{0, 0, 0, 3, 6, 10, 15, 21}[l], (l + 1) >> 2
}
