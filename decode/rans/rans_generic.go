package rans

import (
	"encoding/binary"

	"github.com/lamina-llm/lamina/internal/tile"
)

// slotTable is what the pure Go decoder reads for one class and quantiser: the
// entry of a slot packs frequency (bits 0-7), slot - start (8-15), symbol
// (16-19) and, without raw planes, the level (24-31; else the symbol again).
type slotTable [probOne]uint32

// fill lays out table i of s.
func (t *slotTable) fill(s *Side, i int) {
	var start [Alphabet]uint8
	var sym [probOne]uint8
	f := &s.Tables[i]
	if f.slots(&start, &sym) != nil {
		return // validate has refused such a table
	}
	for slot, v := range sym {
		t[slot] = uint32(f.Freq[v]) | uint32(slot-int(start[v]))<<8 | uint32(v)<<16 | uint32(s.level(v, i))<<24
	}
}

// level returns what the decoder's tables hold for a symbol of table i: its
// level if there are no raw planes to come.
func (s *Side) level(sym uint8, i int) uint8 {
	if s.Mode == DQ && s.Planes == 0 {
		return recon(sym, uint8(i%2), 0) + s.lift
	}
	return sym + s.lift
}

// rowsGeneric decodes n rows of panel p of chunk c, from the cursor in s.
// Either dots (with act and bias) or levels is wanted. Every other
// implementation gives the same output, positions and states.
func (m *Matrix) rowsGeneric(c *chunk, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	cur := &s.args.cursor
	g0, g1 := m.layout.Panel(p)
	planes, nq := int(m.side.Planes), m.side.quantisers()
	var x [tile.MaxGroups][Lanes]uint16
	for g := range g1 - g0 {
		for l := range Lanes {
			x[g][l] = uint16(cur.lo[g][l]) | uint16(cur.hi[g][l])<<8
		}
	}
	var out [Lanes]uint8
	for r := range n {
		sum := bias
		for g := range g1 - g0 {
			t := m.tables[m.side.classOf(c.r0+r, g0+g)*nq:][:nq]
			data, dq := c.data[min(cur.pos[g], c.end[g]):c.end[g]], &cur.dq[g]
			whole := len(data) >= Lanes
			switch {
			case !whole: // the stream may run out within this step
				cur.pos[g] += step(t, &x[g], dq, data, &out)
			case nq == 1:
				cur.pos[g] += stepScalar(&t[0], &x[g], (*[Lanes]uint8)(data), &out)
			case planes > 0:
				cur.pos[g] += stepIndex((*[2]slotTable)(t), &x[g], dq, (*[Lanes]uint8)(data), &out)
			default:
				cur.pos[g] += stepLevel((*[2]slotTable)(t), &x[g], dq, (*[Lanes]uint8)(data), &out)
			}
			if planes > 0 {
				addPlanes(&out, c.data[cur.raw:], planes)
				cur.raw += planes * Lanes / 8
			}
			if nq == 2 && (planes > 0 || !whole) {
				reconstruct(&out, dq, planes)
			}
			if dots != nil {
				sum += dot(&out, (*[Lanes]int8)(act[g*Lanes:]))
			} else {
				copy(levels[(r*(g1-g0)+g)*Lanes:], out[:])
			}
		}
		if dots != nil {
			dots[r] = sum
		}
	}
	for g := range g1 - g0 {
		for l, v := range x[g] {
			cur.lo[g][l], cur.hi[g][l] = uint8(v), uint8(v>>8)
		}
	}
}

// step is the definition of the decoder: it decodes one symbol per lane, from
// the table of the lane's quantiser, and returns how many bytes it used. A
// stream that runs out is fed zeros; the count then shows that it overran.
func step(t []slotTable, x *[Lanes]uint16, dq *[Lanes]uint8, data []byte, out *[Lanes]uint8) (used int) {
	for l := range Lanes {
		e := t[int(dq[l]&1)%len(t)][x[l]&0xff]
		v := (e&0xff)*uint32(x[l]>>8) + e>>8&0xff
		out[l] = uint8(e >> 16 & 0xf)
		if v < stateMin {
			v <<= 8
			if used < len(data) {
				v |= uint32(data[used])
			}
			used++
		}
		x[l] = uint16(v)
	}
	return used
}

// renorm shifts next into v if v is below stateMin, without a branch.
func renorm(v uint32, next uint8) (x uint16, used uint32) {
	short := uint32(int32(v-stateMin) >> 31) // ones or zeros
	return uint16(v ^ (v^(v<<8|uint32(next)))&short), short & 1
}

// stepScalar is step in scalar mode, for streams with enough bytes left.
func stepScalar(t *slotTable, x *[Lanes]uint16, data *[Lanes]uint8, out *[Lanes]uint8) int {
	used := uint32(0)
	for l, v := range x {
		e := t[v&0xff]
		out[l] = uint8(e >> 24)
		n := uint32(0)
		x[l], n = renorm((e&0xff)*uint32(v>>8)+e>>8&0xff, data[used%Lanes])
		used += n
	}
	return int(used)
}

// stepIndex is step in mode DQ, for streams with enough bytes left.
func stepIndex(t *[2]slotTable, x *[Lanes]uint16, dq *[Lanes]uint8, data *[Lanes]uint8, out *[Lanes]uint8) int {
	used := uint32(0)
	for l, v := range x {
		e := t[dq[l]&1][v&0xff]
		out[l] = uint8(e >> 24)
		n := uint32(0)
		x[l], n = renorm((e&0xff)*uint32(v>>8)+e>>8&0xff, data[used%Lanes])
		used += n
	}
	return int(used)
}

// stepLevel is stepIndex and reconstruct in one, without raw planes.
func stepLevel(t *[2]slotTable, x *[Lanes]uint16, dq *[Lanes]uint8, data *[Lanes]uint8, out *[Lanes]uint8) int {
	used := uint32(0)
	for l, v := range x {
		q := dq[l] & 7
		e := t[q&1][v&0xff]
		out[l] = uint8(e >> 24)
		dq[l] = Next[q][e>>16&1]
		n := uint32(0)
		x[l], n = renorm((e&0xff)*uint32(v>>8)+e>>8&0xff, data[used%Lanes])
		used += n
	}
	return int(used)
}

// addPlanes appends raw bits below each symbol, highest plane first; lane l is
// bit l%8 of byte l/8 of a plane.
func addPlanes(out *[Lanes]uint8, raw []byte, planes int) {
	for b := range planes {
		bits := binary.LittleEndian.Uint64(raw[b*Lanes/8:])
		for l, u := range out {
			out[l] = u<<1 | uint8(bits>>l)&1
		}
	}
}

// reconstruct turns indices k + Zero into levels of the lane's quantiser and
// moves every lane's trellis state on by the parity of k.
func reconstruct(out, dq *[Lanes]uint8, planes int) {
	for l, u := range out {
		q := dq[l] & 1
		out[l] = recon(u, q, planes)
		dq[l] = Next[dq[l]&7][u&1]
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

// dot returns the sum of products.
func dot(levels *[Lanes]uint8, act *[Lanes]int8) (sum int32) {
	for l, a := range act {
		sum += int32(levels[l]) * int32(a)
	}
	return sum
}
