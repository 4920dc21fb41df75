package llama

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
)

// storytellerGolden is the part of golden.json that a forward pass must
// reproduce. It was computed with transformers in float32.
type storytellerGolden struct {
	Prompts []struct {
		Text string  `json:"text"`
		IDs  []int32 `json:"ids"`
		Top5 []struct {
			ID    int32   `json:"id"`
			Logit float32 `json:"logit"`
		} `json:"top5"`
		LogSumExp float64 `json:"logsumexp"`
		Greedy    []int32 `json:"greedy_ids"`
	} `json:"prompts"`
	NLL struct {
		Tokens  int       `json:"tokens"`
		Window  int       `json:"window"`
		Mean    float64   `json:"mean_nll"`
		Windows []float64 `json:"window_nll"`
		SHA256  string    `json:"ids_sha256_le_u32"`
	} `json:"nll"`
}

func readGolden(t testing.TB, dir string) (g storytellerGolden) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// sample reports whether a part has to stand for the whole: where only slow
// kernels run, or the race detector does.
func sample() bool { return testing.Short() || cpu.Active() == cpu.Generic || raceEnabled }

// TestStorytellerPrompts compares next-token logits within 2e-3 and greedy
// continuations token for token.
func TestStorytellerPrompts(t *testing.T) {
	dir := sharedModel(t)
	pool := workers(2)
	c, w := openModel(t, dir, pool, false)
	m := newModel(t, c, w, pool, Options{MaxBatchTokens: 1024})
	worst := 0.0
	for _, p := range readGolden(t, dir).Prompts {
		if sample() {
			if len(p.IDs) > 32 {
				continue
			}
			p.Greedy = p.Greedy[:8]
		}
		s := newSeq(t, c, len(p.IDs)+len(p.Greedy), 0)
		logits := forward(t, m, s, p.IDs, Last)[0]
		for _, top := range p.Top5 {
			worst = max(worst, math.Abs(float64(logits[top.ID]-top.Logit)))
		}
		worst = max(worst, math.Abs(logSumExp(logits)-p.LogSumExp))
		for i, want := range p.Greedy {
			got := largest(logits)
			if got != want {
				t.Errorf("%q: greedy token %d is %d, want %d", p.Text, i, got, want)
				break
			}
			logits = forward(t, m, s, []int32{got}, Last)[0]
		}
	}
	t.Logf("largest logit error %.2g", worst)
	if worst > 2e-3 {
		t.Errorf("largest logit error %g, want at most 2e-3", worst)
	}
}

// TestStorytellerNLL scores the first 16,384 held-out tokens (testdata/
// heldout.u16 holds their ids, little-endian) in windows of 512.
func TestStorytellerNLL(t *testing.T) {
	dir := sharedModel(t)
	g := readGolden(t, dir).NLL
	data, err := os.ReadFile(filepath.Join("testdata", "heldout.u16"))
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	ids := make([]int32, len(data)/2)
	for i := range ids {
		ids[i] = int32(binary.LittleEndian.Uint16(data[2*i:]))
		_ = binary.Write(hash, binary.LittleEndian, ids[i])
	}
	if got := hex.EncodeToString(hash.Sum(nil)); len(ids) != g.Tokens || got != g.SHA256 {
		t.Fatalf("testdata/heldout.u16 has %d tokens, hash %s; golden.json wants %d, %s", len(ids), got, g.Tokens, g.SHA256)
	}
	pool := workers(2)
	c, w := openModel(t, dir, pool, false)
	m := newModel(t, c, w, pool, Options{LogitRows: 64})
	windows := g.Windows
	if sample() {
		windows = windows[:1]
	}
	s := newSeq(t, c, g.Window, 0)
	sum, want := 0.0, 0.0
	for i, golden := range windows {
		window, nll := ids[i*g.Window:(i+1)*g.Window], 0.0
		err := m.Forward(t.Context(), []Seq{{Tokens: window, KV: s, Want: All}}, func(_, token int, logits []float32) error {
			if token+1 < len(window) {
				nll += logSumExp(logits) - float64(logits[window[token+1]])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Truncate(0); err != nil {
			t.Fatal(err)
		}
		nll /= float64(g.Window - 1)
		if math.Abs(nll-golden) > 5e-4*golden {
			t.Errorf("window %d: mean nll %.6f, want %.6f within 0.05 %%", i, nll, golden)
		}
		sum, want = sum+nll, want+golden
	}
	sum, want = sum/float64(len(windows)), want/float64(len(windows))
	t.Logf("mean nll of %d windows %.7f, golden %.7f (%+.5f %%)", len(windows), sum, want, 100*(sum/want-1))
	if len(windows) == len(g.Windows) && math.Abs(sum-g.Mean) > 5e-4*g.Mean {
		t.Errorf("mean nll %.6f, want %.6f within 0.05 %%", sum, g.Mean)
	}
}
