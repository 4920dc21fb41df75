// Package codecbench measures the native codec: what rate and distortion it
// reaches on Gaussian weights, everything counted, and how fast each kernel
// tier multiplies straight from the bitstream on one core.
package codecbench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/pack/quant"
)

// spanOverhead is what the container adds per chunk: eight bytes of directory
// and, on average, half of the padding to 64 bytes.
const spanOverhead = 8 + 32

// Rate is one point of the rate-distortion curve.
type Rate struct {
	Mode string  `json:"mode"` // "scalar" or "dq"
	Bits float64 `json:"bits"` // per weight: chunks, side information, directory, padding
	NMSE float64 `json:"nmse"` // squared error over variance
	Gap  float64 `json:"gap"`  // bits above the Gaussian bound 0.5 log2(1/nmse)

	EncodeMweights float64 `json:"encode_mweights_per_s"` // per core, quantiser included
}

// Kernel is the speed of one product kernel on one core.
type Kernel struct {
	Tier string  `json:"tier"`
	Mode string  `json:"mode"`
	Bits float64 `json:"bits"`
	Rate float64 `json:"gweights_per_s"` // median of the repetitions
	Low  float64 `json:"low"`            // slowest and fastest repetition
	High float64 `json:"high"`
}

// Matrix is a coded Gaussian matrix.
type Matrix struct {
	Coded *rans.Matrix
	Bytes int
	Rate  Rate
}

