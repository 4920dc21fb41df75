package engine_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/internal/engine"
)

// TestPrompts saves the prompts of one model and goes on with another of the
// same file; anything that does not fit is refused and leaves nothing behind.
func TestPrompts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "story.prompts")
	o := engine.Options{Context: 256, Parallel: 2, Threads: 2, KV: engine.KVQ16}
	run := func(m *engine.Model, end string) result {
		t.Helper()
		e := engine.Start(m, engine.Options{})
		got := generate(context.Background(), e, told(t, m, end, 16))
		if err := e.Close(context.Background()); err != nil || got.err != nil {
			t.Fatal(err, got.err)
		}
		return got
	}
	m := open(t, o)
	if _, err := m.LoadPrompts(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	first := run(m, "The girl answered")
	run(m, "The mother was afraid, and")
	saved, err := m.SavePrompts(path)
	if err != nil || saved < len(told(t, m, "", 0).Prompt)/32*32 {
		t.Fatalf("%d tokens saved, %v", saved, err)
	}
	again := open(t, o)
	if n, err := again.LoadPrompts(path); err != nil || n != saved {
		t.Fatalf("%d tokens loaded of %d, %v", n, saved, err)
	}
	got := run(again, "The girl answered")
	sameAs(t, "after loading", got, first)
	if want := (got.usage.PromptTokens - 1) / 32 * 32; got.usage.CachedTokens != want {
		t.Errorf("%d tokens from the cache, want %d", got.usage.CachedTokens, want)
	}
	if n, err := again.SavePrompts(path); err != nil || n != saved {
		t.Errorf("saved again: %d tokens, had %d, %v", n, saved, err)
	}

	small := open(t, engine.Options{Context: 64, Parallel: 1, KV: engine.KVQ16})
	if n, err := small.LoadPrompts(path); err != nil || n != 64 {
		t.Errorf("into a cache of 64 tokens: %d, %v", n, err)
	}

	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, m *engine.Model, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := m.LoadPrompts(path); !errors.Is(err, engine.ErrPromptCache) || n != 0 {
			t.Errorf("%s: %d tokens, %v", what, n, err)
		}
		if n, err := m.SavePrompts(filepath.Join(t.TempDir(), "none")); err != nil || n != 0 {
			t.Errorf("%s: %d tokens stayed, %v", what, n, err)
		}
	}
	fresh := open(t, o)
	for _, at := range []int{0, 9, 20, 47, 60, len(data) / 2, len(data) - 1} {
		bad := slices.Clone(data)
		bad[at] ^= 1
		refuse("a bit of it is wrong", fresh, bad)
	}
	refuse("cut", fresh, data[:len(data)-10])
	refuse("empty", fresh, nil)
	q8 := o
	q8.KV = engine.KVQ8
	refuse("another format", open(t, q8), data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := fresh.LoadPrompts(path); err != nil || n != saved {
		t.Errorf("after the refusals: %d tokens, %v", n, err)
	}
}
