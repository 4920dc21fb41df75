package kern

// RotateLanes is the number of vectors that one call of [Rotate] turns.
const RotateLanes = 16

// Rotate applies a chain of plane rotations to RotateLanes vectors at once, as
// the QL algorithm does to the rows of its eigenvectors. Element i of all
// vectors stands at z[i*RotateLanes:]. The chain begins between elements top and
// top-1 and goes down; rotation k has cosine cs[2k] and sine cs[2k+1] and turns
// elements i = top-1-k and i+1 into
//
//	z[i+1], z[i] = s*z[i] + c*z[i+1], c*z[i] - s*z[i+1]
//
// len(cs)/2 is at most top. Products may be fused into sums: tiers agree within
// rounding.
func Rotate(z, cs []float64, top int) {
	n := len(cs) / 2
	if n == 0 {
		return
	}
	rotate(z[(top-n)*RotateLanes:(top+1)*RotateLanes], cs[:2*n], n)
}

func rotateGeneric(z, cs []float64, n int) {
	// Four vectors at a time: their elements that are passed on stay in registers.
	for lane := 0; lane < RotateLanes; lane += 4 {
		at := n*RotateLanes + lane
		p := (*[4]float64)(z[at:])
		f0, f1, f2, f3 := p[0], p[1], p[2], p[3]
		for k := range n {
			c, s := cs[2*k], cs[2*k+1]
			at -= RotateLanes
			x, y := (*[4]float64)(z[at:]), (*[4]float64)(z[at+RotateLanes:])
			x0, x1, x2, x3 := x[0], x[1], x[2], x[3]
			y[0], f0 = s*x0+c*f0, c*x0-s*f0
			y[1], f1 = s*x1+c*f1, c*x1-s*f1
			y[2], f2 = s*x2+c*f2, c*x2-s*f2
			y[3], f3 = s*x3+c*f3, c*x3-s*f3
		}
		*(*[4]float64)(z[lane:]) = [4]float64{f0, f1, f2, f3}
	}
}
