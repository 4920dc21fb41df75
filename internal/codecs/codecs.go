// Package codecs compares codecs on the weights of a model: the native one,
// ours for H.266, and those of other programs. All get the same tensors, the
// matrices of the layers; codecs of pictures all get the same planes, with one
// scale per row. What comes back replaces the matrices of a float32 model, whose
// perplexity is measured.
//
// Run works in the calling goroutine and in a few of its own, which it waits
// for. It holds the planes, one byte a weight, and one float32 model at a time.
package codecs

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/decode/vvc"
	"github.com/lamina-llm/lamina/internal/extcodec"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
)

// Options says what to measure. The zero value works, without perplexity.
type Options struct {
	Layers   int                             // code the first layers alone; 0 is all
	Points   int                             // settings per codec, 1 to 3; default 3
	Tokens   []int32                         // text for perplexity; nil leaves it out
	Window   int                             // tokens of a window; default 256
	Workers  int                             // default one per processor
	Only     func(name, profile string) bool // nil is all
	External []extcodec.Codec
	Progress func(done, total int, what string) // after every point; may be nil
}

// Point is one codec at one setting.
type Point struct {
	Codec   string  `json:"codec"`
	Profile string  `json:"profile"`
	Program string  `json:"program"`
	Setting string  `json:"setting"`
	Bits    float64 `json:"bits_per_weight"` // streams and row scales over the weights of the matrices
	NMSE    float64 `json:"nmse"`            // squared error over sum of squares, all matrices together
	Gap     float64 `json:"gap_bits"`        // bits above 0.5 log2(1/NMSE), the bound of a Gaussian source
	PPL     float64 `json:"perplexity,omitempty"`
	NLL     float64 `json:"nll,omitempty"`
	// Millions of weights a second of wall time; other programs with their
	// start and files, ours with Workers goroutines.
	Encode float64 `json:"encode_mweights_per_s"`
	Decode float64 `json:"decode_mweights_per_s"`
}

// Report is the outcome.
type Report struct {
	Model    string   `json:"model"`
	Weights  int64    `json:"weights"` // of the matrices that were coded
	Tokens   int      `json:"tokens,omitempty"`
	Window   int      `json:"window,omitempty"`
	FloatPPL float64  `json:"float_perplexity,omitempty"` // of the source
	FloatNLL float64  `json:"float_nll,omitempty"`
	Points   []Point  `json:"points"`
	Skipped  []string `json:"skipped,omitempty"` // codecs that failed, and why
}

// outcome is what a codec made of all matrices.
type outcome struct {
	bytes          int64
	loss           float64
	encode, decode time.Duration
	values         func(i int) ([]float32, error) // decoded matrix
}

// contender is a codec with its settings.
type contender struct {
	name, profile, program, knob string
	settings                     []float64
	code                         func(ctx context.Context, setting float64) (*outcome, error)
}

// run is one comparison.
type run struct {
	o       Options
	src     *source.Source
	study   *pack.Study
	mats    []pack.StudyMatrix
	stacks  []*stack
	weights int64
	energy  float64
	scales  int64 // bits
}

