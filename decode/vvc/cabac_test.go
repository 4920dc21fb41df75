package vvc

import (
	"math/rand/v2"
	"testing"
)

// referenceEncoder is the arithmetic encoder that mirrors cabac, written after the encoding process that the standard gives as
// an example: low and range with outstanding bits.
type referenceEncoder struct {
	low, rng    uint32
	outstanding int
	first       bool
	out         []byte
	acc, n      uint32
	models      [numContexts]contextModel
}

func newReferenceEncoder(qp int) *referenceEncoder {
	var c cabac
	c.initContexts(qp)
	return &referenceEncoder{rng: 510, first: true, models: c.models}
}

func (e *referenceEncoder) write(b uint32) {
	e.acc = e.acc<<1 | b
	if e.n++; e.n == 8 {
		e.out = append(e.out, byte(e.acc))
		e.acc, e.n = 0, 0
	}
}

func (e *referenceEncoder) put(b uint32) {
	if e.first {
		e.first = false
	} else {
		e.write(b)
	}
	for ; e.outstanding > 0; e.outstanding-- {
		e.write(1 - b)
	}
}

func (e *referenceEncoder) renorm() {
	for e.rng < 256 {
		e.shift()
		e.rng <<= 1
	}
}

// shift moves one bit out of low.
func (e *referenceEncoder) shift() {
	switch {
	case e.low < 256:
		e.put(0)
	case e.low >= 512:
		e.low -= 512
		e.put(1)
	default:
		e.low -= 256
		e.outstanding++
	}
	e.low <<= 1
}

func (e *referenceEncoder) bin(i int, b uint32) {
	m := &e.models[i]
	p := uint32(m.slow) + 16*uint32(m.fast)
	mps := p >> 14
	q := p
	if mps == 1 {
		q = 32767 - p
	}
	lps := (e.rng>>5)*(q>>9)/2 + 4
	e.rng -= lps
	if b != mps {
		e.low += e.rng
		e.rng = lps
	}
	e.renorm()
	m.fast += uint16(1023*b)>>m.fastShift - m.fast>>m.fastShift
	m.slow += uint16(16383*b)>>m.slowShift - m.slow>>m.slowShift
}

func (e *referenceEncoder) bypass(b uint32) {
	e.low <<= 1
	if b != 0 {
		e.low += e.rng
	}
	switch {
	case e.low >= 1024:
		e.put(1)
		e.low -= 1024
	case e.low < 512:
		e.put(0)
	default:
		e.low -= 512
		e.outstanding++
	}
}

func (e *referenceEncoder) bypassBits(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		e.bypass(v >> i & 1)
	}
}

func (e *referenceEncoder) terminate(b uint32) {
	e.rng -= 2
	if b == 0 {
		e.renorm()
		return
	}
	e.low += e.rng
	e.rng = 2
	e.renorm()
	e.put(e.low >> 9 & 1)
	e.write(e.low >> 8 & 1)
	e.write(1) // the stop bit
	for e.n != 0 {
		e.write(0)
	}
}

// TestCabacRoundTrip codes random bins of all kinds, with contexts of random skew, in several substreams and compares
// every bin, the adapted models and the position after each substream.
func TestCabacRoundTrip(t *testing.T) {
	type symbol struct {
		kind, ctx int
		v         uint32
		bits      int
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 50 {
		qp := rng.IntN(64)
		var data []byte
		var parts [][]symbol
		var encoders []*referenceEncoder
		var ends []int
		skew := make([]float64, numContexts)
		for i := range skew {
			skew[i] = rng.Float64()
		}
		for range 3 {
			e := newReferenceEncoder(qp)
			part := make([]symbol, rng.IntN(3000))
			for i := range part {
				s := symbol{kind: rng.IntN(4), ctx: rng.IntN(numContexts)}
				switch s.kind {
				case 0, 1:
					if rng.Float64() < skew[s.ctx] {
						s.v = 1
					}
					e.bin(s.ctx, s.v)
				case 2:
					s.bits = rng.IntN(33)
					s.v = uint32(uint64(rng.Uint32()) & (1<<s.bits - 1))
					e.bypassBits(s.v, s.bits)
				case 3:
					e.terminate(0)
				}
				part[i] = s
			}
			e.terminate(1)
			data = append(data, e.out...)
			ends = append(ends, len(data))
			parts = append(parts, part)
			encoders = append(encoders, e)
		}
		c := &cabac{data: data}
		pos := 0
		for k, part := range parts {
			c.initContexts(qp)
			c.start(pos)
			for i, s := range part {
				var got uint32
				switch s.kind {
				case 0, 1:
					got = c.bin(s.ctx)
				case 2:
					if s.bits == 1 && i&1 == 0 {
						got = c.bypass()
					} else {
						got = c.bypassBits(s.bits)
					}
				case 3:
					got = uint32(btoi(c.terminate()))
				}
				if got != s.v {
					t.Fatalf("round %d, substream %d, symbol %d of kind %d: %d, want %d", round, k, i, s.kind, got, s.v)
				}
			}
			if !c.terminate() {
				t.Fatalf("round %d, substream %d: no terminating bin", round, k)
			}
			if c.models != encoders[k].models {
				t.Fatalf("round %d, substream %d: models differ", round, k)
			}
			if pos = c.end(); pos != ends[k] {
				t.Fatalf("round %d: substream %d ends at %d, want %d", round, k, pos, ends[k])
			}
		}
		if c.overrun() {
			t.Fatal("overrun at the end of the data")
		}
	}
}

// TestCabacOverrun checks that reading past the data is noticed and harmless.
func TestCabacOverrun(t *testing.T) {
	c := &cabac{data: []byte{0x12, 0x34}}
	c.initContexts(30)
	c.start(0)
	for range 1000 {
		c.bin(0)
		c.bypassBits(32)
	}
	if !c.overrun() {
		t.Error("overrun not reported")
	}
}

// TestContextInit checks initial states at both ends of the QP range against values computed by hand from clause 9.3.2.2.
func TestContextInit(t *testing.T) {
	var c cabac
	for _, v := range []struct{ ctx, qp, state int }{
		{ctxSplitFlag, 16, 55},                          // initValue 19: 3*18 + 1
		{ctxSplitFlag, 63, (-2*47)>>1 + 55},             // slope 2-4
		{ctxSplitFlag, 0, (-2*-16)>>1 + 55},             //
		{ctxMultiRefLine + 1, 63, (3*47)>>1 + 4*18 + 1}, // initValue 60: clipped to 127
	} {
		c.initContexts(v.qp)
		want := uint16(min(max(v.state, 1), 127))
		if m := c.models[v.ctx]; m.fast != want<<3 || m.slow != want<<7 {
			t.Errorf("context %d at QP %d: states %d and %d, want %d", v.ctx, v.qp, m.fast>>3, m.slow>>7, want)
		}
	}
}
