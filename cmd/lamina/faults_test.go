package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/internal/engine"
)

// TestServeTruncated truncates the file of a server that streams from it: the
// client gets a 500 that tells nothing, the log says why, and once the file is whole
// again so is the server.
func TestServeTruncated(t *testing.T) {
	r, size, _ := builtin.Model()
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "story.lamina")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	ram := int64(256 << 20)
	for range 2 { // what is set aside besides weights depends on the budget
		p, err := engine.Plan(context.Background(), path, engine.Options{RAM: ram, Context: 256, Parallel: 1, KV: engine.KVQ16, Serve: true})
		if err != nil {
			t.Fatal(err)
		}
		ram = p.MinBudget + 2<<20
	}
	s := serve(t, path, "--ram", fmt.Sprint(ram), "--context", "256", "--parallel", "1", "--kv", "q16", "--no-prefix-cache")
	if !strings.Contains(s.out.String(), "regime C") {
		t.Fatalf("nothing is streamed:\n%s", s.out.String())
	}
	answer := func() (status int, text, message string) {
		status, body := s.curl(t)
		var a struct {
			Choices []struct{ Message struct{ Content string } }
			Error   struct{ Message string }
		}
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		for _, c := range a.Choices {
			text = c.Message.Content
		}
		return status, text, a.Error.Message
	}
	if status, _, message := answer(); status != 200 {
		t.Fatalf("status %d: %s", status, message)
	}
	if err := os.Truncate(path, size/3); err != nil {
		t.Fatal(err)
	}
	if status, _, message := answer(); status != 500 || message == "" || strings.Contains(message, path) {
		t.Errorf("truncated: status %d, %q", status, message)
	}
	if log := s.err.String(); !strings.Contains(log, path) || !strings.Contains(log, "changed") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, message := answer(); status != 200 {
		t.Errorf("mended: status %d: %s", status, message)
	}
	s.signals <- os.Interrupt
	if status := <-s.status; status != 0 {
		t.Errorf("status %d: %s", status, s.err.String())
	}
}