// Run compares. A codec of another program that fails is left out and named.
func Run(ctx context.Context, src *source.Source, o Options) (*Report, error) {
	if o.Points == 0 {
		o.Points = 3
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Window == 0 {
		o.Window = 256
	}
	if o.Layers < 0 || o.Points < 1 || o.Points > 3 || o.Window < 2 || len(o.Tokens) == 1 {
		return nil, fmt.Errorf("codecs: %d points, windows of %d, %d tokens", o.Points, o.Window, len(o.Tokens))
	}
	if o.Progress == nil {
		o.Progress = func(int, int, string) {}
	}
	r := &run{o: o, src: src}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	report := &Report{Model: src.Name(), Weights: r.weights}
	if o.Tokens != nil {
		res, err := r.perplexity(ctx, nil)
		if err != nil {
			return nil, err
		}
		report.Tokens, report.Window, report.FloatPPL, report.FloatNLL = len(o.Tokens), o.Window, res.PPL, res.NLL
	}
	list := r.contenders()
	done, total := 0, 0
	for _, c := range list {
		total += len(c.settings)
	}
	for _, c := range list {
		for _, s := range c.settings {
			p, err := r.point(ctx, c, s)
			done++
			switch {
			case err != nil && ctx.Err() != nil:
				return nil, err
			case err != nil && c.program == "lamina":
				return nil, fmt.Errorf("codecs: %s %s: %w", c.name, c.profile, err)
			case err != nil:
				report.Skipped = append(report.Skipped, err.Error())
			default:
				report.Points = append(report.Points, *p)
			}
			o.Progress(done, total, c.name+" "+c.profile)
		}
	}
	return report, nil
}

// contenders lists ours, then the others, thinned to the points asked for.
func (r *run) contenders() []contender {
	var list []contender
	for _, mode := range []rans.Mode{rans.Scalar, rans.DQ} {
		name := "scalar"
		if mode == rans.DQ {
			name = "dependent"
		}
		list = append(list, contender{"native", name, "lamina", "bits", []float64{2, 3, 4},
			func(ctx context.Context, s float64) (*outcome, error) { return r.native(ctx, mode, s) }})
	}
	list = append(list, contender{"VVC", extcodec.Intra, "lamina", "qp", []float64{30, 24, 18}, r.vvc})
	for _, e := range r.o.External {
		list = append(list, contender{e.Name, e.Profile, e.Program, e.Knob, e.Settings,
			func(ctx context.Context, s float64) (*outcome, error) { return r.external(ctx, &e, s) }})
	}
	if r.o.Only != nil {
		list = slices.DeleteFunc(list, func(c contender) bool { return !r.o.Only(c.name, c.profile) })
	}
	for i := range list {
		switch r.o.Points {
		case 1:
			list[i].settings = list[i].settings[1:2]
		case 2:
			list[i].settings = []float64{list[i].settings[0], list[i].settings[2]}
		}
	}
	return list
}

// point measures one setting.
func (r *run) point(ctx context.Context, c contender, setting float64) (*Point, error) {
	out, err := c.code(ctx, setting)
	if err != nil {
		return nil, err
	}
	n := float64(r.weights)
	p := &Point{Codec: c.name, Profile: c.profile, Program: c.program, Setting: fmt.Sprintf("%s %g", c.knob, setting),
		Bits: float64(out.bytes) * 8 / n, NMSE: out.loss / r.energy,
		Encode: n / out.encode.Seconds() / 1e6, Decode: n / out.decode.Seconds() / 1e6}
	p.Gap = p.Bits + math.Log2(p.NMSE)/2
	if r.o.Tokens != nil {
		res, err := r.perplexity(ctx, out.values)
		if err != nil {
			return nil, err
		}
		p.PPL, p.NLL = res.PPL, res.NLL
	}
	return p, nil
}

// native codes every matrix by the native codec.
func (r *run) native(ctx context.Context, mode rans.Mode, bits float64) (*outcome, error) {
	out, values := &outcome{}, make([][]float32, len(r.mats))
	results := make([]*pack.NativeMatrix, len(r.mats))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.o.Workers)
	for i := range r.mats {
		g.Go(func() (err error) {
			results[i], err = r.study.Native(ctx, i, mode, bits)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, n := range results {
		w, err := r.study.Weights(i)
		if err != nil {
			return nil, err
		}
		out.bytes += n.Bytes
		out.loss += squaredError(w, n.Values)
		// Matrices ran side by side: as much wall time as that leaves.
		out.encode += n.Encode / time.Duration(r.o.Workers)
		out.decode += n.Decode / time.Duration(r.o.Workers)
		values[i] = n.Values
	}
	out.values = func(i int) ([]float32, error) { return values[i], nil }
	return out, nil
}

// vvc codes all planes by our H.266 codec, a stream per frame.
func (r *run) vvc(ctx context.Context, setting float64) (*outcome, error) {
	return r.planar(ctx, func(f *extcodec.Frames) (*extcodec.Result, error) {
		res, n := &extcodec.Result{Samples: make([]byte, len(f.Samples))}, f.Width*f.Height
		streams := make([][]byte, f.Count())
		each := func(work func(i int) error) error {
			g, ctx := errgroup.WithContext(ctx)
			g.SetLimit(r.o.Workers)
			for i := range streams {
				g.Go(func() error {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					return work(i)
				})
			}
			return g.Wait()
		}
		start := time.Now()
		err := each(func(i int) (err error) {
			samples := make([]uint16, n)
			for k, v := range f.Samples[i*n : (i+1)*n] {
				samples[k] = uint16(v)
			}
			streams[i], _, err = vvc.Encode([][]uint16{samples}, vvc.EncodeOptions{Width: f.Width, Height: f.Height, BitDepth: 8, QP: int(setting)})
			return err
		})
		if err != nil {
			return nil, err
		}
		res.Encode, start = time.Since(start), time.Now()
		err = each(func(i int) error {
			var s planes.Scratch
			pic, err := s.Decode(streams[i], f.Width, f.Height, f.Height, f.Width)
			if err == nil {
				copy(res.Samples[i*n:], pic.Samples)
			}
			return err
		})
		res.Decode = time.Since(start)
		for _, s := range streams {
			res.Bytes += int64(len(s))
		}
		return res, err
	})
}

// external codes all planes by another program.
func (r *run) external(ctx context.Context, c *extcodec.Codec, setting float64) (*outcome, error) {
	return r.planar(ctx, func(f *extcodec.Frames) (*extcodec.Result, error) { return c.Code(ctx, f, setting) })
}
