package pack

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/decode/vvc"
	"github.com/lamina-llm/lamina/internal/tile"
	"github.com/lamina-llm/lamina/weights"
)

// Codec ids of the matrices that Run makes.
const (
	Native = "rans1"
	VVC    = planes.Codec
)

// pictureDeviation is the standard deviation of the samples of a row at a whole
// QP: their rounding to integers then costs little up to 4 bits a weight, and
// weights up to 6 deviations fit 8 bits.
const pictureDeviation = 20.0

// MaxQP is the largest quantisation parameter of a picture of 8 bits.
const MaxQP = 63

// QPStep returns the quantiser step, in row deviations, at a quantisation
// parameter: that of H.266 over samples of deviation 20.
func QPStep(qp float64) float64 { return math.Exp2((qp-4)/6) / pictureDeviation }

// stepQP is the inverse of QPStep.
func stepQP(step float64) float64 { return 4 + 6*math.Log2(step*pictureDeviation) }

// pictureFit is what a matrix needs to become pictures.
type pictureFit struct {
	clipped [len(tails)]float64 // energy that a deviation smaller by the tails' factor clips, over all energy
	curve   map[int]float64     // QP / curveQP -> bits per weight
}

// tails are the deviations of samples that are considered, largest first.
var tails = [...]float64{pictureDeviation, 14, 10, 7, 5}

// curveQP is the distance of the points of a rate curve.
const curveQP = 3

// Cells of a picture. Pictures decode one per worker, so there should be a few
// of a matrix; every one costs about a hundred bytes. Rows of the embedding are
// looked up one by one and decode their whole picture.
const (
	pictureCells = 1 << 17
	embedCells   = 1 << 16
)

// pictureBand returns the rows of a picture: blocks of 64, shared out evenly.
func pictureBand(rows, cols, cells int) int {
	n := max(1, rows*cols/cells)
	band := ((rows+n-1)/n + 63) &^ 63
	padded := tile.Layout{Rows: rows, Cols: cols}.Padded()
	for band > 64 && band*padded > planes.MaxCells {
		band -= 64
	}
	if band*padded > planes.MaxCells {
		band = planes.MaxCells / padded &^ 15
	}
	if band >= rows {
		band = (rows + 7) &^ 7
	}
	return band
}

// asPictures makes m a matrix of pictures.
func (m *matrix) asPictures(cells int) error {
	if m.cols > planes.MaxCols {
		return fmt.Errorf("pack: %s: %d columns, pictures have at most %d", m.name, m.cols, planes.MaxCols)
	}
	m.band, m.depth = pictureBand(m.rows, m.cols, cells), tile.Layout{Rows: m.rows, Cols: m.cols}.Panels()
	m.pictures = &pictureFit{curve: map[int]float64{}}
	return nil
}

// countTails adds to sum, for every tail, the energy of row that lies above what
// a sample can stand for; rms is that of the row.
func countTails(sum *[len(tails)]float64, row []float32, rms float64) {
	for i, dev := range tails {
		limit := float32(rms * (planes.Zero - 1) / dev)
		for _, v := range row {
			if v < 0 {
				v = -v
			}
			if v > limit {
				sum[i] += float64((v - limit) * (v - limit))
			}
		}
	}
}

// quality returns the QP and the deviation of samples for a relative step: the
// largest deviation that clips next to nothing, and a whole QP that gives the step
// together with it.
func (f *pictureFit) quality(step float64) (qp int, deviation float64) {
	// About what the quantiser costs anyway, as part of the energy.
	noise := step * step / 12
	tail := len(tails) - 1
	for i, c := range f.clipped {
		if c < noise/50 {
			tail = i
			break
		}
	}
	want := stepQP(step) + 6*math.Log2(tails[tail]/pictureDeviation)
	qp = min(max(int(math.Round(want)), 0), MaxQP)
	return qp, min(tails[tail]*math.Exp2((float64(qp)-want)/6), 1.5*pictureDeviation)
}

// pictureBits estimates the bits per weight of m as pictures.
func (m *matrix) pictureBits(step float64) (float64, error) {
	f := m.pictures
	x := min(max(stepQP(step), -12), MaxQP) / curveQP
	lo := int(math.Floor(x))
	var at [2]float64
	for i := range at {
		b, ok := f.curve[lo+i]
		if !ok {
			var err error
			if b, err = m.samplePicture(QPStep(float64((lo + i) * curveQP))); err != nil {
				return 0, err
			}
			f.curve[lo+i] = b
		}
		at[i] = b
	}
	t := x - float64(lo)
	return at[0]*(1-t) + at[1]*t + float64(m.row.Bits)/float64(m.cols), nil
}

// samplePicture codes the sample of m as a picture and returns its bits per
// weight.
func (m *matrix) samplePicture(step float64) (float64, error) {
	s := m.sample
	cols := len(s.v) / s.rows
	qp, dev := m.pictures.quality(step)
	w, h := planes.PictureSize(s.rows, cols)
	picture := blank(w, h)
	for j := range cols {
		for i, v := range s.v[j*s.rows : (j+1)*s.rows] {
			picture[i*w+j] = toSample(float64(v) * dev)
		}
	}
	stream, err := encodePicture(picture, w, h, qp)
	return float64(len(stream)) * 8 / float64(len(s.v)), err
}

// blank returns a picture that stands for zeros.
func blank(w, h int) []uint16 {
	p := make([]uint16, w*h)
	for i := range p {
		p[i] = planes.Zero
	}
	return p
}

// toSample returns the sample of a scaled weight.
func toSample(v float64) uint16 {
	return uint16(min(max(math.Round(v+planes.Zero), 0), 255))
}

