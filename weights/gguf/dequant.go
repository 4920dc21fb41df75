package gguf

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/lamina-llm/lamina/internal/half"
)

// Type is the element type of a tensor, numbered as in ggml.
type Type uint32

// Element types that ReadRows decodes.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q2_K Type = 10
	Q3_K Type = 11
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

// block says how a type lays out its weights: in blocks of a fixed number of
// weights and bytes. decode converts whole blocks; nil if there is no decoder.
//
// The layouts are those of ggml-common.h. Products are rounded to float32
// before they are added, on every architecture, so that results are exact.
type block struct {
	name           string
	weights, bytes int64
	decode         func(dst []float32, src []byte)
}

var blocks = map[Type]block{
	F32:  {"F32", 1, 4, decodeF32},
	F16:  {"F16", 1, 2, decodeF16},
	BF16: {"BF16", 1, 2, decodeBF16},
	Q4_0: {"Q4_0", 32, 18, decodeQ4_0},
	Q4_1: {"Q4_1", 32, 20, decodeQ4_1},
	Q5_0: {"Q5_0", 32, 22, decodeQ5_0},
	Q5_1: {"Q5_1", 32, 24, decodeQ5_1},
	Q8_0: {"Q8_0", 32, 34, decodeQ8_0},
	Q2_K: {"Q2_K", 256, 84, decodeQ2_K},
	Q3_K: {"Q3_K", 256, 110, decodeQ3_K},
	Q4_K: {"Q4_K", 256, 144, decodeQ4_K},
	Q5_K: {"Q5_K", 256, 176, decodeQ5_K},
	Q6_K: {"Q6_K", 256, 210, decodeQ6_K},

	9:  {"Q8_1", 32, 36, nil},
	15: {"Q8_K", 256, 292, nil},
	16: {"IQ2_XXS", 256, 66, nil},
	17: {"IQ2_XS", 256, 74, nil},
	18: {"IQ3_XXS", 256, 98, nil},
	19: {"IQ1_S", 256, 50, nil},
	20: {"IQ4_NL", 32, 18, nil},
	21: {"IQ3_S", 256, 110, nil},
	22: {"IQ2_S", 256, 82, nil},
	23: {"IQ4_XS", 256, 136, nil},
	24: {"I8", 1, 1, nil},
	25: {"I16", 1, 2, nil},
	26: {"I32", 1, 4, nil},
	27: {"I64", 1, 8, nil},
	28: {"F64", 1, 8, nil},
	29: {"IQ1_M", 256, 56, nil},
	34: {"TQ1_0", 256, 54, nil},
	35: {"TQ2_0", 256, 66, nil},
	39: {"MXFP4", 32, 17, nil},
}

// String returns the name that ggml gives the type.
func (t Type) String() string {
	if b, ok := blocks[t]; ok {
		return b.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

func supportedTypes() string {
	var names []string
	for _, t := range slices.Sorted(maps.Keys(blocks)) {
		if blocks[t].decode != nil {
			names = append(names, blocks[t].name)
		}
	}
	return strings.Join(names, ", ")
}

func decodeF32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
}

func decodeF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float(src[2*i:])
	}
}

func decodeBF16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16)
	}
}

func decodeQ8_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[34:] {
		d := float(src)
		for i, q := range src[2:34] {
			dst[i] = d * float32(int8(q))
		}
	}
}

func decodeQ4_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[18:] {
		d := float(src)
		for i, q := range src[2:18] {
			dst[i] = d * float32(int(q&15)-8)
			dst[i+16] = d * float32(int(q>>4)-8)
		}
	}
}

func decodeQ4_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[20:] {
		d, m := float(src), float(src[2:])
		for i, q := range src[4:20] {
			dst[i] = float32(d*float32(q&15)) + m
			dst[i+16] = float32(d*float32(q>>4)) + m
		}
	}
}

func decodeQ5_0(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[22:] {
		d, high := float(src), binary.LittleEndian.Uint32(src[2:])
		for i, q := range src[6:22] {
			dst[i] = d * float32(int(q&15)|int(high>>i&1)<<4-16)
			dst[i+16] = d * float32(int(q>>4)|int(high>>(i+16)&1)<<4-16)
		}
	}
}

