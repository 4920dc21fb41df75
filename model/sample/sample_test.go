package sample

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/model"
)

func newSampler(t testing.TB, p model.Sampling, prompt []int32, vocab int) *Sampler {
	t.Helper()
	s, err := New(p, prompt, vocab)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reference is the plain float64 definition: probabilities in falling order
// after temperature, with the mass that top-k keeps.
type reference struct {
	order []int     // token ids, likeliest first, equal ones by id
	probs []float64 // relative to the likeliest, by token id
}

func newReference(logits []float32, temperature float64) *reference {
	r := &reference{}
	top := float64(slices.Max(logits))
	for i, l := range logits {
		r.order = append(r.order, i)
		r.probs = append(r.probs, math.Exp((float64(l)-top)/temperature))
	}
	slices.SortStableFunc(r.order, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	return r
}

func (r *reference) mass(n int) (sum float64) {
	for _, id := range r.order[:n] {
		sum += r.probs[id]
	}
	return sum
}

// TestTruncation compares what survives top-k, top-p and min-p with the
// definition on random logits: a prefix of the falling order, as short as the
// definition allows, with the right probabilities.
func TestTruncation(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(1, 1500).Draw(t, "vocabulary") // some blocks
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
			spread := rapid.SampledFrom([]float64{0, 0.1, 3, 30}).Draw(t, "spread")
			logits := make([]float32, n)
			for i := range logits { // multiples of 1/64: equal or clearly different
				logits[i] = float32(math.Round(r.NormFloat64()*spread*64) / 64)
			}
			p := model.Sampling{
				Temperature:   rapid.SampledFrom([]float32{0.1, 0.7, 1, 2}).Draw(t, "temperature"),
				TopK:          rapid.SampledFrom([]int{0, 1, 2, 7, 40, 399, 400, 500}).Draw(t, "k"),
				TopP:          rapid.SampledFrom([]float32{1e-6, 0.1, 0.5, 0.9, 0.999, 1}).Draw(t, "p"),
				MinP:          rapid.SampledFrom([]float32{0, 0.01, 0.3, 1}).Draw(t, "min"),
				RepeatPenalty: 1,
			}
			s, err := New(p, nil, n)
			if err != nil {
				t.Fatal(err)
			}
			ref := newReference(logits, float64(p.Temperature))
			got := slices.Clone(logits)
			if _, err := s.draw(got); err != nil {
				t.Fatal(err)
			}

			kept := 0
			for _, v := range got {
				if v > 0 {
					kept++
				}
			}
			if kept == 0 {
				t.Fatal("nothing is left")
			}
			for i, id := range ref.order {
				want := ref.probs[id]
				if i >= kept {
					want = 0
				}
				if d := math.Abs(float64(got[id]) - want); d > 1e-5*want {
					t.Fatalf("token %d, number %d of %d kept, has %v, want %v", id, i, kept, got[id], want)
				}
			}
			k := n
			if p.TopK > 0 {
				k = min(p.TopK, n)
			}
			if kept > k {
				t.Fatalf("%d kept, top-k is %d", kept, k)
			}
			const slack = 1e-5 // of float32 probabilities at the edge
			nucleus := float64(p.TopP) * ref.mass(k)
			if kept > 1 && ref.mass(kept-1) > nucleus*(1+slack) {
				t.Fatalf("%d kept, but fewer have top-p", kept)
			}
			if last := ref.probs[ref.order[kept-1]]; last < float64(p.MinP)*(1-slack) {
				t.Fatalf("probability %v kept below min-p", last)
			}
			if kept < k { // something ended it early
				next := ref.probs[ref.order[kept]]
				if ref.mass(kept) < nucleus*(1-slack) && next > float64(p.MinP)*(1+slack) && next > 1e-37 {
					t.Fatalf("only %d kept: mass %v of %v, next probability %v", kept, ref.mass(kept), nucleus, next)
				}
			}
		})
	})
}