func encodePicture(samples []uint16, w, h, qp int) ([]byte, error) {
	stream, _, err := vvc.Encode([][]uint16{samples}, vvc.EncodeOptions{Width: w, Height: h, BitDepth: 8, QP: qp})
	return stream, err
}

// picture makes the picture of a band of m whose rows have the scales row, from
// its weights.
func (m *matrix) picture(band int, row *rans.Scales, values []float32) (samples []uint16, w, h int) {
	w, h = planes.PictureSize(m.band, m.cols)
	samples = blank(w, h)
	for r := range len(values) / m.cols {
		inv := 1 / float64(row.Value(band*m.band+r))
		for j, v := range values[r*m.cols : (r+1)*m.cols] {
			samples[r*w+j] = toSample(float64(v) * inv)
		}
	}
	return samples, w, h
}

// readBand reads the weights of a band of m.
func (p *packer) readBand(m *matrix, band int) ([]float32, error) {
	r0, r1 := band*m.band, min((band+1)*m.band, m.rows)
	values := make([]float32, (r1-r0)*m.cols)
	return values, p.read(m, r0, r1, values)
}

// bandResult is what came of one band.
type bandResult struct {
	stream  []byte
	loss    float64
	outside [planes.MaxPlanes + 1]int
}

// encodePictures codes m as pictures and appends it to w.
func (p *packer) encodePictures(ctx context.Context, w tensorWriter, m *matrix, role string, step float64) (*TensorReport, error) {
	qp, dev := m.pictures.quality(step)
	encode := func(band int, samples []uint16, width, height int) ([]byte, error) {
		return encodePicture(samples, width, height, qp)
	}
	if p.imports != nil {
		entry, err := p.imports.find(m)
		if err != nil {
			return nil, err
		}
		dev = entry.Deviation
		encode = func(band int, _ []uint16, _, _ int) ([]byte, error) { return entry.streams[band], nil }
	}
	row := m.row
	row.Base = float32(float64(m.row.Base) / dev)
	results := make([]bandResult, m.chunks())
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.opt.Workers)
	for band := range results {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			results[band], err = p.encodeBand(m, band, &row, encode)
			if err != nil {
				err = fmt.Errorf("picture %d: %w", band, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return m.writePictures(w, role, &row, results)
}

// encodeBand codes one band, and decodes it again to see what became of it.
func (p *packer) encodeBand(m *matrix, band int, row *rans.Scales, encode func(band int, samples []uint16, w, h int) ([]byte, error)) (r bandResult, err error) {
	values, err := p.readBand(m, band)
	if err != nil {
		return r, err
	}
	samples, w, h := m.picture(band, row, values)
	if r.stream, err = encode(band, samples, w, h); err != nil {
		return r, err
	}
	var scratch planes.Scratch
	pic, err := scratch.Decode(r.stream, w, h, len(values)/m.cols, m.cols)
	if err != nil {
		return r, err
	}
	for n := range r.outside {
		r.outside[n] = planes.CountOutside(pic.Samples, n)
	}
	for i := range pic.Rows {
		scale := row.Value(band*m.band + i)
		for j, s := range pic.Samples[i*m.cols : (i+1)*m.cols] {
			d := float64(values[i*m.cols+j] - scale*float32(int(s)-planes.Zero))
			r.loss += d * d
		}
	}
	return r, nil
}

// writePictures appends the pictures of m to w.
func (m *matrix) writePictures(w tensorWriter, role string, row *rans.Scales, results []bandResult) (*TensorReport, error) {
	side := &planes.Side{Band: m.band, Row: *row, Col: rans.Scales{Base: 1}}
	var err error
	if side.Planes, side.Outside, err = chooseWindow(results, m.weights()); err != nil {
		return nil, err
	}
	blob, err := side.AppendTo(nil, tile.Layout{Rows: m.rows, Cols: m.cols})
	if err == nil {
		err = w.BeginTensor(weights.TensorInfo{Name: m.name, Role: role, Codec: VVC, Rows: m.rows, Cols: m.cols, Weights: m.weights()})
	}
	if err == nil {
		err = w.Span(blob)
	}
	r := &TensorReport{Name: m.name, Rows: m.rows, Cols: m.cols, Bytes: int64(len(blob)), Planes: int(side.Planes)}
	loss := 0.0
	for i := range results {
		if err == nil {
			err = w.Span(results[i].stream)
		}
		r.Bytes += int64(len(results[i].stream))
		loss += results[i].loss
	}
	r.Bits = float64(r.Bytes) * 8 / float64(m.weights())
	if m.energy > 0 {
		r.Error = math.Sqrt(loss / m.energy)
	}
	if err == nil && r.Error > 1 {
		err = fmt.Errorf("relative error %.2f: the pictures are not those of this matrix", r.Error)
	}
	return r, err
}

// chooseWindow returns the window that takes least memory once decoded.
func chooseWindow(results []bandResult, cells int64) (window uint8, outside int, err error) {
	best := math.Inf(1)
	for n := range planes.MaxPlanes + 1 {
		sum := 0
		for i := range results {
			sum += results[i].outside[n]
		}
		if int64(sum)*planes.MaxOutside > cells {
			continue
		}
		// An outlier takes as much memory as 32 bits, and longer than a weight.
		if bits := float64(4+n) + 64*float64(sum)/float64(cells); bits < best {
			best, window, outside = bits, uint8(n), sum
		}
	}
	if math.IsInf(best, 1) {
		return 0, 0, fmt.Errorf("more than 1/%d of the decoded samples are further than 64 from %d: the pictures are not those of this matrix, or coded too coarsely",
			planes.MaxOutside, planes.Zero)
	}
	return window, outside, nil
}
