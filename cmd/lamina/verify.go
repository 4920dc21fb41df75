package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/model/token"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/weights"
)

type verifyCmd struct {
	File    string `arg:"" placeholder:"FILE" help:"The .lamina file to check."`
	Threads int    `help:"Goroutines that decode; 0 is one per processor."`
	JSON    bool   `help:"Print the report as JSON."`
}

type verifyReport struct {
	Path    string `json:"path"`
	OK      bool   `json:"ok"`
	Bytes   int64  `json:"file_bytes"` // all of them checked
	Tensors int    `json:"tensors"`
	Decoded int64  `json:"decoded_weights"`
	Chunks  int    `json:"chunks"`
}

// Run checks the file twice: its bytes against the checksums, which finds
// damage, and every coded chunk by decoding it, which finds bugs of an encoder.
func (c *verifyCmd) Run(a *app) error {
	if c.Threads < 0 {
		return usage("verify", "--threads %d: want 0 or more", c.Threads)
	}
	f, err := weights.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, stop := a.untilSignal()
	defer stop()
	bar := a.reporter()
	defer bar.close()
	if err := f.Verify(ctx, func(done, total int64) {
		bar.show(step{Phase: "checksums", Done: done, Total: total, bytes: true})
	}); err != nil {
		return err
	}
	v := verifier{file: f, workers: c.Threads, report: verifyReport{Path: c.File, OK: true, Bytes: f.Size(), Tensors: len(f.Tensors())}}
	if v.workers == 0 {
		v.workers = runtime.GOMAXPROCS(0)
	}
	if err := v.sections(); err != nil {
		return err
	}
	var done, total int64
	for _, t := range f.Tensors() {
		total += int64(t.Rows) * int64(t.Cols)
	}
	for i := range f.Tensors() {
		t := &f.Tensors()[i]
		if err := v.tensor(ctx, t); err != nil {
			return fmt.Errorf("verify: %s: tensor %s: %w", c.File, t.Name, err)
		}
		done += int64(t.Rows) * int64(t.Cols)
		bar.show(step{Phase: "decode", Item: t.Name, Done: done, Total: total})
	}
	bar.close()
	if c.JSON {
		return a.json(v.report)
	}
	r := v.report
	a.printf("%s: sound: %s checked, %s weights of %d tensors decoded from %d chunks\n",
		r.Path, budget.FormatSize(r.Bytes), count(r.Decoded), r.Tensors, r.Chunks)
	return nil
}

// verifier decodes a file. Its memory is a few chunks, whatever the model.
type verifier struct {
	file    *weights.File
	workers int
	bufs    [][]byte // coded chunk of each worker
	scratch []*scratch
	report  verifyReport
}

// sections checks what is no tensor and that a model cannot do without.
func (v *verifier) sections() error {
	fail := func(section string, err error) error {
		return fmt.Errorf("verify: %s: section %s: %w", v.file.Name(), section, err)
	}
	data, err := v.file.Section(weights.SectionConfig)
	if err != nil {
		return err
	}
	if _, err := llama.ParseConfig(data); err != nil {
		return fail(weights.SectionConfig, err)
	}
	if data, err = v.file.Section(weights.SectionTokenizer); err != nil {
		return err
	}
	if _, err := token.Unmarshal(data); err != nil {
		return fail(weights.SectionTokenizer, err)
	}
	return nil
}

// tensor decodes all of t.
func (v *verifier) tensor(ctx context.Context, t *weights.Tensor) error {
	switch t.Codec {
	case "f32":
		return v.floats(t)
	case "rans1":
		return v.coded(ctx, t, newStreams)
	case planes.Codec:
		return v.coded(ctx, t, newPictures)
	case decode.FactoredCodec:
		return v.factored(ctx, t)
	case decode.TransformCodec:
		if _, err := describeTransform(v.file, t); err != nil {
			return err
		}
		own := *t
		own.Spans = t.Spans[1:]
		return v.coded(ctx, &own, newStreams)
	}
	return fmt.Errorf("codec %q is unknown to this version of lamina", t.Codec)
}

// floats checks a tensor of plain numbers.
func (v *verifier) floats(t *weights.Tensor) error {
	n := int64(t.Rows) * int64(t.Cols)
	if len(t.Spans) != 1 || int64(t.Spans[0].Len) != 4*n {
		return fmt.Errorf("%d bytes in %d spans, want %d float32 values in one", t.Bytes(), len(t.Spans), n)
	}
	buf := make([]byte, t.Spans[0].Len)
	if err := v.file.ReadSpan(buf, t.Spans[0]); err != nil {
		return err
	}
	for i := range n {
		if x := math.Float32frombits(binary.LittleEndian.Uint32(buf[4*i:])); x-x != 0 {
			return fmt.Errorf("element %d is %v", i, x)
		}
	}
	v.report.Decoded += n
	return nil
}