// TestDistribution draws many tokens and compares their counts with the exact
// probabilities of the truncated distribution by Pearson's chi-square test:
// once along one request, once as the same step of many requests.
func TestDistribution(t *testing.T) {
	logits := []float32{2, 1.5, 1, 1, 0.5, 0, -0.5, -1, -3, float32(math.Inf(-1))}
	for name, p := range map[string]model.Sampling{
		"plain":       {Temperature: 1, TopP: 1},
		"temperature": {Temperature: 0.5, TopP: 1},
		"top-k":       {Temperature: 1, TopP: 1, TopK: 3},
		"top-p":       {Temperature: 1.5, TopP: 0.8},
		"min-p":       {Temperature: 1, TopP: 1, MinP: 0.2},
		"all":         {Temperature: 1.2, TopP: 0.9, TopK: 6, MinP: 0.05},
	} {
		p.RepeatPenalty = 1
		ref := newReference(logits, float64(p.Temperature))
		kept := len(logits) - 1
		if p.TopK > 0 {
			kept = p.TopK
		}
		nucleus := float64(p.TopP) * ref.mass(kept)
		for kept > 1 && ref.mass(kept-1) >= nucleus {
			kept--
		}
		for ref.probs[ref.order[kept-1]] < float64(p.MinP) {
			kept--
		}
		const draws = 20000
		one := newSampler(t, p, nil, len(logits))
		counts := [2][]int{make([]int, len(logits)), make([]int, len(logits))}
		for i := range draws {
			p.Seed = uint64(i)
			for j, s := range []*Sampler{one, newSampler(t, p, nil, len(logits))} {
				got, err := s.Next(slices.Clone(logits), -1)
				if err != nil {
					t.Fatal(err)
				}
				counts[j][got.ID]++
			}
		}
		for j, how := range []string{"one request", "many requests"} {
			chi := 0.0
			for i, id := range ref.order {
				c := counts[j][id]
				if i >= kept {
					if c > 0 {
						t.Errorf("%s, %s: token %d was drawn %d times, it is cut off", name, how, id, c)
					}
					continue
				}
				want := draws * ref.probs[id] / ref.mass(kept)
				chi += (float64(c) - want) * (float64(c) - want) / want
			}
			// 8 degrees of freedom or fewer: beyond 35 has probability 3e-5, and the draws are fixed.
			if chi > 35 {
				t.Errorf("%s, %s: chi-square %.1f over %d tokens: %v", name, how, chi, kept, counts[j])
			}
		}
	}
}

// TestSeed checks that draws repeat, that they depend on the seed, and that
// the draw of one step does not depend on what earlier steps saw.
func TestSeed(t *testing.T) {
	flat := make([]float32, 1000)
	run := func(seed uint64, first []float32) (ids []int32) {
		p := model.DefaultSampling()
		p.Seed = seed
		s := newSampler(t, p, nil, len(flat))
		for i := range 8 {
			logits := slices.Clone(flat)
			if i == 0 && first != nil {
				copy(logits, first)
			}
			got, err := s.Next(logits, -1)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, got.ID)
		}
		return ids
	}
	a := run(7, nil)
	if b := run(7, nil); !slices.Equal(a, b) {
		t.Errorf("the same seed gave %v and %v", a, b)
	}
	if b := run(8, nil); slices.Equal(a, b) {
		t.Errorf("seeds 7 and 8 both gave %v", a)
	}
	if b := run(7, []float32{50}); b[0] != 0 || !slices.Equal(a[1:], b[1:]) {
		t.Errorf("another first step changed %v to %v", a, b)
	}
	if slices.Sort(a); len(slices.Compact(a)) < 7 {
		t.Errorf("draws of one request hardly differ: %v", a)
	}
}

func TestGreedy(t *testing.T) {
	p := model.Sampling{RepeatPenalty: 1} // temperature 0 needs no top-p
	s := newSampler(t, p, nil, 4)
	for _, test := range []struct {
		logits []float32
		want   int32
	}{{[]float32{1, 3, 2, 3}, 1}, {[]float32{-5, -4, -3, -2}, 3}, {[]float32{0, float32(math.Inf(-1)), -1, 0}, 0}} {
		if got, err := s.Next(test.logits, -1); err != nil || got.ID != test.want {
			t.Errorf("%v: token %d, %v, want %d", test.logits, got.ID, err, test.want)
		}
	}
}

