package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lamina-llm/lamina/decode/vvc"
)

type vvcEncodeCmd struct {
	Input   string `arg:"" placeholder:"IN.yuv" help:"Raw luma planes, one after another: bytes at 8 bits a sample, else 16 bits little-endian."`
	Output  string `short:"o" required:"" placeholder:"OUT.266" help:"Stream to write; - is standard output."`
	Size    string `required:"" placeholder:"WxH" help:"Width and height of a plane in samples."`
	Depth   int    `default:"8" placeholder:"N" help:"Bits of a sample, 8 or 10."`
	QP      int    `name:"qp" required:"" placeholder:"N" help:"Quantisation parameter, 0 to 63: the step doubles every 6."`
	Slices  int    `default:"1" placeholder:"N" help:"Cut every plane wider than 128 samples into at most N bands of whole rows of 128x128 samples, encoded at the same time."`
	Threads int    `short:"t" placeholder:"N" help:"Planes and slices encoded at a time; default: one per processor."`
	Force   bool   `short:"f" help:"Replace OUT.266 if it exists."`
}

// maxPlaneSide bounds --size.
const maxPlaneSide = 1 << 16

// Run encodes a file of planes, a few at a time.
func (c *vvcEncodeCmd) Run(a *app) error {
	w, h, err := parseSize(c.Size)
	switch {
	case err != nil:
		return usage("vvc encode", "--size %s: %v", c.Size, err)
	case c.Depth != 8 && c.Depth != 10:
		return usage("vvc encode", "--depth %d: want 8 or 10", c.Depth)
	case c.QP < 0 || c.QP > 63:
		return usage("vvc encode", "--qp %d: want 0 to 63", c.QP)
	case c.Slices < 1:
		return usage("vvc encode", "--slices %d: want 1 or more", c.Slices)
	case c.Threads < 0:
		return usage("vvc encode", "--threads %d: want 0 or more", c.Threads)
	}
	in, err := os.Open(c.Input)
	if err != nil {
		return fmt.Errorf("vvc: %w", err)
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return fmt.Errorf("vvc: %w", err)
	}
	frame := int64(w) * int64(h) * int64((c.Depth+7)/8)
	if st.Size() == 0 || st.Size()%frame != 0 {
		return fmt.Errorf("vvc: %s has %d bytes, which is not a whole number of planes of %d x %d samples of %d bits (%d bytes each)",
			c.Input, st.Size(), w, h, c.Depth, frame)
	}
	ctx, stop := a.untilSignal()
	defer stop()
	start := time.Now()
	e := planeEncoder{width: w, height: h, depth: c.Depth, qp: c.QP, slices: c.Slices, threads: c.Threads, frames: int(st.Size() / frame)}
	err = writeOutput(a, c.Output, c.Force, func(out io.Writer) error { return e.run(ctx, in, out) })
	if err != nil {
		return fmt.Errorf("vvc: %w", err)
	}
	if c.Output == "-" {
		return nil
	}
	samples := float64(e.frames) * float64(w) * float64(h)
	a.printf("%s: %d pictures of %d x %d samples, %d bytes, %.3f bits per sample, mean squared error %.3f, %.1f s\n",
		c.Output, e.frames, w, h, e.bytes, float64(e.bytes)*8/samples, float64(e.squared)/samples, time.Since(start).Seconds())
	return nil
}

// parseSize reads "WxH".
func parseSize(text string) (w, h int, err error) {
	left, right, ok := strings.Cut(text, "x")
	if ok {
		w, err = strconv.Atoi(left)
		if err == nil {
			h, err = strconv.Atoi(right)
		}
	}
	if !ok || err != nil || w < 1 || h < 1 || w > maxPlaneSide || h > maxPlaneSide || w*h > vvc.DefaultMaxPixels {
		return 0, 0, errors.New("want WIDTHxHEIGHT in samples, such as 512x256")
	}
	return w, h, nil
}

// planeEncoder encodes planes to one stream.
type planeEncoder struct {
	width, height, depth, qp int
	slices, threads, frames  int

	bytes   int
	squared uint64
}

// run encodes the planes of in, as many at a time as there are threads. Each
// group of them brings its parameter sets, so that all pictures decode alone.
func (e *planeEncoder) run(ctx context.Context, in io.Reader, out io.Writer) error {
	threads := e.threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	raw := make([]byte, e.width*e.height*((e.depth+7)/8))
	for done := 0; done < e.frames; {
		if err := ctx.Err(); err != nil {
			return err
		}
		// A group of one would be a still picture by its profile.
		n := min(max(threads, 2), e.frames-done)
		if e.frames-done == n+1 {
			n++
		}
		group := make([][]uint16, n)
		for i := range group {
			if _, err := io.ReadFull(in, raw); err != nil {
				return err
			}
			group[i] = e.samples(raw)
		}
		stream, stats, err := vvc.Encode(group, vvc.EncodeOptions{
			Width: e.width, Height: e.height, BitDepth: e.depth, QP: e.qp, Slices: e.slices,
			Run: func(n int, task func(i int)) {
				var g errgroup.Group
				g.SetLimit(threads)
				for i := range n {
					g.Go(func() error { task(i); return nil })
				}
				_ = g.Wait() // tasks cannot fail
			},
		})
		if err != nil {
			return fmt.Errorf("planes from %d on: %w", done, err)
		}
		if _, err := out.Write(stream); err != nil {
			return err
		}
		e.bytes += len(stream)
		e.squared += stats.SquaredError
		done += n
	}
	return nil
}

// samples unpacks a plane.
func (e *planeEncoder) samples(raw []byte) []uint16 {
	out := make([]uint16, e.width*e.height)
	for i := range out {
		if e.depth == 8 {
			out[i] = uint16(raw[i])
		} else {
			out[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
		}
	}
	return out
}
