package engine_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack"
)

const storyteller = "../../../shared/models/storyteller-22m"

func packed(t testing.TB, bits float64) string {
	t.Helper()
	src, err := source.Open(storyteller)
	if err != nil {
		t.Skipf("the unpacked checkpoint is not there: %v", err)
	}
	defer src.Close()
	path := filepath.Join(t.TempDir(), "storyteller.lamina")
	if _, err := pack.Run(context.Background(), src, path, pack.Options{Bits: bits, Mode: rans.DQ}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestServeStoryteller(t *testing.T) {
	path := packed(t, 4)
	var first []int32
	for _, ram := range []int64{0, 60 << 20, 45 << 20} {
		m, err := engine.Open(context.Background(), path, engine.Options{RAM: ram, Context: 512, Parallel: 1})
		if err != nil {
			t.Fatal(err)
		}
		p := m.Plan()
		t.Log(p.String())
		e := engine.Start(m, engine.Options{})
		ids, err := m.Tokenizer().Encode("Once upon a time there was a little girl who lived", encodeOptions)
		if err != nil {
			t.Fatal(err)
		}
		var out []int32
		text := ""
		for ev, err := range e.Generate(context.Background(), model.Request{Prompt: ids, MaxTokens: 60, Logprobs: -1, Sampling: model.Sampling{TopP: 1, RepeatPenalty: 1}}) {
			if err != nil {
				t.Fatal(err)
			}
			text += ev.Text
			for _, k := range ev.Tokens {
				out = append(out, k.ID)
			}
		}
		t.Logf("%s", text)
		if first == nil {
			first = out
		}
		if !slices.Equal(out, first) {
			t.Errorf("budget %d: other tokens than without", ram)
		}
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	_ = json.Marshal
	_ = os.Stat
	_ = llama.Last
}
