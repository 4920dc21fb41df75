package vvc

// mipModes is the number of matrix modes of a size class.
var mipModes = [3]int{16, 8, 6}

// mipClass returns the size class of a block for matrix-based prediction (MipSizeId).
func mipClass(w, h int) int {
	switch {
	case w == 4 && h == 4:
		return 0
	case w == 4 || h == 4 || w == 8 && h == 8:
		return 1
	}
	return 2
}

// matrix implements matrix-based intra prediction (clause 8.4.5.2.2).
func (p *predictor) matrix(mode int, transposed bool, bitDepth int, buf *[64 * 64]int32) {
	class := mipClass(p.w, p.h)
	boundary, size := 4, 4 // reduced boundary per side, side of the reduced prediction
	switch class {
	case 0:
		boundary = 2
	case 2:
		size = 8
	}
	var in [8]int32
	first, second := p.top[1:], p.left[1:]
	fw, sw := p.w, p.h
	if transposed {
		first, second = second, first
		fw, sw = sw, fw
	}
	reduceBoundary(in[:boundary], first[:fw])
	reduceBoundary(in[boundary:2*boundary], second[:sw])
	n := 2 * boundary
	base := in[0]
	in[0] = int32(1)<<(bitDepth-1) - base
	for i := 1; i < n; i++ {
		in[i] -= base
	}
	var weights []uint8
	inputs := in[:n]
	switch class {
	case 0:
		weights = mipWeights0[mode][:]
	case 1:
		weights = mipWeights1[mode][:]
	default:
		weights = mipWeights2[mode][:]
		inputs = in[1:n]
	}
	offset := int32(32)
	for _, v := range inputs {
		offset -= 32 * v
	}
	// Reduced prediction, spread to the lower right corners of the areas that it stands for.
	stepX, stepY := p.w/size, p.h/size
	for y := range size {
		for x := range size {
			sum := offset
			for i, v := range inputs {
				sum += v * int32(weights[i])
			}
			weights = weights[len(inputs):]
			px, py := x, y
			if transposed {
				px, py = y, x
			}
			buf[((py+1)*stepY-1)*p.w+(px+1)*stepX-1] = min(max(sum>>6+base, 0), p.maxVal)
		}
	}
	if stepX > 1 {
		shift := log2(stepX)
		for y := stepY - 1; y < p.h; y += stepY {
			before := p.left[1+y]
			row := buf[y*p.w : (y+1)*p.w]
			for x := 0; x < p.w; x += stepX {
				after := row[x+stepX-1]
				interpolate(row[x:x+stepX-1], 1, before, after, shift)
				before = after
			}
		}
	}
	if stepY > 1 {
		shift := log2(stepY)
		for x := range p.w {
			before := p.top[1+x]
			for y := 0; y < p.h; y += stepY {
				after := buf[(y+stepY-1)*p.w+x]
				interpolate(buf[y*p.w+x:(y+stepY-1)*p.w], p.w, before, after, shift)
				before = after
			}
		}
	}
	for y := range p.h {
		for x := range p.w {
			p.dst[y*p.stride+x] = uint16(buf[y*p.w+x])
		}
	}
}

// interpolate fills every step-th sample of s on the way from before to after, 1<<shift samples later.
func interpolate(s []int32, step int, before, after int32, shift int) {
	round := int32(1) << shift >> 1
	acc := before<<shift + round
	for i := 0; i < len(s); i += step {
		acc += after - before
		s[i] = acc >> shift
	}
}

// reduceBoundary averages src down to len(dst) samples.
func reduceBoundary(dst, src []int32) {
	n := len(src) / len(dst)
	shift := log2(n)
	round := int32(1) << shift >> 1
	for i := range dst {
		sum := round
		for _, v := range src[i*n : (i+1)*n] {
			sum += v
		}
		dst[i] = sum >> shift
	}
}