// Code codes an i.i.d. Gaussian matrix at the given step (in standard
// deviations; the fine step in mode DQ) with as many raw planes as cost least.
func Code(ctx context.Context, mode rans.Mode, rows, cols int, step float64, workers int) (*Matrix, error) {
	l := tile.Layout{Rows: rows, Cols: cols}
	fit, err := fitGaussian(mode, rows, step)
	if err != nil {
		return nil, err
	}
	side := &rans.Side{Mode: mode, Planes: uint8(fit.coder.Planes), Band: min(rows, rans.MaxBandPanels), Depth: 1,
		Row: rans.Scales{Base: float32(step)}, Col: rans.Scales{Base: 1}, Tables: fit.tables}
	enc, err := rans.NewEncoder(rows, cols, side)
	if err != nil {
		return nil, err
	}
	blob, err := side.AppendTo(nil, l)
	if err != nil {
		return nil, err
	}
	geo := enc.Matrix()
	chunks, loss := make([][]byte, geo.Chunks()), make([]float64, geo.Chunks())
	busy := make([]time.Duration, geo.Chunks())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range chunks {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			chunks[i], loss[i], busy[i], err = codeChunk(enc, fit.coder, l, i, step)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	m, err := rans.NewMatrix(rows, cols, blob)
	if err != nil {
		return nil, err
	}
	out := &Matrix{Coded: m, Bytes: len(blob) + spanOverhead}
	sum, took := 0.0, 0.0
	for i, c := range chunks {
		out.Bytes += len(c) + spanOverhead
		sum += loss[i]
		took += busy[i].Seconds()
		chunks[i] = append(make([]byte, 0, len(c)+rans.Slack), c...)
	}
	n := float64(rows) * float64(cols)
	r := Rate{Mode: mode.String(), Bits: float64(out.Bytes) * 8 / n, NMSE: sum / n, EncodeMweights: n / took / 1e6}
	r.Gap = r.Bits + math.Log2(r.NMSE)/2
	out.Rate = r
	return out, m.Attach(chunks)
}

// codeChunk draws, quantises and codes one chunk; chunk i is always the same.
func codeChunk(enc *rans.Encoder, c *quant.Coder, l tile.Layout, i int, step float64) ([]byte, float64, time.Duration, error) {
	geo := enc.Matrix()
	r0, r1 := geo.Band(i / geo.Blocks())
	p0, p1 := geo.Block(i % geo.Blocks())
	rng := rand.New(rand.NewPCG(1, uint64(i)))
	rows := r1 - r0
	v, rec, level := make([]float32, rows), make([]float32, rows), make([]uint8, rows)
	var trellis quant.Trellis
	var index [][]uint8
	var outliers [][]rans.Outlier
	loss, took := 0.0, time.Duration(0)
	for p := p0; p < p1; p++ {
		c0, c1 := l.Columns(p)
		idx := make([]uint8, rows*(c1-c0))
		var list []rans.Outlier
		for j := c0; j < min(c1, l.Cols); j++ {
			for r := range v {
				v[r] = float32(rng.NormFloat64() / step)
			}
			start := time.Now()
			for r, x := range v {
				var d int32
				if v[r], d = c.Split(x); d != 0 {
					list = append(list, rans.Outlier{Row: r, Col: j - c0, Delta: d})
				}
			}
			quantise(c, &trellis, v, level, rec)
			for r, u := range level {
				idx[r*(c1-c0)+j-c0] = u
			}
			took += time.Since(start)
			for r := range v {
				d := float64(v[r]-rec[r]) * step
				loss += d * d
			}
		}
		slices.SortFunc(list, func(a, b rans.Outlier) int { return (a.Row-b.Row)*(c1-c0) + a.Col - b.Col })
		index, outliers = append(index, idx), append(outliers, list)
	}
	start := time.Now()
	data, err := enc.Chunk(nil, i, index, outliers)
	return data, loss, took + time.Since(start), err
}

func quantise(c *quant.Coder, t *quant.Trellis, v []float32, level []uint8, rec []float32) (cost float64) {
	if c.Mode == rans.DQ {
		return float64(t.Column(c, v, level, rec))
	}
	for r, x := range v {
		level[r], rec[r] = c.Scalar(x)
		d := x - rec[r]
		cost += float64(d*d + c.Lambda*c.Bits(level[r]))
	}
	return cost
}

type gaussianFit struct {
	coder  *quant.Coder
	tables []rans.Table
	cost   float64
}

// fitGaussian finds planes and tables for a Gaussian at a step.
func fitGaussian(mode rans.Mode, rows int, step float64) (best gaussianFit, err error) {
	rng := rand.New(rand.NewPCG(2, 3))
	const cols = 64
	v := make([]float32, cols*rows)
	for i := range v {
		v[i] = float32(rng.NormFloat64() / step)
	}
	col, rec, level := make([]float32, rows), make([]float32, rows), make([]uint8, rows)
	best.cost = math.Inf(1)
	for planes := range mode.MaxPlanes() + 1 {
		f := gaussianFit{coder: quant.Uniform(mode, planes)}
		f.coder.Lambda = quant.Lambda(mode)
		var trellis quant.Trellis
		for range 5 {
			var count [2][rans.Alphabet]int64
			f.cost = 0
			for j := range cols {
				for r, x := range v[j*rows : (j+1)*rows] {
					var d int32
					if col[r], d = f.coder.Split(x); d != 0 {
						f.cost += float64(f.coder.Lambda) * 24
					}
				}
				f.cost += quantise(f.coder, &trellis, col, level, rec)
				quant.Walk(level, func(i, q int) { count[q*int(mode)][level[i]>>planes]++ })
			}
			f.tables = nil
			for q := range 1 + int(mode) {
				t, err := quant.Kind{Mode: mode, Even: mode == rans.Scalar}.FitTable(count[q])
				if err != nil {
					return best, err
				}
				f.tables = append(f.tables, t)
			}
			f.coder = quant.NewCoder(mode, planes, quant.Lambda(mode), f.tables)
		}
		if f.cost < best.cost {
			best = f
		}
	}
	return best, nil
}

// AtBits codes a matrix at a step found by bisection so that its size is about
// bits per weight.
func AtBits(ctx context.Context, mode rans.Mode, rows, cols int, bits float64, workers int) (*Matrix, error) {
	lo, hi := 0.01, 4.0 // fine step: many bits; coarse step: few
	for range 12 {
		mid := math.Sqrt(lo * hi)
		m, err := Code(ctx, mode, min(rows, 1024), 512, mid, workers)
		if err != nil {
			return nil, err
		}
		if m.Rate.Bits-statesShort(rows) > bits {
			lo = mid
		} else {
			hi = mid
		}
	}
	return Code(ctx, mode, rows, cols, hi, workers)
}

// statesShort is what the short columns of the search cost more than the real.
func statesShort(rows int) float64 {
	return 16.0/float64(min(rows, 1024)) - 16.0/float64(min(rows, 4096))
}

// Speed times products with m on one core and the active tier: at least reps
// passes over all chunks, which together are larger than a second-level cache.
func Speed(m *Matrix, reps int) (Kernel, error) {
	l := m.Coded.Layout()
	rng := rand.New(rand.NewPCG(4, 5))
	act, sum := make([]int8, l.Padded()), make([]int32, l.Panels())
	for j := range act {
		act[j] = int8(rng.IntN(255) - 127)
	}
	for p := range sum {
		c0, c1 := l.Columns(p)
		for _, a := range act[c0:c1] {
			sum[p] += int32(a)
		}
	}
	dst, scratch := [][]int32{make([]int32, l.Rows+16)}, new(rans.Scratch)
	var rates []float64
	for range reps + 1 {
		start := time.Now()
		for i := range m.Coded.Chunks() {
			if err := m.Coded.Dots(i, act, sum, dst, scratch); err != nil {
				return Kernel{}, fmt.Errorf("codecbench: chunk %d: %w", i, err)
			}
		}
		rates = append(rates, float64(l.Rows)*float64(l.Cols)/time.Since(start).Seconds()/1e9)
	}
	rates = rates[1:]
	slices.Sort(rates)
	return Kernel{Tier: cpu.Active().String(), Mode: m.Rate.Mode, Bits: m.Rate.Bits,
		Rate: rates[len(rates)/2], Low: rates[0], High: rates[len(rates)-1]}, nil
}
