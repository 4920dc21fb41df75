package pack

import (
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/tile"
)

// matrix is one matrix to be coded: source tensors stacked row-wise, with the
// weight of the norm before it folded into the columns.
type matrix struct {
	name       string
	parts      []string // Hugging Face names
	rows, cols int
	band       int     // rows of a chunk
	depth      int     // panels of a chunk
	weigh      float64 // step relative to the common one
	norm       string  // norm before it; "" is none
	fold       float64 // power of the norm's weights that multiplies the columns

	transform *decode.Transform // of its inputs, so that W T^-1 is coded; nil is none

	values []float32 // the matrix itself; nil reads parts from the source

	gain   []float32 // column factors from the norm; nil is all one
	row    rans.Scales
	energy float64 // sum of squares, after folding
	sample sample
	curve  map[int]float64 // log2(step) * 4 -> bits per weight

	pictures *pictureFit     // nil unless coded as pictures
	losses   map[int]float64 // log2(step) * 4 -> squared error, of the outputs if calibrated; nil if nobody asks
	exact    bool            // losses come from gram, without damping
	output   float64         // relative error of the outputs at its step, estimated
	parted   *parted         // factored, or corrected by factors; nil is dense

	want  []float64 // per row, log2 of the error of an output that a step of one may make; nil is open
	reach []float64 // per row, squared error of all outputs from one of 1; nil is all one

	gram     *triangle // of the inputs; nil without calibration
	cost     []float64 // per row, what an error of that output costs; with gram
	feedback *feedback // what gram becomes
}

// embedBand is the height of a chunk of the embedding: what must be decoded to
// look up one row.
const embedBand = 512

// tiedBits is how much finer a tied embedding is coded than the layers, in
// bits: it is a seventh of a small model's weights and causes half of the
// divergence at equal steps (docs/EXPERIMENTS.md).
const tiedBits = 0.9

// qkvBits is how much finer queries, keys and values are coded than the rest of
// a layer: they are a tenth of its weights, and attention sharpens their errors.
const qkvBits = 0.5

// foldPower says which part of a norm's weight g goes into the columns of the
// matrix behind it: |g|^foldPower; the norm keeps the rest. A column that meets
// large activations so gets a finer step. All of it would be right if the
// normalised activations were alike; in trained models large ones meet small
// weights, and half was best on both models measured (docs/EXPERIMENTS.md). With
// calibration nothing is folded: column scales know better.
const foldPower = 0.5

// matrices lists what is coded, in the order of the file.
func (p *packer) matrices() ([]*matrix, error) {
	c := p.cfg
	new := func(name string, rows, cols int, weigh float64, norm string, parts ...string) *matrix {
		m := &matrix{name: name, parts: parts, rows: rows, cols: cols, weigh: weigh, norm: norm, curve: map[int]float64{}}
		if norm != "" && p.opt.Calibrate == nil {
			m.fold = foldPower
		}
		m.band, m.depth = geometry(rows, cols, 4096)
		return m
	}
	weigh := 1.0
	if c.Tied {
		weigh = math.Exp2(-tiedBits)
	}
	embed := new("embed", c.Vocab, c.Hidden, weigh, "", "model.embed_tokens.weight")
	embed.band, embed.depth = geometry(c.Vocab, c.Hidden, embedBand)
	list := []*matrix{embed}
	for i := range c.Layers {
		hf, own := fmt.Sprintf("model.layers.%d.", i), fmt.Sprintf("layers.%d.", i)
		list = append(list,
			new(own+"qkv", c.QKV(), c.Hidden, math.Exp2(-qkvBits), hf+"input_layernorm.weight",
				hf+"self_attn.q_proj.weight", hf+"self_attn.k_proj.weight", hf+"self_attn.v_proj.weight"),
			new(own+"out", c.Hidden, c.Heads*c.HeadDim, 1, "", hf+"self_attn.o_proj.weight"),
			new(own+"gate_up", 2*c.Intermediate, c.Hidden, 1, hf+"post_attention_layernorm.weight",
				hf+"mlp.gate_proj.weight", hf+"mlp.up_proj.weight"),
			new(own+"down", c.Hidden, c.Intermediate, 1, "", hf+"mlp.down_proj.weight"))
	}
	if !c.Tied {
		list = append(list, new("head", c.Vocab, c.Hidden, math.Exp2(-tiedBits/2), "", "lm_head.weight"))
	}
	if p.opt.Codec == VVC {
		for _, m := range list {
			cells := pictureCells
			if m == embed {
				cells = embedCells
			}
			if err := m.asPictures(cells); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// geometry chooses chunks: tall enough, over bands or panels, that the two bytes
// of state per lane cost little (1024 weights a lane is 0.016 bit), but at least
// two of them, of small matrices one, so that several cores can share a product.
func geometry(rows, cols, maxBand int) (band, depth int) {
	const lane, share, small = 1024, 4, 1 << 18
	panels := tile.Layout{Rows: rows, Cols: cols}.Panels()
	bands := (rows + maxBand - 1) / maxBand
	for bands*panels < share && rows/(bands+1) >= lane {
		bands++
	}
	band = (rows + bands - 1) / bands
	band = min((band+15)/16*16, maxBand)
	depth = 1
	most := max(lane, band)
	if rows*cols < small {
		most = 2 * lane
	}
	for depth < panels && band*(depth+1) <= most &&
		(rows*cols < small || bands*((panels+depth)/(depth+1)) >= 2) {
		depth++
	}
	return min(band, rows), depth
}

// weights returns the number of weights of m.
func (m *matrix) weights() int64 { return int64(m.rows) * int64(m.cols) }

// chunks returns the number of chunks of m.
func (m *matrix) chunks() int {
	if m.parted != nil {
		return m.parted.chunks()
	}
	panels := tile.Layout{Rows: m.rows, Cols: m.cols}.Panels()
	return (m.rows + m.band - 1) / m.band * ((panels + m.depth - 1) / m.depth)
}

// step returns m's own step for the common step s.
func (m *matrix) step(s float64) float64 { return s * m.weigh }

// matrixWeights returns the number of weights of all matrices.
func (p *packer) matrixWeights() (n int64) {
	for _, m := range p.mats {
		n += m.weights()
	}
	return n
}

// read fills dst with rows [r0, r1) of m, norm folded in, as they are coded.
func (p *packer) read(m *matrix, r0, r1 int, dst []float32) error {
	if m.values != nil {
		copy(dst, m.values[r0*m.cols:r1*m.cols])
		return nil
	}
	at := 0 // first row of the part
	for _, part := range m.parts {
		t, ok := p.src.Tensor(part)
		if !ok {
			return fmt.Errorf("no tensor %s", part)
		}
		lo, hi := max(r0, at), min(r1, at+t.Rows)
		if lo < hi {
			if err := p.src.ReadRows(part, lo-at, hi-lo, dst[(lo-r0)*m.cols:(hi-r0)*m.cols]); err != nil {
				return err
			}
		}
		at += t.Rows
	}
	for r := range r1 - r0 {
		row := dst[r*m.cols : (r+1)*m.cols]
		for j, g := range m.gain {
			row[j] *= g
		}
		for j, v := range row {
			if v-v != 0 {
				return fmt.Errorf("row %d column %d is %v; the source checkpoint is damaged", r0+r, j, v)
			}
		}
		if m.transform != nil {
			m.transform.Apply(row, row) // W T^-1 is W T^T, as T is orthogonal
		}
	}
	return nil
}
