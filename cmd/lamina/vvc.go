package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/lamina-llm/lamina/decode/vvc"
)

// vvcCmd groups the commands on H.266 streams.
type vvcCmd struct {
	Decode vvcDecodeCmd `cmd:"" help:"Decode an all-intra H.266 stream to raw planar samples."`
	Encode vvcEncodeCmd `cmd:"" help:"Encode raw luma planes to an all-intra H.266 stream of 4:0:0."`
}

type vvcDecodeCmd struct {
	Input   string `arg:"" placeholder:"IN.266" help:"Annex B byte stream."`
	Output  string `short:"o" required:"" placeholder:"OUT.yuv" help:"File to write: bytes at 8 bits a sample, else 16 bits little-endian; - is standard output."`
	Threads int    `short:"t" placeholder:"N" help:"Pictures decoded at a time; default: one per processor."`
	Force   bool   `short:"f" help:"Replace OUT.yuv if it exists."`
}

// Run decodes a stream, several pictures at a time where they do not depend on
// each other. A picture whose hash differs from the stream's is an error.
func (c *vvcDecodeCmd) Run(a *app) error {
	if c.Threads < 0 {
		return usage("vvc decode", "--threads %d: want 0 or more", c.Threads)
	}
	data, err := os.ReadFile(c.Input)
	if err != nil {
		return fmt.Errorf("vvc: %w", err)
	}
	segments, err := vvc.Segments(data)
	if err != nil {
		return fmt.Errorf("vvc: %s: %w", c.Input, err)
	}
	ctx, stop := a.untilSignal()
	defer stop()
	var frames, hashed int
	var last frameInfo
	err = writeOutput(a, c.Output, c.Force, func(w io.Writer) error {
		err := decodeSegments(ctx, segments, c.Threads, func(f *decodedFrame) error {
			if frames++; f.hashed {
				hashed++
			}
			last = f.frameInfo
			_, err := w.Write(f.samples)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s: picture %d: %w", c.Input, frames, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("vvc: %w", err)
	}
	if c.Output == "-" {
		return nil
	}
	a.printf("%s: %d pictures, the last of %d x %d samples, %s, %d bits; %d of %d picture hashes present, all right\n",
		c.Output, frames, last.width, last.height, last.chroma, last.depth, hashed, frames)
	return nil
}

// frameInfo describes a picture.
type frameInfo struct {
	width, height, depth int
	chroma               string
	hashed               bool
}

// decodedFrame is a picture as raw bytes.
type decodedFrame struct {
	frameInfo
	samples []byte
}

// decodeSegments decodes up to threads segments at a time and passes their
// pictures to yield in order. One picture per segment is in memory, besides the
// one that its decoder works on.
func decodeSegments(ctx context.Context, segments [][]byte, threads int, yield func(*decodedFrame) error) error {
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer cancel()
	type output struct {
		frames chan *decodedFrame
		err    chan error
	}
	decoders := make(chan *vvc.Decoder, threads)
	for range threads {
		decoders <- vvc.NewDecoder(vvc.Options{})
	}
	started := make(chan output, threads) // in order of the stream
	workers.Go(func() {
		defer close(started)
		for _, s := range segments {
			var d *vvc.Decoder
			select {
			case d = <-decoders:
			case <-ctx.Done():
				return
			}
			o := output{make(chan *decodedFrame), make(chan error, 1)}
			select {
			case started <- o:
			case <-ctx.Done():
				return
			}
			workers.Go(func() {
				defer func() { decoders <- d }() // there is always room
				err := d.Decode(s, func(f *vvc.Frame) error {
					g := &decodedFrame{frameInfo: describeFrame(f), samples: f.AppendPlanar(nil)}
					select {
					case o.frames <- g:
						return nil
					case <-ctx.Done():
						return context.Cause(ctx)
					}
				})
				o.err <- err
				close(o.frames)
			})
		}
	})
	for o := range started {
		for f := range o.frames {
			if err := yield(f); err != nil {
				return err
			}
		}
		if err := <-o.err; err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func describeFrame(f *vvc.Frame) frameInfo {
	chroma := "4:2:0"
	if f.Planes[1] == nil {
		chroma = "4:0:0"
	}
	return frameInfo{f.Width, f.Height, f.BitDepth, chroma, f.HashChecked}
}
