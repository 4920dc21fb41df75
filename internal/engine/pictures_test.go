package engine_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
	"github.com/lamina-llm/lamina/weights/weightstest"
)

// TestPictures runs a model coded as H.266 pictures in every regime, on one and
// two workers, in a batch and token by token: everything unpacked, all coded
// bytes in memory and decoded on every use, most layers read from the file for
// every pass. The logits are the same bit for bit. A picture that does not
// decode gives an error.
func TestPictures(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	ctx := context.Background()
	src, err := source.Open(checkpointOf(t, 8, 2000, 200, false))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	path, qp := filepath.Join(t.TempDir(), "pictures.lamina"), 20.0
	if _, err := pack.Run(ctx, src, path, pack.Options{Codec: pack.VVC, QP: &qp}); err != nil {
		t.Fatal(err)
	}
	ids := []int32{0, 17, 1999, 512, 511, 100, 3, 3, 250, 1640}
	inRegimes(t, path, ids, setting{plan.A, 2}, setting{plan.B, 1}, setting{plan.C, 2}, setting{plan.C, 1})
	if _, err := engine.Open(ctx, spoil(t, path), engine.Options{RAM: 8 << 30, Context: 64}); !errors.Is(err, planes.ErrCorrupt) {
		t.Errorf("a damaged picture: %v", err)
	}
}

// spoil copies the file at path with one bit of a picture changed and the
// checksums made right again.
func spoil(t *testing.T, path string) string {
	t.Helper()
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := filepath.Join(t.TempDir(), "spoilt.lamina")
	weightstest.Copy(t, f, out, weightstest.Edit{Span: func(x *weights.Tensor, i int, data []byte) []byte {
		if x.Name == "layers.1.down" && i == 1 {
			data[len(data)/2] ^= 4
		}
		return data
	}})
	return out
}
