package pack

import (
	"context"
	"fmt"
	"time"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
)

// Study gives experiments the matrices of a model's layers, as weights and as
// the planes that the vvc codec would code at a whole QP, and codes them natively.
// Norms are not folded in. Its methods may be called concurrently.
type Study struct {
	p    *packer
	mats []*matrix
}

// NewStudy reads the first layers of src once, for row scales; 0 is all layers.
func NewStudy(ctx context.Context, src *source.Source, layers, workers int) (*Study, error) {
	qp := 0.0
	p, err := newPacker(src, Options{Codec: VVC, QP: &qp, Workers: workers})
	if err != nil {
		return nil, err
	}
	p.mats = p.layerMatrices()
	if layers > 0 {
		p.mats = p.mats[:min(4*layers, len(p.mats))]
	}
	for _, m := range p.mats {
		m.norm, m.fold = "", 0
	}
	return &Study{p, p.mats}, p.scan(ctx)
}

// StudyMatrix describes a matrix: tensors of the source that share their input.
type StudyMatrix struct {
	Name       string
	Rows, Cols int
	Parts      []string // Hugging Face names of the tensors, whose rows stand one after another
	ScaleBits  int64    // of the row scales, coded
}

// Matrices lists the matrices of all layers.
func (s *Study) Matrices() []StudyMatrix {
	list := make([]StudyMatrix, len(s.mats))
	for i, m := range s.mats {
		list[i] = StudyMatrix{m.name, m.rows, m.cols, m.parts, int64(m.row.Bits) * int64(m.rows)}
	}
	return list
}

// Weights returns matrix i.
func (s *Study) Weights(i int) ([]float32, error) {
	m := s.mats[i]
	v := make([]float32, m.rows*m.cols)
	return v, s.p.read(m, 0, m.rows, v)
}

// Samples returns matrix i as a plane of rows x columns, and the weight that a
// sample of 1 above 128 stands for in each row.
func (s *Study) Samples(i int) (samples []uint8, scale []float32, err error) {
	m := s.mats[i]
	v, err := s.Weights(i)
	if err != nil {
		return nil, nil, err
	}
	_, dev := m.pictures.quality(QPStep(24)) // any whole QP
	samples, scale = make([]uint8, len(v)), make([]float32, m.rows)
	for r := range scale {
		scale[r] = float32(float64(m.row.Value(r)) / dev)
		inv := 1 / float64(scale[r])
		for j := range m.cols {
			samples[r*m.cols+j] = uint8(toSample(float64(v[r*m.cols+j]) * inv))
		}
	}
	return samples, scale, nil
}

// Restore turns decoded samples back into weights.
func Restore(samples []uint8, scale []float32) []float32 {
	out, cols := make([]float32, len(samples)), len(samples)/len(scale)
	for i, v := range samples {
		out[i] = float32(int(v)-planes.Zero) * scale[i/cols]
	}
	return out
}

// NativeMatrix is a matrix coded by the native codec.
type NativeMatrix struct {
	Values []float32 // decoded
	Bytes  int64     // everything counted but the directory
	Encode time.Duration
	Decode time.Duration
}

// Native codes matrix i at about bits per weight and decodes it.
func (s *Study) Native(ctx context.Context, i int, mode rans.Mode, bits float64) (*NativeMatrix, error) {
	v, err := s.Weights(i)
	if err != nil {
		return nil, err
	}
	p := *s.p
	p.opt.Mode = mode
	t := &target{values: v, cols: s.mats[i].cols, kinds: []int{s.mats[i].rows}}
	m, err := p.inMemory(t, false)
	if err != nil {
		return nil, err
	}
	m.band, m.depth = geometry(m.rows, m.cols, 4096)
	start := time.Now()
	c, err := p.codeAt(ctx, m, bits)
	if err != nil {
		return nil, fmt.Errorf("pack: %s: %w", s.mats[i].name, err)
	}
	n := &NativeMatrix{Bytes: c.report.Bytes, Encode: time.Since(start)}
	start = time.Now()
	n.Values, err = c.values(m.rows, m.cols)
	n.Decode = time.Since(start)
	return n, err
}
