package rans

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/internal/tile"
)

// ErrEncode marks levels that the given side information cannot code.
var ErrEncode = errors.New("rans: cannot encode")

// Outlier is what is added to one level so that a weight far outside the
// alphabet keeps its value.
type Outlier struct {
	Row   int   // row of the band
	Col   int   // coded column of the panel
	Delta int32 // added to level - Zero; |Delta| <= 32768
}

// code is what coding one symbol takes: with frequency f and x < f*2^8 the new
// state is x/f*256 + x%f + start = x + start + x/f * (256-f), and x/f, for
// x < 2^16, is x * inverse >> 32.
type code struct {
	inverse uint64 // 2^32/f rounded up
	limit   uint32 // f*2^8: from here on a byte goes out first; 0 if f is 0
	start   uint16
	rest    uint16 // 256-f
}

func codeOf(f, start uint8) code {
	if f == 0 {
		return code{}
	}
	return code{inverse: 1<<32/uint64(f) + 1, limit: uint32(f) << 8, start: uint16(start), rest: probOne - uint16(f)}
}

// Encoder writes the chunks of one matrix. It is safe for concurrent use;
// chunks are independent.
type Encoder struct {
	m     *Matrix
	codes [][Alphabet]code // of each table
	// filler[t] is the commonest symbol of table t, which pads the last lane group.
	filler []uint8
}

// NewEncoder makes an encoder for a matrix of the given shape.
func NewEncoder(rows, cols int, side *Side) (*Encoder, error) {
	l := tile.Layout{Rows: rows, Cols: cols}
	if err := side.validate(l); err != nil {
		return nil, err
	}
	e := &Encoder{
		m:      &Matrix{layout: l, side: side},
		codes:  make([][Alphabet]code, len(side.Tables)),
		filler: make([]uint8, len(side.Tables)),
	}
	for i := range side.Tables {
		var sym [probOne]uint8
		var start [Alphabet]uint8
		if err := side.Tables[i].slots(&start, &sym); err != nil {
			return nil, err
		}
		for s, f := range side.Tables[i].Freq {
			e.codes[i][s] = codeOf(f, start[s])
			if f > side.Tables[i].Freq[e.filler[i]] {
				e.filler[i] = uint8(s)
			}
		}
	}
	return e, nil
}

// Matrix returns the geometry of the matrix: bands, blocks and chunks. Nothing
// is attached to it.
func (e *Encoder) Matrix() *Matrix { return e.m }

// Chunk appends coded chunk i to dst. index[p] holds panel p of the chunk's
// block row by row, each row as wide as the panel: the signed level k of every
// weight plus 8*2^planes. Columns past the matrix's last are ignored.
// outliers[p] must be sorted by row, then column. The entries of index are
// used as working memory.
func (e *Encoder) Chunk(dst []byte, i int, index [][]uint8, outliers [][]Outlier) ([]byte, error) {
	band, block := i/e.m.Blocks(), i%e.m.Blocks()
	r0, r1 := e.m.Band(band)
	p0, p1 := e.m.Block(block)
	rows, n := r1-r0, e.m.streams(block)
	for p := p0; p < p1; p++ {
		e.prepare(index[p-p0], r0, rows, p)
	}
	streams := make([][]byte, n)
	head := len(dst)
	dst = append(dst, make([]byte, n*(2*Lanes+4))...)
	for g := range n {
		var x [Lanes]uint32
		var err error
		if streams[g], err = e.stream(&x, index, g, p0, p1, r0, rows); err != nil {
			return nil, err
		}
		for l, v := range x {
			dst[head+g*2*Lanes+l], dst[head+g*2*Lanes+Lanes+l] = byte(v), byte(v>>8)
		}
		binary.LittleEndian.PutUint32(dst[head+n*2*Lanes+4*g:], uint32(len(streams[g])))
	}
	for _, s := range streams {
		dst = append(dst, s...)
	}
	dst = e.planes(dst, index, p0, p1, rows)
	for p := p0; p < p1; p++ {
		c0, c1 := e.m.layout.Columns(p)
		width, last := c1-c0, -1
		if len(outliers[p-p0]) > rows*width/maxOutliers {
			return nil, fmt.Errorf("%w: %d outliers in panel %d, at most one weight in %d may be one", ErrEncode, len(outliers[p-p0]), p, maxOutliers)
		}
		dst = binary.AppendUvarint(dst, uint64(len(outliers[p-p0])))
		for _, o := range outliers[p-p0] {
			at := o.Row*width + o.Col
			if at <= last || o.Row >= rows || o.Col < 0 || o.Col >= width || o.Delta > maxDelta || o.Delta < -maxDelta {
				return nil, fmt.Errorf("%w: outlier %+v of panel %d", ErrEncode, o, p)
			}
			dst = binary.AppendUvarint(dst, uint64(at-last-1))
			dst = binary.AppendVarint(dst, int64(o.Delta))
			last = at
		}
	}
	return dst, nil
}

