package rans

import "github.com/lamina-llm/lamina/internal/tile"

// rowsGeneric is the definition of the decoder: n rows of panel p of chunk i,
// from the cursor in s. Either dots (with act and bias) or levels is wanted.
// Every other implementation gives the same output, positions and states.
func (m *Matrix) rowsGeneric(i, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	c, cur := &m.chunks[i], &s.cur
	r0, _ := m.Band(i / m.Blocks())
	g0, g1 := m.layout.Panel(p)
	planes, width := int(m.side.Planes), (g1-g0)*Lanes
	var row [tile.MaxWidth]uint8
	for r := range n {
		for g := range g1 - g0 {
			t := &m.tables[m.side.classOf(r0+r, g0+g)]
			out := (*[Lanes]uint8)(row[g*Lanes:])
			if m.side.Mode == Scalar {
				cur.pos[g] = stepScalar(t, &cur.lo[g], &cur.hi[g], c.data[:c.end[g]], cur.pos[g], out)
			} else {
				cur.pos[g] = stepDQ(t, &cur.lo[g], &cur.hi[g], &cur.dq[g], c.data[:c.end[g]], cur.pos[g], out)
			}
			if planes > 0 {
				addPlanes(out, c.data[cur.raw:], planes)
				cur.raw += planes * Lanes / 8
			}
			if m.side.Mode == DQ {
				reconstruct(out, &cur.dq[g], planes)
			}
		}
		if dots != nil {
			sum := bias
			for j, a := range act {
				sum += int32(row[j]) * int32(a)
			}
			dots[r] = sum
		} else {
			copy(levels[r*width:(r+1)*width], row[:width])
		}
	}
}

// stepScalar decodes one symbol per lane and returns the new position. A
// stream that runs out is fed zeros; its position then shows that it overran.
func stepScalar(t *slotTable, lo, hi *[Lanes]uint8, data []byte, pos int, out *[Lanes]uint8) int {
	for l := range Lanes {
		e := t.entry[0][lo[l]]
		x := (e&0xff)*uint32(hi[l]) + e>>8&0xff
		out[l] = uint8(e >> 16)
		if x < stateMin {
			x <<= 8
			if pos < len(data) {
				x |= uint32(data[pos])
			}
			pos++
		}
		lo[l], hi[l] = uint8(x), uint8(x>>8)
	}
	return pos
}

// stepDQ is stepScalar with the table of the lane's quantiser.
func stepDQ(t *slotTable, lo, hi, dq *[Lanes]uint8, data []byte, pos int, out *[Lanes]uint8) int {
	for l := range Lanes {
		e := t.entry[dq[l]&1][lo[l]]
		x := (e&0xff)*uint32(hi[l]) + e>>8&0xff
		out[l] = uint8(e >> 16)
		if x < stateMin {
			x <<= 8
			if pos < len(data) {
				x |= uint32(data[pos])
			}
			pos++
		}
		lo[l], hi[l] = uint8(x), uint8(x>>8)
	}
	return pos
}

// addPlanes appends raw bits below each symbol, highest plane first; lane l is
// bit l%8 of byte l/8 of a plane.
func addPlanes(out *[Lanes]uint8, raw []byte, planes int) {
	for b := range planes {
		bits := raw[b*Lanes/8 : (b+1)*Lanes/8]
		for l := range out {
			out[l] = out[l]<<1 | bits[l/8]>>(l%8)&1
		}
	}
}

// reconstruct turns indices k + Zero into levels of the lane's quantiser and
// moves every lane's trellis state on by the parity of k.
func reconstruct(out, dq *[Lanes]uint8, planes int) {
	for l, u := range out {
		q := dq[l] & 1
		out[l] = recon(u, q, planes)
		dq[l] = next[dq[l]][u&1]
	}
}

// recon returns the unsigned level of index u = k + 8*2^planes in quantiser q:
// 2k - sgn(k)*q without raw planes, 2k - q with them, above [Mode.Zero].
func recon(u, q uint8, planes int) uint8 {
	if planes > 0 {
		return 2*u + 1 - q
	}
	switch {
	case u > Alphabet/2:
		return 2*u - q
	case u < Alphabet/2:
		return 2*u + q
	}
	return 2 * u
}
