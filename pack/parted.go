package pack

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/pack/quant"
)

// parted is a matrix of the layers that is coded in parts, some of them
// factored. At a step, errors in any of its coded matrices do as much to the
// outputs as errors in the matrix itself, coded at that step, would do: then one
// more bit buys the same anywhere.
type parted struct {
	f      *Factored
	layout *decode.Factors
	mats   []*matrix // as layout.Shapes lists them
	cut    float64   // squared error of the outputs before any coding
	energy []float64 // per part, what of the squared size of its matrix is left before any coding
}

// Bits tell the kinds of matrices of the inputs apart; steps come from weigh.
const (
	kindFactor = 1
	kindDense  = 2
)

// part prepares m in parts, one per source tensor of the given heights: ranks (0
// is dense), factors by a method, with the matrix itself minus the factors
// beside them if correct is set. layers are those of the tensors, nil where not
// needed; m is scanned, and has its feedback if there was calibration.
func (p *packer) part(m *matrix, heights []int, layers []*lowrank.Layer, ranks []int, method Method, correct bool) (*parted, error) {
	f := &Factored{Name: m.name, Cols: m.cols, Mode: p.opt.Mode, Fast: p.opt.Fast, Workers: p.opt.Workers, gram: m.gram, want: m.wanted()}
	d := &parted{f: f}
	at := 0
	for i, rows := range heights {
		part := FactoredPart{Rows: rows, Rank: ranks[i], ABits: kindFactor, BBits: kindFactor, DenseBits: kindDense}
		kept := 1.0
		if part.Rank == 0 || correct {
			part.Dense = make([]float32, rows*m.cols)
			if err := p.read(m, at, at+rows, part.Dense); err != nil {
				return nil, err
			}
		}
		if part.Rank > 0 {
			pair, err := method.Pair(layers[i], part.Rank)
			if err != nil {
				return nil, err
			}
			if !correct {
				kept = keptEnergy(layers[i].Values(), pair)
			}
			for r := range part.Rank { // the norm before it, as in p.read
				for j, g := range m.gain {
					pair.B[r*m.cols+j] *= float64(g)
				}
			}
			part.A, part.B = narrow(pair.A), narrow(pair.B)
			if correct {
				subtract(part.Dense, pair, rows, m.cols)
			} else if pair.Errors != nil {
				last := pair.Errors[len(pair.Errors)-1]
				d.cut += last * last * layers[i].Energy()
			}
		}
		f.Parts, d.energy = append(f.Parts, part), append(d.energy, kept)
		at += rows
	}
	var err error
	if d.layout, d.mats, _, err = p.prepare(f); err != nil {
		return nil, err
	}
	for _, s := range d.mats {
		if m.losses != nil {
			s.losses = map[int]float64{}
		}
	}
	return d, nil
}

// keptEnergy returns 1 - ||W - A B||^2 / ||W||^2 for W with these singular values,
// to five digits. B is A^T W and A orthonormal, so what is left is B's.
func keptEnergy(values []float64, p *lowrank.Pair) float64 {
	left, all := 0.0, 0.0
	for _, s := range values {
		all += s * s
	}
	if all == 0 {
		return 1
	}
	for _, b := range p.B {
		left += b * b
	}
	return math.Round(1e5*min(1, left/all)) / 1e5
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, x := range v {
		out[i] = float32(x)
	}
	return out
}

// subtract takes A B away from w.
func subtract(w []float32, p *lowrank.Pair, rows, cols int) {
	row := make([]float64, cols)
	for i := range rows {
		clear(row)
		for k := range p.Rank {
			a := p.A[i*p.Rank+k]
			for j, b := range p.B[k*cols : (k+1)*cols] {
				row[j] += a * b
			}
		}
		for j, v := range row {
			w[i*cols+j] -= float32(v)
		}
	}
}

// wanted returns, per row of m, log2 of the error that a step of one makes in
// the output.
func (m *matrix) wanted() []float64 {
	want := make([]float64, m.rows)
	for r := range want {
		if m.feedback != nil {
			want[r] = m.feedback.want[r]
		} else {
			want[r] = math.Log2(float64(m.row.Value(r)))
		}
	}
	return want
}

// spread returns the squared error of all outputs that a fit leaves, with error
// feedback.
func (m *matrix) spread(f *coderFit) (sum float64) {
	for r := range m.rows {
		e := float64(f.plan.scale.Value(r))
		if e *= e; m.reach != nil {
			e *= m.reach[r]
		}
		sum += e
	}
	return sum * f.loss * float64(m.cols)
}

// bits returns the bits per weight of the whole at m's step.
func (d *parted) bits(kind quant.Kind, step float64) (float64, error) {
	sum := 0.0
	for _, s := range d.mats {
		b, err := s.bits(kind, step)
		if err != nil {
			return 0, err
		}
		sum += b * float64(s.weights())
	}
	return sum / (float64(d.layout.Rows) * float64(d.layout.Cols)), nil
}

