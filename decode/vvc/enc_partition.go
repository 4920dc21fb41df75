package vvc

import "math"

// blockOverhead is what a block costs beside its levels, in bits: splits, mode, and the position of the last level.
const blockOverhead = 14

// variances holds sums of samples and of their squares over the 4x4 cells of a block of up to 32x32.
type variances struct {
	x, y         int // of the block
	sum, squares [8][8]float32
}

// measure takes the sums of a block of the source. Cells beyond the source are zero.
func (v *variances) measure(e *sliceEncoder, x, y, w, h int) {
	v.x, v.y = x, y
	middle := int32(1) << (e.d.bitDepth - 1)
	for j := range h >> 2 {
		for i := range w >> 2 {
			var sum, squares int32
			x0, y0 := x+4*i, y+4*j
			for row := y0; row < min(y0+4, e.height); row++ {
				for col := x0; col < min(x0+4, e.width); col++ {
					s := int32(e.src[row*e.width+col]) - middle
					sum += s
					squares += s * s
				}
			}
			v.sum[j][i], v.squares[j][i] = float32(sum), float32(squares)
		}
	}
}

// bits estimates what a block takes: the rate of Gaussian samples with the block's variance, or where rows or columns are
// alike, of its coefficients.
func (e *sliceEncoder) bits(n *treeNode) float32 {
	if e.likeRows || e.likeColumns {
		return e.predictedBits(n) + blockOverhead
	}
	v := &e.variances
	var sum, squares float32
	for j := (n.y - v.y) >> 2; j < (n.y-v.y+n.h)>>2; j++ {
		for i := (n.x - v.x) >> 2; i < (n.x-v.x+n.w)>>2; i++ {
			sum += v.sum[j][i]
			squares += v.squares[j][i]
		}
	}
	area := float32(n.w * n.h)
	variance := max(squares-sum*sum/area, 0) / area
	return area/2*float32(math.Log2(float64(1+3*variance/(e.step*e.step)))) + blockOverhead
}

// divide chooses how to divide a node, so that parts of different variance do not share a transform, and estimates the bits.
func (e *sliceEncoder) divide(n *treeNode) (splitMode, float32) {
	best, bits := splitNone, e.bits(n)
	if n.mtDepth == encMaxDepth {
		return best, bits
	}
	for _, mode := range [2]splitMode{splitVertical, splitHorizontal} {
		if mode == splitVertical && n.w == 4 || mode == splitHorizontal && n.h == 4 {
			continue
		}
		parts := n.halves(mode)
		_, a := e.divide(&parts[0])
		if a >= bits {
			continue
		}
		_, b := e.divide(&parts[1])
		if a+b < bits {
			best, bits = mode, a+b
		}
	}
	return best, bits
}
