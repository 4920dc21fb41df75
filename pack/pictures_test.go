package pack

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/internal/source"
)

// TestPictureQuality shows that a QP and a deviation together give the step that
// was asked for, whatever the tails of the weights.
func TestPictureQuality(t *testing.T) {
	for _, clipped := range [][len(tails)]float64{{}, {1, 1e-3, 1e-5}, {1, 1, 1, 1, 1}} {
		f := pictureFit{clipped: clipped}
		for qp := 12.0; qp < 50; qp += 0.37 {
			step := QPStep(qp)
			q, dev := f.quality(step)
			if got := math.Exp2(float64(q-4)/6) / dev; math.Abs(got/step-1) > 1e-9 || dev > 1.07*tails[0] || dev < tails[len(tails)-1]/1.07 {
				t.Fatalf("QP %.2f: QP %d over deviation %.2f is a step of %.4f, want %.4f", qp, q, dev, got, step)
			}
		}
		if q, dev := f.quality(QPStep(-20)); q != 0 || dev > 1.5*pictureDeviation {
			t.Errorf("finest: QP %d, deviation %v", q, dev)
		}
	}
	if _, heavy := (&pictureFit{clipped: [len(tails)]float64{1, 1, 1e-9}}).quality(QPStep(24)); heavy > 11 {
		t.Errorf("heavy tails: deviation %v", heavy)
	}
}

func TestPictureBand(t *testing.T) {
	for _, c := range []struct{ rows, cols, want int }{
		{384, 384, 384}, {640, 384, 640}, {2048, 384, 384}, {384, 1024, 128}, {4096, 4096, 64}, {8192, 28672, 32},
		{5, 300, 8}, {100, 65536, 16},
	} {
		if got := pictureBand(c.rows, c.cols, pictureCells); got != c.want {
			t.Errorf("%d x %d: pictures of %d rows, want %d", c.rows, c.cols, got, c.want)
		}
	}
}

// TestStorytellerPictures packs a real model as pictures at a rate: the size is
// met within 2 %, and matrices are as near as the rate says.
func TestStorytellerPictures(t *testing.T) {
	const dir = "../../shared/models/storyteller-22m"
	if _, err := os.Stat(dir); err != nil || testing.Short() {
		t.Skip("needs the storyteller checkpoint, and some seconds")
	}
	src, err := source.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	r, err := Run(context.Background(), src, filepath.Join(t.TempDir(), "m.lamina"), Options{Codec: VVC, Bits: 2.5})
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Bits/2.5-1) > 0.02 {
		t.Errorf("%.4f bits per weight, want 2.5", r.Bits)
	}
	for _, m := range r.Tensors {
		// A quarter of a bit above the bound of a Gaussian source.
		if bound := math.Exp2(-(m.Bits - 0.3)); m.Error > bound {
			t.Errorf("%s: relative error %.3f at %.3f bits, want at most %.3f", m.Name, m.Error, m.Bits, bound)
		}
	}
	t.Logf("%.4f bits per weight, %.1f s", r.Bits, r.Seconds)
}
