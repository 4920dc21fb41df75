package kv

import (
	"fmt"
	"math"
)

// DefaultPageTokens is the page height used when [Geometry.PageTokens] is 0:
// small enough that a sequence wastes half a page of 32 tokens at most on
// average, large enough that kernels run over a page at full speed.
const DefaultPageTokens = 32

// Format is how a cache stores one number.
type Format uint8

// The formats of a cache.
const (
	Q16 Format = iota // int16 with a float32 scale per head and token: two bytes and a bit
	Q8                // int8 with such a scale: one byte and a bit
)

// String returns "q16" or "q8".
func (f Format) String() string {
	if f == Q8 {
		return "q8"
	}
	return "q16"
}

// width returns the bytes of an element.
func (f Format) width() int {
	if f == Q8 {
		return 1
	}
	return 2
}

// Geometry is the shape of a cache. It is a value; its methods are pure.
type Geometry struct {
	Layers     int // transformer blocks, >= 1
	KVHeads    int // key-value heads per block, >= 1
	HeadDim    int // elements per head, >= 1
	PageTokens int // tokens per page; 0 is DefaultPageTokens
	Format     Format
}

// maxElements bounds the elements of one page, so that no product of the
// dimensions overflows even where int has 32 bits.
const maxElements = 1 << 28

// Validate reports the first dimension that makes no sense. A page is at most
// 512 MiB, scales not counted.
func (g Geometry) Validate() error {
	if g.Format > Q8 {
		return fmt.Errorf("kv: geometry: unknown format %d", g.Format)
	}
	elements := 2
	row := g.HeadDim
	if row > 0 && row <= maxElements {
		row = g.RowElements()
	}
	for _, d := range []struct {
		name string
		v    int
	}{{"layers", g.Layers}, {"key-value heads", g.KVHeads}, {"head size", row}, {"page tokens", g.pageTokens()}} {
		if d.v < 1 {
			return fmt.Errorf("kv: geometry: %s is %d, want at least 1", d.name, d.v)
		}
		if d.v > maxElements/elements {
			return fmt.Errorf("kv: geometry: a page of %d layers, %d heads of %d and %d tokens is too large",
				g.Layers, g.KVHeads, g.HeadDim, g.pageTokens())
		}
		elements *= d.v
	}
	return nil
}

// BytesPerToken returns what one token occupies over all layers, without the
// padding of its page.
func (g Geometry) BytesPerToken() int64 {
	return 2 * int64(g.Layers) * int64(g.KVHeads) * int64(g.Format.width()*g.RowElements()+scaleBytes)
}

// PageBytes returns the size of one page.
func (g Geometry) PageBytes() int64 { return int64(g.Layers) * int64(g.KVHeads) * int64(g.headBytes()) }

// Pages returns how many pages hold the given number of tokens.
func (g Geometry) Pages(tokens int) int {
	if tokens <= 0 {
		return 0
	}
	return (tokens-1)/g.pageTokens() + 1
}

// Bytes returns what the pages of one sequence of that many tokens occupy,
// saturating at the largest int64.
func (g Geometry) Bytes(tokens int) int64 {
	pages, size := int64(g.Pages(tokens)), g.PageBytes()
	if size > 0 && pages > math.MaxInt64/size {
		return math.MaxInt64
	}
	return pages * size
}

func (g Geometry) pageTokens() int {
	if g.PageTokens == 0 {
		return DefaultPageTokens
	}
	return g.PageTokens
}

// RowElements returns how many elements a token's key (or value) takes: HeadDim, rounded
// up to a multiple of 16.
func (g Geometry) RowElements() int { return (g.HeadDim + 15) &^ 15 }

// headElements is the length of one head's keys (or values) in a page.
func (g Geometry) headElements() int { return g.pageTokens() * g.RowElements() }

// scaleBytes is the size of a scale, and what the parts of a page are aligned to.
const scaleBytes = 4

// headBytes is what keys and values of one head of a layer take in a page.
func (g Geometry) headBytes() int {
	elements := 2 * g.Format.width() * g.headElements()
	return (elements+scaleBytes-1)/scaleBytes*scaleBytes + 2*scaleBytes*g.pageTokens()
}