// coded decodes a tensor that is one matrix.
func (v *verifier) coded(ctx context.Context, t *weights.Tensor, open openMatrix) error {
	rest, err := v.matrix(ctx, t.Spans, t.Rows, t.Cols, open)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d spans too many", len(rest))
	}
	return err
}

// factored decodes the matrices of a tensor in parts.
func (v *verifier) factored(ctx context.Context, t *weights.Tensor) error {
	f, err := factorsOf(v.file, t)
	if err != nil {
		return err
	}
	rest := t.Spans[1:]
	for i, s := range f.Shapes() {
		if len(rest) == 0 {
			return fmt.Errorf("spans for %d matrices, want %d", i, len(f.Shapes()))
		}
		if rest, err = v.matrix(ctx, rest, s[0], s[1], newStreams); err != nil {
			return fmt.Errorf("matrix %d: %w", i, err)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d spans too many", len(rest))
	}
	return nil
}

// matrix decodes the matrix at the front of spans, as many chunks at a time as
// there are workers, and returns the spans that are left.
func (v *verifier) matrix(ctx context.Context, spans []weights.Span, rows, cols int, open openMatrix) ([]weights.Span, error) {
	side := make([]byte, spans[0].Len)
	if err := v.file.ReadSpan(side, spans[0]); err != nil {
		return nil, err
	}
	m, err := open(rows, cols, side)
	if err != nil {
		return nil, err
	}
	if got := len(spans) - 1; got < m.Chunks() {
		return nil, fmt.Errorf("%d chunks, want %d", got, m.Chunks())
	}
	for len(v.scratch) < v.workers {
		v.scratch = append(v.scratch, new(scratch))
	}
	v.bufs = slices.Grow(v.bufs[:0], v.workers)[:v.workers]
	for first := 0; first < m.Chunks(); first += v.workers {
		last := min(first+v.workers, m.Chunks())
		for i := first; i < last; i++ {
			s := spans[1+i]
			buf := slices.Grow(v.bufs[i-first][:0], s.Len+rans.Slack)[:s.Len]
			v.bufs[i-first] = buf
			if err := v.file.ReadSpan(buf, s); err != nil {
				return nil, err
			}
			if err := m.AttachChunk(i, buf); err != nil {
				return nil, fmt.Errorf("chunk %d: %w", i, err)
			}
		}
		g, ctx := errgroup.WithContext(ctx)
		for i := first; i < last; i++ {
			g.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := m.check(i, v.scratch[i-first]); err != nil {
					return fmt.Errorf("chunk %d: %w", i, err)
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	v.report.Decoded += int64(rows) * int64(cols)
	v.report.Chunks += m.Chunks()
	return spans[1+m.Chunks():], nil
}

// chunked is a coded matrix of any codec.
type chunked interface {
	Chunks() int
	AttachChunk(i int, data []byte) error
	// check decodes chunk i and throws the result away.
	check(i int, s *scratch) error
}

// scratch is what one worker decodes with.
type scratch struct {
	rans    rans.Scratch
	picture planes.Scratch
}

// openMatrix reads the side information of a matrix.
type openMatrix func(rows, cols int, side []byte) (chunked, error)

func newStreams(rows, cols int, side []byte) (chunked, error) {
	m, err := decode.NewMatrix(rows, cols, side)
	if err != nil {
		return nil, err
	}
	return streams{m.Rans()}, nil
}

func newPictures(rows, cols int, side []byte) (chunked, error) {
	m, err := decode.NewPlanes(rows, cols, side)
	if err != nil {
		return nil, err
	}
	return pictures{m.Planes()}, nil
}

// pictures checks a matrix of codec "vvc1". The pictures' own hashes are
// compared, and the samples outside the window counted.
type pictures struct{ *planes.Matrix }

func (m pictures) check(i int, s *scratch) error {
	pic, err := m.Decode(i, &s.picture)
	if err != nil {
		return err
	}
	side := m.Side()
	if n := planes.CountOutside(pic.Samples, int(side.Planes)); n > side.Outside {
		return fmt.Errorf("%w: %d samples outside the window, of %d in all pictures", planes.ErrCorrupt, n, side.Outside)
	}
	return nil
}

// streams checks a matrix of codec "rans1". The decoder looks at the final state
// of every lane.
type streams struct{ *rans.Matrix }

func (m streams) check(i int, s *scratch) error {
	r0, r1 := m.Band(i / m.Blocks())
	p0, p1 := m.Block(i % m.Blocks())
	rows := (r1 - r0 + 15) / 16 * 16 // whole blocks of 16 rows are written
	var dst [][]uint8
	for p := p0; p < p1; p++ {
		c0, c1 := m.Layout().Columns(p)
		dst = append(dst, make([]uint8, rows*(c1-c0)))
	}
	return m.Levels(i, dst, func(int, int, int, int32) {}, &s.rans)
}
