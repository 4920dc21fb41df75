package engine

import (
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// What Estimate assumes of a file that does not exist yet.
const (
	tiedBits       = 0.9  // how much finer than a layer a tied embedding is coded
	headBits       = 0.45 // the same for a head of its own
	unpackedBits   = 4.5  // of a weight at 3 bits coded; a bit more per bit above
	chunkRows      = 4096 // of a chunk, one panel wide, at most; of a tied embedding fewer
	tokenizerBytes = 160  // of a token, in memory
)

// Estimate returns the memory plan that [Open] would make, about, for a model of
// this configuration packed at so many bits per weight. Nothing but the
// configuration need exist. The error is plan.ErrTooSmall, with the smallest
// workable budget, if o.RAM does not suffice.
func Estimate(c llama.Config, bits float64, o Options) (plan.Plan, error) {
	if err := c.Validate(); err != nil {
		return plan.Plan{}, err
	}
	if !(bits >= 1 && bits <= 8) {
		return plan.Plan{}, fmt.Errorf("estimate for %v bits per weight: want 1 to 8", bits)
	}
	o = o.withDefaults()
	d := estimated(c, bits)
	if d.limit = o.RAM; d.limit == 0 {
		d.limit = budget.DetectLimit().Bytes
	}
	err := d.choose(o)
	return d.plan, err
}

// estimated is the draft of a file that does not exist yet.
func estimated(c llama.Config, bits float64) *draft {
	d := &draft{cfg: c}
	shapes := layerDims(c)
	var layer, side int64
	for _, s := range shapes {
		layer += int64(s[0]) * int64(s[1])
		side += int64(c.Layers) * 4 * int64(s[0]+s[1])
		d.work.Cols = max(d.work.Cols, tile.Layout{Rows: 1, Cols: s[1]}.Padded())
		d.work.ChunkCells = max(d.work.ChunkCells, min(s[0], chunkRows)*tile.MaxWidth)
	}
	if !c.Tied {
		d.work.ChunkCells = max(d.work.ChunkCells, min(c.Vocab, chunkRows)*tile.MaxWidth)
	}
	embed := int64(c.Vocab) * int64(c.Hidden)
	layers := float64(c.Layers) * float64(layer)
	all, finer := layers+float64(embed), tiedBits*float64(embed)
	if !c.Tied {
		all, finer = layers+2*float64(embed), headBits*float64(embed)
	}
	own := bits - finer/all // of a layer, so that the whole has bits
	unit := func(name string, weights int64, bits float64) {
		d.sizes = append(d.sizes, plan.Unit{
			Name: name, CodedBytes: max(1, int64(math.Ceil(float64(weights)*bits/8))),
			UnpackedBytes: int64(float64(weights) * max(4, unpackedBits+bits-3) / 8),
		})
	}
	for i := range c.Layers {
		for k, s := range shapes {
			unit(fmt.Sprintf("layers.%d.%s", i, layerMatrices[k]), int64(s[0])*int64(s[1]), own)
		}
	}
	if c.Tied {
		unit("embed", embed, own+tiedBits)
	} else {
		unit("head", embed, own+headBits)
		unit("embed", embed, own)
		side += 4 * int64(c.Vocab+c.Hidden)
	}
	size := pieceSize(d.sizes[:headUnit(c)+1])
	for i, u := range d.sizes[:headUnit(c)+1] {
		if i == headUnit(c) {
			d.cutHead = len(d.cuts)
		}
		n := (u.CodedBytes + size - 1) / size
		for k := range n {
			d.cuts = append(d.cuts, plan.Unit{Name: u.Name, CodedBytes: (k+1)*u.CodedBytes/n - k*u.CodedBytes/n, UnpackedBytes: u.UnpackedBytes / n})
		}
	}
	side += 4 * int64(c.Vocab+c.Hidden)
	d.unread = side + tokenizerBytes*int64(c.Vocab)
	return d
}
