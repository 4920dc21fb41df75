package pack

import (
	"context"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
)

const (
	// driftTokens is how much of the calibration text is followed through the
	// quantised layers: both models' states of all of it are held.
	driftTokens = 16384

	// driftShare is the part of a correction that is made. All of it is best on
	// the calibration text and nowhere else (docs/EXPERIMENTS.md).
	driftShare = 0.5
)

// drift follows the calibration text through the source model and through what
// is quantised of it, and changes each matrix before it is quantised so that its
// outputs make up for what the matrices before it changed: instead of W the
// product that comes nearest to W X + R - R' is quantised, given the inputs X'
// that the matrix will have, where X are those of the source, and R and R' the states
// to which outputs are added (GPTAQ, arXiv 2504.02692; WaterSIC, arXiv 2603.04956).
// Tokens weigh what they weigh in the Gram matrices.
type drift struct {
	p     *packer
	model *fisher.Model
	src   *floats
	quant *fisher.Layer // the layer at hand, as far as it is quantised
	parts [][]int32     // windows of the text
	x, y  [][]float32   // per window, states of the source and of the quantised model before the layer
}

func (p *packer) newDrift() (*drift, error) {
	c := p.cfg
	src, err := newFloats(p.src, llama.FloatBytes(c, false) <= maxHeld, workers(p.opt.Workers))
	if err != nil {
		return nil, err
	}
	d := &drift{p: p, src: src, quant: newLayer(c)}
	span := min(window, c.MaxContext)
	if d.model, err = fisher.New(c, src, workers(p.opt.Workers), span); err != nil {
		return nil, err
	}
	ids := p.opt.Calibrate.Tokens
	ids = ids[:min(len(ids), driftTokens)]
	for first := 0; first < len(ids); first += span {
		d.parts = append(d.parts, ids[first:min(first+span, len(ids))])
	}
	return d, nil
}

// at returns the layer and kind of p.mats[i]; ok is false for embedding and head.
func (d *drift) at(i int) (layer, kind int, ok bool) {
	i--
	return i / fisher.Kinds, i % fisher.Kinds, i >= 0 && i < d.p.cfg.Layers*fisher.Kinds
}

// weightsOf returns a matrix of a layer.
func weightsOf(l *fisher.Layer, kind int) []float32 {
	return [fisher.Kinds][]float32{l.QKV, l.Out, l.GateUp, l.Down}[kind]
}

// correct sets the values of m, which is p.mats[i] and the next to be quantised.
func (d *drift) correct(ctx context.Context, i int, m *matrix) error {
	layer, kind, ok := d.at(i)
	if !ok {
		return nil
	}
	src, err := d.src.Layer(layer)
	if err != nil {
		return err
	}
	copy(d.quant.AttnNorm, src.AttnNorm)
	copy(d.quant.FFNNorm, src.FFNNorm)
	w, gamma := weightsOf(src, kind), d.p.gamma[layer][kind]
	r := newRegression(m.rows, m.cols, workers(d.p.opt.Workers))
	var missing, base, lack []float32
	for i, ids := range d.parts {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := len(ids)
		in, to := d.model.Input(src, kind, d.x[i], n)
		missing, base = append(missing[:0], in...), append(base[:0], to...)
		in, to = d.model.Input(d.quant, kind, d.y[i], n)
		kern.Axpy(missing, -1, in)
		lack = append(lack[:0], make([]float32, n*m.rows)...)
		d.model.Product(lack, w, missing, m.rows, m.cols, n)
		if to != nil {
			kern.Add(lack, base)
			kern.Axpy(lack, -1, to)
		}
		r.add(in, lack, gamma[:n], n)
		gamma = gamma[n:]
	}
	change, err := r.solve()
	if err != nil {
		return err
	}
	m.values = append([]float32(nil), w...)
	kern.Axpy(m.values, driftShare, change)
	m.feedback.rows(m.feedback.want)
	return d.p.observe(m)
}

// follow takes p.mats[i] as it was quantised.
func (d *drift) follow(i int, m *matrix, c *coded) error {
	layer, kind, ok := d.at(i)
	if !ok && i > 0 {
		return nil
	}
	v, err := c.values(m.rows, m.cols)
	if err != nil {
		return err
	}
	if !ok {
		return d.embed(v)
	}
	m.values = nil
	copy(weightsOf(d.quant, kind), v)
	if kind != fisher.Down {
		return nil
	}
	src, err := d.src.Layer(layer)
	if err != nil {
		return err
	}
	for i, ids := range d.parts {
		d.advance(src, d.x[i], len(ids))
		d.advance(d.quant, d.y[i], len(ids))
	}
	return nil
}

