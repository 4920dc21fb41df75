package eval_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/eval"
)

// markov is a model whose prediction depends on the position in the window and
// the token alone, so that a test can compute the truth by itself.
type markov struct {
	vocab   int
	windows [][]int32
	distort func(i int, logits []float32) (int, []float32)
}

func (m *markov) logits(pos int, id int32) []float32 {
	r := rand.New(rand.NewPCG(uint64(pos), uint64(id)))
	l := make([]float32, m.vocab)
	for i := range l {
		l[i] = float32(r.NormFloat64() * 6)
	}
	return l
}

func (m *markov) Score(ctx context.Context, ids []int32, emit func(int, []float32) error) error {
	m.windows = append(m.windows, ids)
	for i, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, l := i, m.logits(i, id)
		if m.distort != nil {
			k, l = m.distort(i, l)
		}
		if err := emit(k, l); err != nil {
			return err
		}
	}
	return nil
}

// truth is -ln softmax(logits)[id] in float64, by the book.
func truth(logits []float32, id int32) float64 {
	sum := 0.0
	for _, v := range logits {
		sum += math.Exp(float64(v) - float64(logits[id]))
	}
	return math.Log(sum)
}

func tokens(n, vocab int) []int32 {
	r := rand.New(rand.NewPCG(1, 2))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(r.IntN(vocab))
	}
	return ids
}

func TestPerplexity(t *testing.T) {
	for _, c := range []struct{ n, window, windows int }{
		{2, 2, 1}, {3, 2, 1}, {4, 2, 2}, {64, 16, 4}, {65, 16, 4}, {66, 16, 5}, {79, 16, 5}, {10, 512, 1}, {1030, 0, 3},
	} {
		m := &markov{vocab: 1000}
		ids := tokens(c.n, m.vocab)
		last, total := 0, 0
		got, err := eval.Perplexity(t.Context(), m, ids, eval.Options{Window: c.window, Progress: func(done, n int) {
			if done <= last {
				t.Errorf("progress went from %d to %d", last, done)
			}
			last, total = done, n
		}})
		if err != nil {
			t.Fatal(err)
		}
		window := c.window
		if window == 0 {
			window = eval.DefaultWindow
		}
		sum, n := 0.0, 0
		for i, id := range ids {
			if i%window > 0 {
				sum += truth(m.logits(i%window-1, ids[i-1]), id)
				n++
			}
		}
		if got.Tokens != c.n || got.Predicted != n || len(got.WindowNLL) != c.windows || len(m.windows) != c.windows {
			t.Errorf("%+v: %d tokens, %d predicted (want %d), %d windows", c, got.Tokens, got.Predicted, n, len(got.WindowNLL))
		}
		if last != n || total != n {
			t.Errorf("%+v: progress ended at %d of %d, want %d", c, last, total, n)
		}
		if want := sum / float64(n); math.Abs(got.NLL-want) > 1e-6*want || math.Abs(got.PPL-math.Exp(want)) > 1e-5*got.PPL {
			t.Errorf("%+v: nll %v ppl %v, want %v", c, got.NLL, got.PPL, want)
		}
	}
}

func TestNLL(t *testing.T) {
	uniform := make([]float32, 49152)
	if got, err := eval.NLL(uniform, 7); err != nil || math.Abs(got-math.Log(49152)) > 1e-9 {
		t.Errorf("uniform: %v, %v", got, err)
	}
	// A shift changes nothing, however large; far-off logits do not underflow
	// the likely ones.
	for _, shift := range []float32{0, 1000, -1000} {
		l := []float32{shift, shift + 1, shift - 300}
		for id := range l {
			got, err := eval.NLL(l, int32(id))
			if want := truth(l, int32(id)); err != nil || math.Abs(got-want) > 1e-6*max(want, 1) {
				t.Errorf("shift %v, id %d: %v, %v, want %v", shift, id, got, err, want)
			}
		}
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for name, bad := range map[string][]float32{"nan": {0, nan}, "inf": {0, inf}, "impossible": {-inf, 0}, "nothing": {-inf, -inf}} {
		if got, err := eval.NLL(bad, 0); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestErrors(t *testing.T) {
	ids := tokens(20, 50)
	for _, o := range []eval.Options{{Window: 1}, {Window: -1}} {
		if _, err := eval.Perplexity(t.Context(), &markov{vocab: 50}, ids, o); !errors.Is(err, eval.ErrOptions) {
			t.Errorf("window %d: %v", o.Window, err)
		}
	}
	if _, err := eval.Perplexity(t.Context(), &markov{vocab: 50}, ids[:1], eval.Options{}); !errors.Is(err, eval.ErrOptions) {
		t.Errorf("one token: %v", err)
	}
	check := func(name, want string, m *markov, ctx context.Context) {
		t.Helper()
		_, err := eval.Perplexity(ctx, m, ids, eval.Options{Window: 8})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	check("vocabulary", "window at token 0: token 30 of a vocabulary of 3", &markov{vocab: 3}, t.Context())
	check("skipped", "logits of token 1 came, want token 0 of 7", &markov{vocab: 50, distort: func(i int, l []float32) (int, []float32) { return i + 1, l }}, t.Context())
	check("short", "of a vocabulary of 0", &markov{vocab: 50, distort: func(i int, _ []float32) (int, []float32) { return i, nil }}, t.Context())
	done, cancel := context.WithCancel(t.Context())
	cancel()
	check("cancelled", "context canceled", &markov{vocab: 50}, done)
	if _, err := eval.Perplexity(t.Context(), silent{}, ids, eval.Options{}); err == nil || !strings.Contains(err.Error(), "logits of 0 tokens came, want 19") {
		t.Errorf("silent: %v", err)
	}
}

// silent emits nothing.
type silent struct{}

func (silent) Score(context.Context, []int32, func(int, []float32) error) error { return nil }
