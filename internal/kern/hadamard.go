package kern

// Hadamard replaces every run of block elements of x by its Walsh-Hadamard
// transform, in natural order and without a factor: element i of a run becomes
// the sum over j of (-1)^popcount(i AND j) x[j]. Doing it twice multiplies x by
// block, which is a power of two and divides len(x).
//
// Sums are taken in pairs, those of the largest distance first, in the same
// order on every tier: results are equal bit for bit.
func Hadamard(x []float32, block int) {
	for ; len(x) >= block && block > 1; x = x[block:] {
		run := x[:block]
		h := block / 2
		for ; h >= 8; h /= 2 {
			for at := 0; at < block; at += 2 * h {
				butterfly(run[at:at+h], run[at+h:at+2*h])
			}
		}
		if h == 4 {
			hadamard8(run)
			continue
		}
		for ; h > 0; h /= 2 { // a block of 2 or 4
			for at := 0; at < block; at += 2 * h {
				butterflyGeneric(run[at:at+h], run[at+h:at+2*h])
			}
		}
	}
}

// butterflyGeneric replaces pairs by their sums and differences.
func butterflyGeneric(lo, hi []float32) {
	hi = hi[:len(lo)]
	for i, a := range lo {
		b := hi[i]
		lo[i], hi[i] = a+b, a-b
	}
}

// hadamard8 transforms runs of 8.
func hadamard8(x []float32) {
	for ; len(x) >= 8; x = x[8:] {
		v := (*[8]float32)(x)
		a0, a1, a2, a3 := v[0]+v[4], v[1]+v[5], v[2]+v[6], v[3]+v[7]
		a4, a5, a6, a7 := v[0]-v[4], v[1]-v[5], v[2]-v[6], v[3]-v[7]
		b0, b1, b2, b3 := a0+a2, a1+a3, a0-a2, a1-a3
		b4, b5, b6, b7 := a4+a6, a5+a7, a4-a6, a5-a7
		*v = [8]float32{b0 + b1, b0 - b1, b2 + b3, b2 - b3, b4 + b5, b4 - b5, b6 + b7, b6 - b7}
	}
}