// TestPenalties follows the documented arithmetic by hand.
func TestPenalties(t *testing.T) {
	p := model.Sampling{PresencePenalty: 0.5, FrequencyPenalty: 0.25, RepeatPenalty: 2, LogitBias: map[int32]float32{4: 1, 0: -1}}
	s := newSampler(t, p, []int32{3, 1, 3}, 6)
	row := []float32{1, 4, 4.5, -1, -1, 0}
	adjusted := func() []float32 {
		l := slices.Clone(row)
		s.penalise(l)
		return l
	}
	if got, want := adjusted(), []float32{0, 2, 4.5, -2, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("with the prompt alone: %v, want %v", got, want)
	}
	for _, want := range []int32{2, 1, 2} { // 4.5; then 4.5/2-0.75 against 4/2; then 1.5 against 4/2-0.75
		got, err := s.Next(slices.Clone(row), -1)
		if err != nil || got.ID != want {
			t.Fatalf("token %d, %v, want %d", got.ID, err, want)
		}
	}
	if got, want := adjusted(), []float32{0, 1.25, 1.25, -2, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("after three tokens: %v, want %v", got, want)
	}
}

func TestErrors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, temperature := range []float32{0, 1} {
		p := model.DefaultSampling()
		p.Temperature = temperature
		for want, logits := range map[string][]float32{
			"logit 1 is NaN":    {0, nan, 1},
			"logit 2 is +Inf":   {0, 1, inf},
			"none of 3 tokens":  {-inf, -inf, -inf},
			"2 logits for a vo": {0, 1},
		} {
			s := newSampler(t, p, nil, 3)
			if _, err := s.Next(slices.Clone(logits), -1); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: error is %v, want %q", logits, err, want)
			}
			if s.drawn != 0 {
				t.Error("a failed draw counts")
			}
			if _, err := Logprobs(logits, 0, 1); err == nil && len(logits) == 3 {
				t.Errorf("Logprobs(%v) succeeded", logits)
			}
		}
	}
	if _, err := Logprobs([]float32{1}, 1, 0); err == nil {
		t.Error("Logprobs of a token that is not there")
	}
	for name, change := range map[string]func(*model.Sampling){
		"temperature": func(p *model.Sampling) { p.Temperature = 2.1 },
		"negative":    func(p *model.Sampling) { p.Temperature = -1 },
		"NaN":         func(p *model.Sampling) { p.Temperature = nan },
		"top-p 0":     func(p *model.Sampling) { p.TopP = 0 },
		"top-p 2":     func(p *model.Sampling) { p.TopP = 2 },
		"top-k":       func(p *model.Sampling) { p.TopK = -1 },
		"min-p":       func(p *model.Sampling) { p.MinP = 1.5 },
		"presence":    func(p *model.Sampling) { p.PresencePenalty = 3 },
		"frequency":   func(p *model.Sampling) { p.FrequencyPenalty = nan },
		"repetition":  func(p *model.Sampling) { p.RepeatPenalty = 0 },
		"bias":        func(p *model.Sampling) { p.LogitBias = map[int32]float32{0: inf} },
		"bias token":  func(p *model.Sampling) { p.LogitBias = map[int32]float32{10: 1} },
		"bias minus":  func(p *model.Sampling) { p.LogitBias = map[int32]float32{-1: 1} },
	} {
		p := model.DefaultSampling()
		change(&p)
		if _, err := New(p, nil, 10); !errors.Is(err, model.ErrInvalid) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	p := model.DefaultSampling()
	p.RepeatPenalty = 1.1
	if _, err := New(p, []int32{10}, 10); !errors.Is(err, model.ErrInvalid) {
		t.Errorf("prompt outside the vocabulary: %v", err)
	}
}

