package extcodec

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// noise is two frames as weights make them.
func noise() *Frames {
	f := &Frames{Width: 128, Height: 64, Samples: make([]byte, 2*128*64)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range f.Samples {
		f.Samples[i] = byte(min(max(r.NormFloat64()*20+128.5, 0), 255))
	}
	return f
}

// TestCodecs codes noise with everything that is installed: a finer setting
// takes more bytes and errs less, and at about 3 bits the error is small, so that
// nothing on the way converts samples.
func TestCodecs(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx := context.Background()
	list := Find(ctx)
	if len(list) == 0 {
		t.Skip("neither ffmpeg nor cjxl and djxl are installed")
	}
	f := noise()
	for _, c := range list {
		t.Run(c.Name+"/"+c.Profile, func(t *testing.T) {
			last := [2]float64{0, 1e9} // bits, squared error
			for i, s := range c.Settings {
				if testing.Short() && i == 1 {
					continue
				}
				r, err := c.Code(ctx, f, s)
				if err != nil {
					t.Fatal(err)
				}
				loss := 0.0
				for k, v := range r.Samples {
					d := float64(v) - float64(f.Samples[k])
					loss += d * d
				}
				got := [2]float64{float64(r.Bytes) * 8 / float64(len(f.Samples)), loss / float64(len(f.Samples)) / 400}
				t.Logf("%s %v: %.2f bits, NMSE %.4f, %v and %v", c.Knob, s, got[0], got[1], r.Encode, r.Decode)
				if got[0] <= last[0] || got[1] >= last[1] {
					t.Errorf("%s %v: %.3f bits and NMSE %.4f after %.3f and %.4f", c.Knob, s, got[0], got[1], last[0], last[1])
				}
				last = got
			}
			if last[0] < 2 || last[0] > 7 || last[1] > 0.08 {
				t.Errorf("the finest setting gives %.3f bits and NMSE %.4f", last[0], last[1])
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRefuses(t *testing.T) {
	c := Codec{code: func(context.Context, string, *Frames, float64) (*Result, error) {
		return &Result{Samples: make([]byte, 7)}, nil
	}}
	for _, f := range []Frames{{}, {Width: 3, Height: 2, Samples: make([]byte, 6)}, {Width: 4, Height: 2, Samples: make([]byte, 9)}} {
		if _, err := c.Code(context.Background(), &f, 1); err == nil {
			t.Errorf("%d x %d with %d samples", f.Width, f.Height, len(f.Samples))
		}
	}
	if _, err := c.Code(context.Background(), noise(), 1); err == nil {
		t.Error("7 samples for 16384")
	}
}

// TestCancel shows that a program ends with its context and leaves nothing.
func TestCancel(t *testing.T) {
	list := Find(context.Background())
	if len(list) == 0 {
		t.Skip("no codec is installed")
	}
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := list[0].Code(ctx, noise(), 20); err == nil {
		t.Error("no error")
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTail(t *testing.T) {
	var l tail
	l.Write(bytes.Repeat([]byte("a\n"), 1000))
	l.Write([]byte("the end"))
	if s := l.String(); len(s) > tailBytes || s[len(s)-7:] != "the end" {
		t.Errorf("%q", s)
	}
}