// quantiserBit marks, in an index byte, that quantiser 1 codes the weight.
const quantiserBit = 0x80

// prepare fills the padding of a panel and, in mode DQ, marks the quantiser of
// every weight.
func (e *Encoder) prepare(index []uint8, r0, rows, p int) {
	side := e.m.side
	g0, g1 := e.m.layout.Panel(p)
	width := (g1 - g0) * Lanes
	used := min(width, e.m.layout.Cols-g0*Lanes)
	nq := side.quantisers()
	var state [tile.MaxWidth]uint8
	for r := range rows {
		row := index[r*width : (r+1)*width]
		for j := used; j < width; j++ {
			q := int(state[j]&1) % nq
			row[j] = e.filler[side.classOf(r0+r, g0+j/Lanes)*nq+q] << side.Planes
		}
		if side.Mode != DQ {
			continue
		}
		for j, u := range row {
			s := state[j]
			row[j] = u | s&1<<7
			state[j] = Next[s][u&1]
		}
	}
}

// stream codes stream g backwards and returns its bytes; x holds the states
// that the decoder starts from.
func (e *Encoder) stream(x *[Lanes]uint32, index [][]uint8, g, p0, p1, r0, rows int) ([]byte, error) {
	side := e.m.side
	for l := range x {
		x[l] = stateMin
	}
	buf := make([]byte, (p1-p0)*rows*Lanes+1)
	at := len(buf)
	// The top bit of an index chooses the table in mode DQ and is part of the
	// symbol, and wrong there, in scalar mode.
	mask := uint8(0xff)
	if side.Mode == DQ {
		mask = quantiserBit - 1
	}
	for p := p1 - 1; p >= p0; p-- {
		g0, g1 := e.m.layout.Panel(p)
		if g0+g >= g1 {
			continue
		}
		width := (g1 - g0) * Lanes
		for r := rows - 1; r >= 0; r-- {
			lanes := (*[Lanes]uint8)(index[p-p0][r*width+g*Lanes:])
			class := side.classOf(r0+r, g0+g) * side.quantisers()
			first := &e.codes[class]
			other := &e.codes[class+side.quantisers()-1]
			room := (*[Lanes + 1]byte)(buf[at-Lanes-1:])
			left := uint32(Lanes) // the next byte goes to room[left]
			for l := Lanes - 1; l >= 0; l-- {
				u := lanes[l]
				t := first
				if u >= quantiserBit {
					t = other
				}
				s := u & mask >> side.Planes
				if s >= Alphabet || t[s].limit == 0 {
					return nil, fmt.Errorf("%w: row %d column %d: symbol %d has no probability in its table",
						ErrEncode, r0+r, (g0+g)*Lanes+l, s)
				}
				c := &t[s]
				v := x[l]
				room[left] = byte(v)
				out := (v-c.limit)>>31 ^ 1 // 1 if a byte goes out: both are below 2^17
				left -= out
				v >>= out * 8
				x[l] = v + uint32(c.start) + uint32(uint64(v)*c.inverse>>32)*uint32(c.rest)
			}
			at -= Lanes - int(left)
		}
	}
	return buf[at:], nil
}

// planes appends the raw low bits of every weight.
func (e *Encoder) planes(dst []byte, index [][]uint8, p0, p1, rows int) []byte {
	for p := p0; p < p1; p++ {
		c0, c1 := e.m.layout.Columns(p)
		for r := range rows {
			row := index[p-p0][r*(c1-c0) : (r+1)*(c1-c0)]
			for ; len(row) > 0; row = row[Lanes:] {
				for b := int(e.m.side.Planes) - 1; b >= 0; b-- {
					var bits uint64
					for l, u := range row[:Lanes] {
						bits |= uint64(u>>b&1) << l
					}
					dst = binary.LittleEndian.AppendUint64(dst, bits)
				}
			}
		}
	}
	return dst
}
