package eval_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/eval"
)

// rows is a model with given logits, one row per token.
type rows struct {
	logits [][]float32
	err    error // at the end
	starts int
	ends   int
}

func (m *rows) Score(_ context.Context, ids []int32, emit func(int, []float32) error) error {
	m.starts++
	defer func() { m.ends++ }()
	buffer := make([]float32, 0, 512) // reused, as a model may
	for i := range min(len(ids), len(m.logits)) {
		buffer = append(buffer[:0], m.logits[i]...)
		if err := emit(i, buffer); err != nil {
			return err
		}
		clear(buffer)
	}
	return m.err
}

// TestGolden compares with numpy in float64 (testdata/make_golden.py).
func TestGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/compare.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Reference, Model []float32
		Token            int32
		KL, NLL          float64
		RefNLL           float64 `json:"reference_nll"`
		Same             bool
	}
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatal(err, len(cases))
	}
	near := func(got *float64, want float64) bool {
		return got != nil && math.Abs(*got-want) <= 1e-6*max(1, math.Abs(want))
	}
	for i, c := range cases {
		m, ref := &rows{logits: [][]float32{c.Model}}, &rows{logits: [][]float32{c.Reference}}
		r, err := eval.Perplexity(t.Context(), m, []int32{0, c.Token}, eval.Options{Reference: ref})
		if err != nil {
			t.Fatal(err)
		}
		if !near(r.KL, c.KL) || !near(&r.NLL, c.NLL) || !near(r.RefNLL, c.RefNLL) || *r.RefPPL != math.Exp(*r.RefNLL) || (*r.Top1 == 1) != c.Same {
			t.Errorf("case %d: kl %v nll %v reference %v top-1 %v, want %v", i, *r.KL, r.NLL, *r.RefNLL, *r.Top1, c)
		}
		if m.ends != 1 || ref.ends != 1 {
			t.Errorf("case %d: %d and %d passes ended", i, m.ends, ref.ends)
		}
		// A model is at no distance from itself, exactly.
		self, err := eval.Perplexity(t.Context(), m, []int32{0, c.Token}, eval.Options{Reference: &rows{logits: m.logits}})
		if err != nil || *self.KL != 0 || *self.Top1 != 1 || *self.RefNLL != self.NLL {
			t.Errorf("case %d: to itself %+v, %v", i, self, err)
		}
	}
}

// TestCompareWindows checks that rows are paired and means taken over windows
// of several lengths, and that Merge of two texts is the mean over both.
func TestCompareWindows(t *testing.T) {
	const vocab = 300
	ids := tokens(41, vocab)
	bend := func(i int, l []float32) (int, []float32) {
		for k := range l {
			l[k] *= 0.9 + 0.01*float32(i%7)
		}
		return i, l
	}
	m, ref := &markov{vocab: vocab, distort: bend}, &markov{vocab: vocab}
	got, err := eval.Perplexity(t.Context(), m, ids, eval.Options{Window: 16, Reference: ref})
	if err != nil {
		t.Fatal(err)
	}
	sum, n := 0.0, 0
	for i := range ids[:len(ids)-1] {
		if (i+1)%16 == 0 {
			continue
		}
		p := ref.logits(i%16, ids[i])
		_, q := bend(i%16, slices.Clone(p))
		for k := range p {
			sum += math.Exp(-truth(p, int32(k))) * (truth(q, int32(k)) - truth(p, int32(k)))
		}
		n++
	}
	if want := sum / float64(n); n != got.Predicted || math.Abs(*got.KL-want) > 1e-7 || len(got.WindowKL) != 3 {
		t.Errorf("kl %v of %d, want %v of %d; windows %v", *got.KL, got.Predicted, want, n, got.WindowKL)
	}
	if *got.Top1 != 1 { // a factor changes no order
		t.Errorf("top-1 %v", *got.Top1)
	}
	// The first 16 tokens and the rest are two texts of the same windows.
	var parts []eval.Result
	for _, part := range [][]int32{ids[:16], ids[16:]} {
		r, err := eval.Perplexity(t.Context(), m, part, eval.Options{Window: 16, Reference: ref})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, r)
	}
	all := eval.Merge(parts)
	if math.Abs(*all.KL-*got.KL) > 1e-12 || math.Abs(all.NLL-got.NLL) > 1e-12 || math.Abs(*all.RefPPL / *got.RefPPL - 1) > 1e-9 || *all.Top1 != 1 ||
		all.Tokens != got.Tokens || all.Predicted != got.Predicted || !slices.Equal(all.WindowNLL, got.WindowNLL) || !slices.Equal(all.WindowKL, got.WindowKL) {
		t.Errorf("merged %+v, want %+v", all, got)
	}
	if plain := eval.Merge([]eval.Result{{NLL: 1, Predicted: 1, Tokens: 2}, {NLL: 3, Predicted: 3, Tokens: 4}}); plain.NLL != 2.5 || plain.KL != nil {
		t.Errorf("%+v", plain)
	}
}

func TestCompareErrors(t *testing.T) {
	nan := float32(math.NaN())
	three := [][]float32{{0, 1, 2}, {0, 1, 2}, {0, 1, 2}}
	broken := errors.New("disk on fire")
	for name, c := range map[string]struct {
		m, ref *rows
		want   string
	}{
		"vocabulary":         {&rows{logits: three}, &rows{logits: [][]float32{{0, 1}}}, "a vocabulary of 3 is compared with one of 2"},
		"reference is short": {&rows{logits: three}, &rows{logits: three[:2]}, "reference: logits of 2 tokens came, want 3"},
		"reference fails":    {&rows{logits: three}, &rows{logits: three[:1], err: broken}, "reference: disk on fire"},
		"fails at the end":   {&rows{logits: three}, &rows{logits: three, err: broken}, "reference: disk on fire"},
		"model fails":        {&rows{logits: three[:1], err: broken}, &rows{logits: three}, "window at token 0: disk on fire"},
		"not finite":         {&rows{logits: [][]float32{{0, nan, 0}}}, &rows{logits: three}, "token 0: logits are not finite"},
		"reference is nan":   {&rows{logits: three}, &rows{logits: [][]float32{{0, nan, 0}}}, "reference: logits are not finite"},
		"token":              {&rows{logits: [][]float32{{0}}}, &rows{logits: [][]float32{{0}}}, "token 1 of a vocabulary of 1"},
	} {
		_, err := eval.Perplexity(t.Context(), c.m, []int32{0, 1, 1, 1}, eval.Options{Reference: c.ref})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if c.ref.starts != c.ref.ends || c.m.starts != c.m.ends {
			t.Errorf("%s: a pass was left running", name)
		}
	}
}
