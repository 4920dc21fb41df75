package codecs

import (
	"context"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/internal/extcodec"
	"github.com/lamina-llm/lamina/pack"
)

// frameRows is the height of a frame.
const frameRows = 512

// stack is all matrices of one width, one below the other, cut into frames of
// one size.
type stack struct {
	cols   int
	frames extcodec.Frames
	mats   []int // indices of the matrices
	rows   int   // in use
}

// prepare reads the model and makes planes of it.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.study, err = pack.NewStudy(ctx, r.src, r.o.Layers, r.o.Workers); err != nil {
		return err
	}
	r.mats = r.study.Matrices()
	by := map[int]*stack{}
	for i, m := range r.mats {
		s := by[m.Cols]
		if s == nil {
			w, _ := planes.PictureSize(frameRows, m.Cols)
			s = &stack{cols: m.Cols, frames: extcodec.Frames{Width: w, Height: frameRows}}
			by[m.Cols] = s
			r.stacks = append(r.stacks, s)
		}
		s.mats = append(s.mats, i)
		s.rows += m.Rows
		r.weights += int64(m.Rows) * int64(m.Cols)
		r.scales += m.ScaleBits
	}
	for _, s := range r.stacks {
		n := (s.rows + frameRows - 1) / frameRows
		s.frames.Samples = make([]byte, n*frameRows*s.frames.Width)
		for i := range s.frames.Samples {
			s.frames.Samples[i] = planes.Zero
		}
		row := 0
		for _, i := range s.mats {
			if err := ctx.Err(); err != nil {
				return err
			}
			samples, _, err := r.study.Samples(i)
			if err != nil {
				return err
			}
			for k := range r.mats[i].Rows {
				copy(s.frames.Samples[(row+k)*s.frames.Width:], samples[k*s.cols:(k+1)*s.cols])
			}
			row += r.mats[i].Rows
			w, err := r.study.Weights(i)
			if err != nil {
				return err
			}
			for _, v := range w {
				r.energy += float64(v) * float64(v)
			}
		}
	}
	return nil
}

// planar lets code run over the frames of every stack and puts the matrices
// together again.
func (r *run) planar(ctx context.Context, code func(f *extcodec.Frames) (*extcodec.Result, error)) (*outcome, error) {
	out := &outcome{bytes: r.scales / 8}
	decoded := make([][]uint8, len(r.mats)) // rows x cols
	for _, s := range r.stacks {
		res, err := code(&s.frames)
		if err != nil {
			return nil, err
		}
		out.bytes += res.Bytes
		out.encode += res.Encode
		out.decode += res.Decode
		row := 0
		for _, i := range s.mats {
			for k := range r.mats[i].Rows {
				at := (row + k) * s.frames.Width
				decoded[i] = append(decoded[i], res.Samples[at:at+s.cols]...)
			}
			row += r.mats[i].Rows
		}
	}
	out.values = func(i int) ([]float32, error) {
		_, scale, err := r.study.Samples(i)
		if err != nil {
			return nil, err
		}
		return pack.Restore(decoded[i], scale), nil
	}
	for i := range r.mats {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w, err := r.study.Weights(i)
		if err != nil {
			return nil, err
		}
		got, err := out.values(i)
		if err != nil {
			return nil, err
		}
		out.loss += squaredError(w, got)
	}
	return out, nil
}

func squaredError(a, b []float32) (sum float64) {
	for i, v := range a {
		d := float64(v) - float64(b[i])
		sum += d * d
	}
	return sum
}
