package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A checkpoint writes the same text twice; pack takes it.
func TestWrite(t *testing.T) {
	src, dir := fixture(t, "tiny"), t.TempDir()
	path := filepath.Join(dir, "own.txt")
	if out := ok(t, "write", src, "-o", path, "--tokens", "700"); !strings.Contains(out, "700 tokens") {
		t.Errorf("said %q", out)
	}
	first, err := os.ReadFile(path)
	if err != nil || len(first) < 700 {
		t.Fatalf("%d bytes of text, %v", len(first), err)
	}
	if status, _, _ := run(t, "write", src, "-o", path, "--tokens", "700"); status != exitError {
		t.Errorf("the file was replaced: status %d", status)
	}
	ok(t, "write", src, "-o", path, "--tokens", "700", "--force", "--threads", "1")
	if again, _ := os.ReadFile(path); string(again) != string(first) {
		t.Error("another text from the same seed")
	}
	if status, _, _ := run(t, "write", src, "-o", path, "--force", "--tokens", "0"); status != exitUsage {
		t.Errorf("no tokens: status %d", status)
	}
	if testing.Short() {
		return
	}
	out := filepath.Join(dir, "own.lamina")
	ok(t, "pack", src, "-o", out, "--bits", "4", "--calibrate", path, "--calibrate-tokens", "512")
	ok(t, "verify", out)
}
