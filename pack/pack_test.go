package pack_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
)

func TestStoryteller(t *testing.T) {
	const dir = "../../shared/models/storyteller-22m"
	if testing.Short() {
		t.Skip("packs the whole checkpoint four times; runs without -short")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the unpacked checkpoint is not there: %v", err)
	}
	for _, c := range []struct {
		bits float64
		mode rans.Mode
	}{{2, rans.DQ}, {3, rans.DQ}, {3, rans.Scalar}, {4.5, rans.DQ}} {
		src, err := source.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := pack.Run(context.Background(), src, filepath.Join(t.TempDir(), "m.lamina"), pack.Options{Bits: c.bits, Mode: c.mode})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%v %.1f: %.4f bits, %d bytes, %.1fs", c.mode, c.bits, r.Bits, r.Bytes, r.Seconds)
		for _, x := range r.Tensors[:9] {
			t.Logf("  %-20s %5dx%-5d %.3f bits, error %.4f, planes %d", x.Name, x.Rows, x.Cols, x.Bits, x.Error, x.Planes)
		}
		if r.Bits < c.bits*0.99 || r.Bits > c.bits*1.01 {
			t.Errorf("%v: %.4f bits per weight, asked for %.2f", c.mode, r.Bits, c.bits)
		}
	}
}
