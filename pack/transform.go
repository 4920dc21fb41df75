package pack

import (
	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/weights"
)

// Transformation names an orthogonal transform of the inputs of matrices. A
// matrix W becomes W T^-1, of which each row mixes all weights of a block, and
// products transform their input.
type Transformation string

// The transformations.
const (
	NoTransform Transformation = "none"     // which "" means
	Hadamard    Transformation = "hadamard" // random signs, then Walsh-Hadamard in the largest blocks that divide the width
)

// transforms reports whether inputs of the layers' matrices are transformed.
func (o Options) transforms() bool { return o.Transform != "" && o.Transform != NoTransform }

// transform gives the matrices of the layers their transforms.
func (p *packer) transform() {
	if !p.opt.transforms() {
		return
	}
	for k, m := range p.layerMatrices() {
		m.transform = decode.NewTransform(m.cols, func(j int) bool { return uniform(uint64(k)<<32|uint64(j)) < 0.5 })
	}
}

// turn makes the Gram matrix of vectors that of the transformed vectors. Blocks
// of it are transformed one after another: memory is that of two.
func (g *triangle) turn(t *decode.Transform) {
	b := t.Block()
	x, y := make([]float32, b*b), make([]float32, b*b)
	rows := func(v []float32, block int) { // transforms the rows of v
		for i := range b {
			t.ApplyBlock(v[i*b:(i+1)*b], block)
		}
	}
	for i := 0; i < g.n; i += b {
		for j := 0; j <= i; j += b {
			for r := range b {
				for c := range b {
					x[r*b+c] = *g.at(max(i+r, j+c), min(i+r, j+c))
				}
			}
			rows(x, j/b)
			flip(y, x, b)
			rows(y, i/b)
			for c := range b { // y is the transpose
				for r := range b {
					if i+r >= j+c {
						*g.at(i+r, j+c) = y[c*b+r]
					}
				}
			}
		}
	}
	for k, diag := range g.diag { // diagonal tiles hold both halves
		h := g.height(k)
		for r := range h {
			for c := range r {
				diag[c*h+r] = diag[r*h+c]
			}
		}
	}
}

// flip transposes n x n.
func flip(dst, src []float32, n int) {
	for r0 := 0; r0 < n; r0 += tile.Lanes {
		for c := range n {
			for r := r0; r < min(r0+tile.Lanes, n); r++ {
				dst[c*n+r] = src[r*n+c]
			}
		}
	}
}

// begin starts the tensor of m in w: one matrix of the native codec, after the
// description of its transform if it has one.
func (m *matrix) begin(w tensorWriter, role string) error {
	info := weights.TensorInfo{Name: m.name, Role: role, Codec: Native, Rows: m.rows, Cols: m.cols, Weights: m.weights()}
	if m.transform == nil {
		return w.BeginTensor(info)
	}
	info.Codec = decode.TransformCodec
	if err := w.BeginTensor(info); err != nil {
		return err
	}
	return w.Span(m.transform.AppendTo(nil))
}
