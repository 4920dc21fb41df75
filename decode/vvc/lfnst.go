package vvc

// inverseLfnst applies the inverse low-frequency non-separable transform to the top left of block (clause 8.7.4.2) and
// returns the extent of nonzero coefficients after it. mode is the intra mode after wide angle mapping.
func inverseLfnst(block []int32, w, h, mode, index int) (maxX, maxY int) {
	switch {
	case mode < 0:
		mode += modeLast + 1 + 14
	case mode > modeLast:
		mode += 14
	}
	set := lfnstSet[mode]
	transpose := mode > modeLast+14 || mode <= modeLast && mode > modeDiagonal
	inputs := 16
	if w == h && w <= 8 {
		inputs = 8
	}
	var in [16]int32
	scan := &scanTables[2][2]
	for i := range inputs {
		in[i] = block[int(scan.y[i])*w+int(scan.x[i])]
	}
	weigh := func(row *[16]int8) int32 {
		sum := int32(64)
		for i := range inputs {
			sum += in[i] * int32(row[i])
		}
		return min(max(sum>>7, coefMin), coefMax)
	}
	put := func(x, y int, v int32) {
		if transpose {
			x, y = y, x
		}
		block[y*w+x] = v
	}
	if w < 8 || h < 8 {
		m := &lfnst4x4[set][index-1]
		for i := range m {
			put(i&3, i>>2, weigh(&m[i]))
		}
		return 3, 3
	}
	m := &lfnst8x8[set][index-1]
	for i := range 32 {
		put(i&7, i>>3, weigh(&m[i]))
	}
	for i := 32; i < 48; i++ {
		put(i&3, i>>2-4, weigh(&m[i]))
	}
	return 7, 7
}

// wideAngle maps a mode to the wide angles that a block of w by h samples uses instead (clause 8.4.5.2.7).
func wideAngle(w, h, mode int) int {
	if mode <= modeDC {
		return mode
	}
	shift := [7]int{0, 6, 10, 12, 14, 15, 15}
	switch lw, lh := log2(w), log2(h); {
	case lw > lh && mode < 2+shift[lw-lh]:
		return mode + 65
	case lh > lw && mode > modeLast-shift[lh-lw]:
		return mode - 67
	}
	return mode
}