// loss returns the squared error of the outputs at m's step, in the unit of the
// Gram matrix; the parts have losses.
func (d *parted) loss(kind quant.Kind, step float64) (float64, error) {
	sum := d.cut
	for _, s := range d.mats {
		l, err := s.lossAt(kind, step)
		if err != nil {
			return 0, err
		}
		sum += l
	}
	return sum, nil
}

// lossAt returns the squared error of the outputs, by interpolation of its
// logarithm.
func (m *matrix) lossAt(kind quant.Kind, step float64) (float64, error) {
	if _, err := m.rate(kind, step); err != nil { // fills in both curves
		return 0, err
	}
	x := math.Log2(step) * curveSteps
	lo := int(math.Floor(x))
	t := x - float64(lo)
	return math.Exp((1-t)*math.Log(m.losses[lo]+1e-300) + t*math.Log(m.losses[lo+1]+1e-300)), nil
}

// chunks returns the number of chunks, and of the other spans that a dense
// matrix has not.
func (d *parted) chunks() (n int) {
	for _, s := range d.mats {
		n += 1 + s.chunks()
	}
	return n
}

// encodeParted codes m in parts and appends it to w.
func (p *packer) encodeParted(ctx context.Context, w tensorWriter, m *matrix, role string, step float64) (*TensorReport, error) {
	c, err := m.parted.code(ctx, p, step)
	if err != nil {
		return nil, err
	}
	m.parted.f.Role = role
	if err := c.write(w, m.parted.f); err != nil {
		return nil, err
	}
	r := &TensorReport{Name: m.name, Rows: m.rows, Cols: m.cols, Bytes: c.bytes(), Bits: float64(c.bytes()) * 8 / float64(m.weights())}
	if r.Error, err = m.parted.distance(p, m, c); err != nil {
		return nil, err
	}
	for i, part := range m.parted.f.Parts {
		if part.Rank > 0 {
			r.Ranks = append(r.Ranks, PartRank{m.parts[i], part.Rank, len(part.Dense) > 0})
		}
	}
	return r, nil
}

// code codes all parts at m's step.
func (d *parted) code(ctx context.Context, p *packer, step float64) (c *codedFactored, err error) {
	c = &codedFactored{layout: d.layout}
	if c.head, err = d.layout.AppendTo(nil); err != nil {
		return nil, err
	}
	for i, s := range d.mats {
		var done *coded
		for own := step; ; own *= 1.4 {
			if s.feedback != nil {
				done, err = p.encodeFeedback(ctx, s, own)
			} else {
				done, err = p.encodePlain(ctx, s, own)
			}
			// A few short rows may have more outliers than a sample shows.
			if !errors.Is(err, rans.ErrEncode) || own > maxStep {
				break
			}
		}
		if err != nil {
			return nil, fmt.Errorf("matrix %d of %d x %d: %w", i, s.rows, s.cols, err)
		}
		c.mats = append(c.mats, done)
	}
	return c, nil
}

// product returns what the coded parts multiply out to, row by row of the whole:
// for reports and tests alone.
func (d *parted) product(c *codedFactored) ([]float64, error) {
	rows, cols := d.layout.Rows, d.layout.Cols
	values := make([][]float32, len(c.mats))
	for i := range values {
		var err error
		if values[i], err = c.values(i); err != nil {
			return nil, err
		}
	}
	out := make([]float64, rows*cols)
	var used [decode.MaxInputs]int
	next := func(k, n int) []float32 { // rows of an input come in the order of the parts
		v := values[k][used[k]*cols : (used[k]+n)*cols]
		used[k] += n
		return v
	}
	row, a := 0, len(d.layout.Inputs())
	for _, part := range d.layout.Parts {
		dst := out[row*cols : (row+part.Rows)*cols]
		row += part.Rows
		if part.Dense >= 0 {
			for i, v := range next(part.Dense, part.Rows) {
				dst[i] = float64(v)
			}
		}
		if part.Rank == 0 {
			continue
		}
		b := next(part.Down, part.Rank)
		for i := range part.Rows {
			for k := range part.Rank {
				v := float64(values[a][i*part.Rank+k])
				for j, x := range b[k*cols : (k+1)*cols] {
					dst[i*cols+j] += v * float64(x)
				}
			}
		}
		a++
	}
	return out, nil
}

// distance returns ||W - W'||_F / ||W||_F of what was coded.
func (d *parted) distance(p *packer, m *matrix, c *codedFactored) (float64, error) {
	got, err := d.product(c)
	if err != nil {
		return 0, err
	}
	w := make([]float32, m.rows*m.cols)
	if err := p.read(m, 0, m.rows, w); err != nil {
		return 0, err
	}
	loss, all := 0.0, 0.0
	for i, x := range w {
		e := float64(x) - got[i]
		loss, all = loss+e*e, all+float64(x)*float64(x)
	}
	if all == 0 {
		return 0, nil
	}
	return math.Sqrt(loss / all), nil
}