// TestLogprobs compares with float64 on a vocabulary of several blocks.
func TestLogprobs(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		r := rand.New(rand.NewPCG(3, 4))
		logits := make([]float32, 1999)
		for i := range logits {
			logits[i] = float32(math.Round(r.NormFloat64() * 16)) // many ties
		}
		logits[77] = float32(math.Inf(-1))
		ref := newReference(logits, 1)
		norm := math.Log(ref.mass(len(logits)))
		at := func(id int) float64 { return float64(logits[id]) - float64(slices.Max(logits)) - norm }
		before := slices.Clone(logits)
		for _, top := range []int{0, 1, 20, 1999, 5000} {
			got, err := Logprobs(logits, 5, top)
			if err != nil || len(got.Top) != min(top, len(logits)) {
				t.Fatalf("top %d: %d tokens, %v", top, len(got.Top), err)
			}
			if d := math.Abs(float64(got.Logprob) - at(5)); got.ID != 5 || d > 1e-5 {
				t.Errorf("token %d: %v, want %v", got.ID, got.Logprob, at(5))
			}
			for i, p := range got.Top {
				if int(p.ID) != ref.order[i] || math.Abs(float64(p.Logprob)-at(ref.order[i])) > 1e-5 && p.ID != 77 {
					t.Fatalf("top %d, number %d: token %d with %v, want %d with %v", top, i, p.ID, p.Logprob, ref.order[i], at(ref.order[i]))
				}
			}
		}
		if !slices.Equal(before, logits) {
			t.Error("Logprobs changed the logits")
		}
		p := model.DefaultSampling()
		p.TopK, p.LogitBias = 1, map[int32]float32{9: 100}
		got, err := newSampler(t, p, nil, len(logits)).Next(logits, 2)
		if err != nil || got.ID != 9 || math.Abs(float64(got.Logprob)-float64(before[9])+float64(slices.Max(before))+norm) > 1e-5 || len(got.Top) != 2 {
			t.Errorf("Next with log-probabilities: %+v, %v; they must be those before the bias", got, err)
		}
	})
}

func TestNextAllocates(t *testing.T) {
	p := model.Sampling{Temperature: 0.8, TopP: 0.9, TopK: 100, MinP: 0.01, PresencePenalty: 0.1, RepeatPenalty: 1.1}
	s := newSampler(t, p, []int32{1, 2, 3}, 50)
	logits, scratch := make([]float32, 50), make([]float32, 50)
	for i := range logits {
		logits[i] = float32(i % 7)
	}
	step := func() {
		copy(scratch, logits)
		if _, err := s.Next(scratch, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 500 {
		step() // until every token was seen once
	}
	if n := testing.AllocsPerRun(100, step); n > 0 {
		t.Errorf("a draw allocates %v times", n)
	}
}

func BenchmarkNext(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	logits, scratch := make([]float32, 128256), make([]float32, 128256)
	for i := range logits {
		logits[i] = float32(r.NormFloat64() * 3)
	}
	for name, p := range map[string]model.Sampling{
		"greedy": {RepeatPenalty: 1},
		"plain":  {Temperature: 1, TopP: 1, RepeatPenalty: 1},
		"top-p":  {Temperature: 0.7, TopP: 0.95, RepeatPenalty: 1},
		"top-k":  {Temperature: 0.7, TopP: 0.95, TopK: 40, RepeatPenalty: 1},
	} {
		b.Run("vocabulary=128256/sampling="+name, func(b *testing.B) {
			s := newSampler(b, p, nil, len(logits))
			b.SetBytes(int64(4 * len(logits)))
			b.ReportAllocs()
			for b.Loop() {
				copy(scratch, logits)
				if _, err := s.Next(scratch, -1); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestPick compares draws by blocks with a walk over single probabilities,
// where whole blocks, the last ones too, may have none.
func TestPick(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 200 {
		probs := make([]float32, 1+r.IntN(6*block))
		for b := 0; b < len(probs); b += 100 {
			if r.IntN(3) == 0 {
				for i := b; i < min(b+100, len(probs)); i++ {
					probs[i] = float32(r.IntN(3)) / 2 // exact sums
				}
			}
		}
		probs[r.IntN(len(probs))] = 1
		s := newSampler(t, model.Sampling{Temperature: 1, TopP: 1, RepeatPenalty: 1, Seed: uint64(n)}, nil, len(probs))
		for b := range slices.Chunk(probs, block) {
			s.sums = append(s.sums, massOf(b))
		}
		for range 20 {
			total, sum, want := 0.0, 0.0, 0
			for _, v := range probs {
				total += float64(v)
			}
			for i, v := range probs {
				if sum += float64(v); sum > s.uniform()*total {
					want = i
					break
				}
			}
			if got := s.pick(probs); got != want {
				t.Fatalf("%d probabilities, draw %d: picked %d, want %d", len(probs), s.drawn, got, want)
			}
			s.drawn++
		}
	}
}