// advance takes n states through a layer.
func (d *drift) advance(l *fisher.Layer, x []float32, n int) {
	in, base := d.model.Input(l, fisher.Down, x, n)
	d.model.Product(x, l.Down, in, d.p.cfg.Hidden, d.p.cfg.Intermediate, n)
	kern.Add(x, base)
}

// embed sets the states before the first layer; rows are those of the quantised
// embedding.
func (d *drift) embed(rows []float32) error {
	h := d.p.cfg.Hidden
	for _, ids := range d.parts {
		x, y := make([]float32, 0, len(ids)*h), make([]float32, 0, len(ids)*h)
		for _, id := range ids {
			row, err := d.src.Embedding(id)
			if err != nil {
				return err
			}
			x, y = append(x, row...), append(y, rows[int(id)*h:][:h]...)
		}
		d.x, d.y = append(d.x, x), append(d.y, y)
	}
	return nil
}

// regression finds the matrix whose products with inputs come nearest to
// outputs, in weighted least squares with the damping of Gram matrices.
type regression struct {
	rows, cols int
	pool       workers
	gram       *triangle // of the inputs
	cross      []float32 // outputs times inputs, rows x cols
	weight     float64
	in, out    columns // of the part at hand
}

func newRegression(rows, cols int, pool workers) *regression {
	return &regression{rows: rows, cols: cols, pool: pool, gram: newTriangle(cols), cross: make([]float32, rows*cols)}
}

// add takes n inputs and outputs with weights. Outputs are overwritten.
func (r *regression) add(in, out, weight []float32, n int) {
	scaled := make([]float32, n*r.cols)
	for t, w := range weight {
		r.weight += float64(w)
		root := float32(math.Sqrt(float64(w)))
		kern.Axpy(scaled[t*r.cols:(t+1)*r.cols], root, in[t*r.cols:(t+1)*r.cols])
		kern.Scale(out[t*r.rows:(t+1)*r.rows], root)
	}
	r.gram.add(scaled, n, r.pool, &r.in)
	r.out.take(out, n, r.rows, r.pool)
	outs := r.out.Vectors()
	const w = tile.Lanes
	r.pool.For((r.rows+w-1)/w, func(_, i int) {
		r0, r1 := i*w, min((i+1)*w, r.rows)
		for j := range r.in.Len() {
			kern.MatMulPanels(r.cross[r0*r.cols+j*w:], r.cols, &r.in.Panels, j, &outs, r0, r1, 0, n, true)
		}
	})
}

// solve returns the matrix (rows x cols) and ends r.
func (r *regression) solve() ([]float32, error) {
	k := 1 / max(r.weight, 1e-30)
	r.gram.scale(k)
	kern.Scale(r.cross, float32(k))
	perm := make([]int, r.cols)
	for j := range perm {
		perm[j] = j
	}
	a, root, err := r.gram.factorise(perm, dampLight, r.pool)
	if err != nil {
		return nil, fmt.Errorf("inputs of the quantised model: %w", err)
	}
	// Each row z of the result has z A^T D A = its row of cross.
	r.pool.For(r.rows, func(_, i int) {
		z := r.cross[i*r.cols : (i+1)*r.cols]
		for j := r.cols - 1; j >= 0; j-- {
			left, diag := a.row(j)
			kern.Axpy(z[:len(left)], -z[j], left)
			kern.Axpy(z[len(left):j], -z[j], diag)
		}
		for j, d := range root {
			left, diag := a.row(j)
			z[j] = z[j]/float32(d*d) - kern.Dot(left, z[:len(left)]) - kern.Dot(diag, z[len(left):j])
		}
	})
	return r.cross, nil
}

// row returns what is left of the diagonal of row j, in two parts.
func (g *triangle) row(j int) (left, diag []float32) {
	t, k := j/tile.Lanes, j%tile.Lanes
	b := t * tile.Lanes
	return g.left[t][k*b : (k+1)*b], g.diag[t][k*g.height(t):][:k]
}