func decodeQ5_1(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[32:], src[24:] {
		d, m, high := float(src), float(src[2:]), binary.LittleEndian.Uint32(src[4:])
		for i, q := range src[8:24] {
			dst[i] = float32(d*float32(uint32(q&15)|high>>i&1<<4)) + m
			dst[i+16] = float32(d*float32(uint32(q>>4)|high>>(i+16)&1<<4)) + m
		}
	}
}

// Q2_K: 16 scales and minima of 4 bits, 64 bytes of 2-bit values, d, dmin.
// Byte i of a 32-byte half holds weights i, 32+i, 64+i and 96+i of 128.
func decodeQ2_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[84:] {
		scales, qs, d, dmin := src[:16], src[16:80], float(src[80:]), float(src[82:])
		for i := range 256 {
			s := scales[i/16]
			q := qs[i/128*32+i%32] >> (i / 32 % 4 * 2) & 3
			dst[i] = float32(float32(d*float32(s&15))*float32(q)) - float32(dmin*float32(s>>4))
		}
	}
}

// Q3_K: 32 bytes of high bits (bit i/32 of byte i%32, inverted), 64 bytes of
// low bits as in Q2_K, 16 scales of 6 bits with bias 32, d.
func decodeQ3_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[110:] {
		high, qs, packed, d := src[:32], src[32:96], src[96:108], float(src[108:])
		for g := range 16 {
			low := packed[g%8] >> (g / 8 * 4) & 15
			top := packed[8+g%4] >> (g / 4 * 2) & 3
			dl := d * float32(int(low|top<<4)-32)
			for i := g * 16; i < g*16+16; i++ {
				q := int(qs[i/128*32+i%32] >> (i / 32 % 4 * 2) & 3)
				if high[i%32]>>(i/32)&1 == 0 {
					q -= 4
				}
				dst[i] = dl * float32(q)
			}
		}
	}
}

// scaleMin unpacks scale and minimum g of the 8 pairs that Q4_K and Q5_K pack
// into 12 bytes.
func scaleMin(p []byte, g int) (scale, minimum float32) {
	if g < 4 {
		return float32(p[g] & 63), float32(p[g+4] & 63)
	}
	return float32(p[g+4]&15 | p[g-4]>>6<<4), float32(p[g+4]>>4 | p[g]>>6<<4)
}

// Q4_K: d, dmin, 8 packed scales and minima, 128 bytes of 4-bit values: byte i
// of a 32-byte quarter holds weights i and 32+i of 64.
func decodeQ4_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[144:] {
		d, dmin, packed, qs := float(src), float(src[2:]), src[4:16], src[16:144]
		for g := range 8 {
			s, m := scaleMin(packed, g)
			s, m = float32(d*s), float32(dmin*m)
			for i, b := range qs[g/2*32 : g/2*32+32] {
				dst[g*32+i] = float32(s*float32(b>>(g%2*4)&15)) - m
			}
		}
	}
}

// Q5_K: as Q4_K, with 32 bytes of high bits (bit g of byte i) before the low ones.
func decodeQ5_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[176:] {
		d, dmin, packed, high, qs := float(src), float(src[2:]), src[4:16], src[16:48], src[48:176]
		for g := range 8 {
			s, m := scaleMin(packed, g)
			s, m = float32(d*s), float32(dmin*m)
			for i, b := range qs[g/2*32 : g/2*32+32] {
				q := b>>(g%2*4)&15 | high[i]>>g&1<<4
				dst[g*32+i] = float32(s*float32(q)) - m
			}
		}
	}
}

// Q6_K: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed
// scales, d. Of each 128 weights, low byte i%64 holds i (and 64+i above),
// high byte i%32 holds i, 32+i, 64+i and 96+i.
func decodeQ6_K(dst []float32, src []byte) {
	for ; len(dst) > 0; dst, src = dst[256:], src[210:] {
		low, high, scales, d := src[:128], src[128:192], src[192:208], float(src[208:])
		for g := range 16 {
			dl := d * float32(int8(scales[g]))
			for i := g * 16; i < g*16+16; i++ {
				l := low[i/128*64+i%64] >> (i / 64 % 2 * 4) & 15
				h := high[i/128*32+i%32] >> (i / 32 % 4 * 2) & 3
				dst[i] = dl * float32(int(l|h<<4)-32)
			}
		}
	}
}

// float reads a binary16.
func float(b []byte) float32 { return half.Float32(binary.LittleEndian.Uint16(b)) }
