// Package extcodec codes planes with image and video codecs of other programs,
// ffmpeg and JPEG XL's tools, for comparison with our own. It is the only part of
// Lamina that starts programs: `lamina codecs` uses it when they are installed,
// and nothing that serves a model does.
//
// Programs are started directly, never through a shell, with arguments made here,
// a deadline, and an empty folder of their own under the system's temporary one,
// which is removed afterwards. Nothing is read from their output but decoded
// samples, whose number is checked. All functions may be called concurrently.
package extcodec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Timeout bounds one run of a program.
const Timeout = 30 * time.Minute

// Frames are planes of 8-bit samples, one after another.
type Frames struct {
	Width, Height int    // of each plane, even
	Samples       []byte // a multiple of Width*Height
}

// Count returns the number of planes.
func (f *Frames) Count() int { return len(f.Samples) / (f.Width * f.Height) }

// Result is what came of coding Frames.
type Result struct {
	Bytes          int64  // of the coded files, containers included
	Samples        []byte // decoded
	Encode, Decode time.Duration
}

// Codec is a codec in one way of using it.
type Codec struct {
	Name    string // such as "HEVC"
	Profile string // such as "all-intra"
	Program string // what does it, such as "ffmpeg libx265"
	// Settings are values of Knob from coarse to fine, about 1.5 to 4 bits a
	// sample for Gaussian noise of deviation 20.
	Settings []float64
	Knob     string // such as "qp"

	code func(ctx context.Context, dir string, f *Frames, setting float64) (*Result, error)
}

// Code encodes and decodes f.
func (c *Codec) Code(ctx context.Context, f *Frames, setting float64) (r *Result, err error) {
	if f.Width < 2 || f.Height < 2 || f.Width%2+f.Height%2 != 0 || len(f.Samples) == 0 || len(f.Samples)%(f.Width*f.Height) != 0 {
		return nil, fmt.Errorf("extcodec: %d samples in planes of %d x %d", len(f.Samples), f.Width, f.Height)
	}
	dir, err := os.MkdirTemp("", "lamina-codec-")
	if err != nil {
		return nil, fmt.Errorf("extcodec: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if r, err = c.code(ctx, dir, f, setting); err != nil {
		return nil, fmt.Errorf("extcodec: %s %s: %w", c.Name, c.Profile, err)
	}
	if len(r.Samples) != len(f.Samples) {
		return nil, fmt.Errorf("extcodec: %s %s: %d samples came back of %d", c.Name, c.Profile, len(r.Samples), len(f.Samples))
	}
	return r, nil
}

// Find returns the codecs that the programs on this machine have, in a fixed
// order; none if there are none.
func Find(ctx context.Context) []Codec {
	var list []Codec
	if path, err := exec.LookPath("ffmpeg"); err == nil {
		list = append(list, ffmpegCodecs(ctx, path)...)
	}
	enc, err1 := exec.LookPath("cjxl")
	dec, err2 := exec.LookPath("djxl")
	if err1 == nil && err2 == nil {
		list = append(list, jxl(enc, dec))
	}
	return list
}

// run starts a program in dir and waits for it. The error has the end of what it
// wrote to standard error.
func run(ctx context.Context, dir, program string, args ...string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	c.Dir = dir
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}
	var log tail
	c.Stderr = &log
	c.WaitDelay = 5 * time.Second
	start := time.Now()
	err := c.Run()
	took := time.Since(start)
	switch {
	case err == nil:
		return took, nil
	case ctx.Err() != nil:
		return took, context.Cause(ctx)
	}
	return took, fmt.Errorf("%s: %w: %s", filepath.Base(program), err, log.String())
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailBytes = 400

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-tailBytes:]...)
	}
	return len(p), nil
}

// String returns it as one line.
func (t *tail) String() string {
	return strings.Join(strings.Fields(string(bytes.ToValidUTF8(t.b, nil))), " ")
}

// size returns the bytes of the files in dir that match pattern.
func size(dir, pattern string) (total int64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no file %s was written", pattern)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			return 0, err
		}
		total += st.Size()
	}
	return total, nil
}
