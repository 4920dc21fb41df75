package vvc

// dct2Column is the first column of the 64-point DCT-II matrix (clause 8.7.4.2): 64*sqrt(2)*cos(pi*k/128), rounded and
// tuned by the standard. Smaller transforms take every second, fourth ... entry.
var dct2Column = [64]int32{
	64, 91, 90, 90, 90, 90, 90, 90, 89, 88, 88, 87, 87, 86, 85, 84,
	83, 83, 82, 81, 80, 79, 78, 77, 75, 73, 73, 71, 70, 69, 67, 65,
	64, 62, 61, 59, 57, 56, 54, 52, 50, 48, 46, 44, 43, 41, 38, 37,
	36, 33, 31, 28, 25, 24, 22, 20, 18, 15, 13, 11, 9, 7, 4, 2,
}

// dst7Row holds the first basis function of the 4-, 8- and 16-point and the 32-point DST-VII.
var dst7Row = [4][]int32{
	{29, 55, 74, 84},
	{17, 32, 46, 60, 71, 78, 85, 86},
	{8, 17, 25, 33, 40, 48, 55, 62, 68, 73, 77, 81, 85, 87, 88, 88},
	{4, 9, 13, 17, 21, 26, 30, 34, 38, 42, 46, 50, 53, 56, 60, 63,
		66, 68, 72, 74, 77, 78, 80, 82, 84, 85, 86, 87, 88, 89, 90, 90},
}

// dct2Odd[l] is the odd half of the 1<<l point DCT-II: row k holds output k's weights of inputs 1, 3, 5 ...
var dct2Odd = func() (m [7][32][32]int32) {
	for l := 1; l <= 6; l++ {
		n := 1 << l
		step := 64 >> l
		for out := range n / 2 {
			for i := range n / 2 {
				// cos(pi*k*(2*out+1)/(2n)) with k = 2*i+1, in steps of pi/128.
				m[l][out][i] = dct2Cos((2*i + 1) * (2*out + 1) * step)
			}
		}
	}
	return m
}()

// dct2Cos returns the integer for cos(pi*k/128).
func dct2Cos(k int) int32 {
	k &= 255
	sign := int32(1)
	if k > 128 {
		k = 256 - k
	}
	if k > 64 {
		k, sign = 128-k, -1
	}
	if k == 64 {
		return 0
	}
	return sign * dct2Column[k]
}

// dst7 and dct8 are the matrices of the inverse 4- to 32-point DST-VII and DCT-VIII, by log2 of the size minus 2: column k
// holds basis function k.
var dst7, dct8 = func() (s, c [4][32][32]int32) {
	for l := range 4 {
		n := 4 << l
		row := dst7Row[l]
		period := 2*n + 1 // sin(pi*k/period)
		for k := range n {
			for i := range n {
				a := (2*k + 1) * (i + 1) % (2 * period)
				sign := int32(1)
				if a > period {
					a, sign = 2*period-a, -1
				}
				a = min(a, period-a)
				if a > 0 {
					s[l][i][k] = sign * row[a-1]
				}
			}
			for i := range n {
				c[l][i][k] = s[l][n-1-i][k]
				if k&1 != 0 {
					c[l][i][k] = -c[l][i][k]
				}
			}
		}
	}
	return s, c
}()
