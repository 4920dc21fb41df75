package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTransform packs with transformed inputs; what reads files says so.
func TestTransform(t *testing.T) {
	fixture(t, "tiny.lamina")
	path := filepath.Join(t.TempDir(), "m.lamina")
	ok(t, "pack", filepath.Join(fixtures.dir, "tiny"), "-o", path, "--bits", "4", "--transform", "hadamard")
	var r showReport
	okJSON(t, &r, "show", path)
	turned := 0
	for _, s := range r.Tensors {
		if s.Transform == nil {
			continue
		}
		turned++
		if s.Codec != "transform1" || s.Transform.Kind != "hadamard" || s.Cols%s.Transform.Block != 0 || s.Cols/s.Transform.Block%2 == 0 {
			t.Errorf("%+v: %+v", s, s.Transform)
		}
	}
	if turned != 4*tinyLayers {
		t.Errorf("%d tensors with a transform, want %d", turned, 4*tinyLayers)
	}
	if text := ok(t, "show", path); !strings.Contains(text, "hadamard of ") || !strings.Contains(text, "inputs transformed (hadamard)") {
		t.Error(text)
	}
	if text := ok(t, "verify", path); !strings.Contains(text, "sound") {
		t.Error(text)
	}
	if status, _, errs := run(t, "pack", filepath.Join(fixtures.dir, "tiny"), "-o", path, "--qp", "24", "--transform", "hadamard", "--codec", "vvc"); status != 2 {
		t.Errorf("a transform with pictures: status %d, %s", status, errs)
	}
}
