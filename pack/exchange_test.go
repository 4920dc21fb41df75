package pack_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/pack"
)

// An export that is interrupted leaves nothing, in a folder of its own or beside what
// was there, and the next one is whole.
func TestExportInterrupted(t *testing.T) {
	src, dir := checkpoint(t), t.TempDir()
	qp := 24.0
	interrupted := errors.New("enough")
	export := func(dir string, after int) error {
		ctx, stop := context.WithCancelCause(context.Background())
		defer stop(nil)
		done := 0
		o := pack.Options{Codec: pack.VVC, QP: &qp, Workers: 2, Progress: func(p pack.Progress) {
			if p.Phase == "export" {
				if done++; done == after {
					stop(interrupted)
				}
			}
		}}
		_, err := pack.ExportPlanes(ctx, src, dir, o)
		return err
	}
	names := func(dir string) (list []string) {
		files, _ := os.ReadDir(dir)
		for _, f := range files {
			list = append(list, f.Name())
		}
		return list
	}
	folder := filepath.Join(dir, "new")
	if err := export(folder, 2); !errors.Is(err, interrupted) {
		t.Fatalf("error %v", err)
	}
	if left := names(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	// What a run that was killed leaves, and a file of someone else.
	for _, name := range []string{"notes", "embedding.yuv"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := export(folder, 3); !errors.Is(err, interrupted) {
		t.Fatalf("error %v", err)
	}
	if left := names(folder); len(left) > 2 || left[len(left)-1] != "notes" {
		t.Errorf("left behind: %v", left)
	}
	if err := export(folder, 0); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(folder, pack.ManifestName))
	var m pack.Manifest
	if err := errors.Join(err, json.Unmarshal(data, &m)); err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Planes {
		st, err := os.Stat(filepath.Join(folder, e.File))
		if err != nil || st.Size() != int64(e.Width*e.Height*e.Frames) {
			t.Errorf("%s: %v, %v; want %d frames of %d x %d", e.File, st, err, e.Frames, e.Width, e.Height)
		}
	}
	if n := len(names(folder)); n < len(m.Planes)+2 || n > len(m.Planes)+3 {
		t.Errorf("files: %v", names(folder))
	}
	if err := export(folder, 0); err == nil {
		t.Error("planes were written over")
	}
}
