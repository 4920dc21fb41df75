package selftext

import (
	"context"
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/sched"
)

var tiny = llama.Config{
	Layers: 2, Hidden: 64, Intermediate: 96, Heads: 2, KVHeads: 1, HeadDim: 32, Vocab: 61, MaxContext: 64,
	NormEps: 1e-5, RopeTheta: 1e4, Tied: true, EOS: []int32{7, 30},
}

// newWeights returns a model of random weights.
func newWeights(t *testing.T, pool *sched.Pool, stream bool) *llama.FloatWeights {
	t.Helper()
	read := func(name string, row0, rows int, dst []float32) error {
		cols := len(dst) / rows
		h := fnv.New64()
		h.Write([]byte(name))
		for r := range rows {
			rnd := rand.New(rand.NewPCG(h.Sum64(), uint64(row0+r)))
			for j := range cols {
				dst[r*cols+j] = float32(rnd.NormFloat64() * 0.3)
				if strings.Contains(name, "norm") {
					dst[j]++
				}
			}
		}
		return nil
	}
	w, err := llama.NewFloatWeights(t.Context(), tiny, read, pool, stream)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newPool(t *testing.T, n int) *sched.Pool {
	t.Helper()
	p := sched.New(n)
	t.Cleanup(p.Close)
	return p
}

// TestWrite checks every token against a pass over its document alone.
func TestWrite(t *testing.T) {
	pool := newPool(t, 1)
	w := newWeights(t, pool, false)
	o := Options{Tokens: 1000, Stretch: 48, BOS: 3, Temperature: 1, Seed: 5, CacheBytes: 1 << 20}
	text, err := Write(t.Context(), tiny, w, pool, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) != o.Tokens {
		t.Fatalf("%d tokens, want %d", len(text), o.Tokens)
	}
	m, err := llama.New(tiny, w, pool, llama.Options{MaxBatchTokens: o.Stretch})
	if err != nil {
		t.Fatal(err)
	}
	g := kv.Geometry{Layers: tiny.Layers, KVHeads: tiny.KVHeads, HeadDim: tiny.HeadDim, PageTokens: 16}
	cache, err := kv.New(g, make([]byte, 3*g.PageBytes()))
	if err != nil {
		t.Fatal(err)
	}
	documents, ended := 0, 0
	for at := 0; at < len(text); {
		end := min(at/o.Stretch*o.Stretch+o.Stretch, len(text)) // of the stretch
		if i := slices.IndexFunc(text[at:end], func(id int32) bool { return slices.Contains(tiny.EOS, id) }); i >= 0 {
			end = at + i + 1
			ended++
		}
		document := text[at:end]
		documents++
		if document[0] != o.BOS {
			t.Fatalf("the document at %d begins with %d", at, document[0])
		}
		seq, err := cache.NewSeq(o.Stretch)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Forward(t.Context(), []llama.Seq{{Tokens: document, KV: seq, Want: llama.All}}, func(_, i int, logits []float32) error {
			if i+1 == len(document) {
				return nil
			}
			kern.Softmax(logits)
			low := 0.0
			for _, p := range logits[:document[i+1]] {
				low += float64(p)
			}
			u, high := Uniform(o.Seed, uint64(at+i+1)), low+float64(logits[document[i+1]])
			if u < low-1e-3 || u > high+1e-3 {
				t.Errorf("token %d is %d, from %.4f to %.4f of the distribution; drawn was %.4f", at+i+1, document[i+1], low, high, u)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		seq.Close()
		at = end
	}
	if ended < 5 || documents < 15 {
		t.Errorf("%d documents, %d of them ended", documents, ended)
	}
}

// TestSame writes one text in several ways.
func TestSame(t *testing.T) {
	o := Options{Tokens: 333, Stretch: 32, BOS: -1, Temperature: 0.8, Seed: 2, CacheBytes: 1 << 30}
	var want []int32
	for _, c := range []struct {
		workers int
		stream  bool
		cache   int64
	}{{1, false, 1 << 30}, {3, false, 1 << 30}, {2, true, 1 << 30}, {1, false, 0}, {2, false, 100_000}} {
		pool := newPool(t, c.workers)
		o.CacheBytes = c.cache
		last := 0
		o.Progress = func(done, total int) {
			if done <= last || total != o.Tokens {
				t.Errorf("%d of %d tokens after %d", done, total, last)
			}
			last = done
		}
		got, err := Write(t.Context(), tiny, newWeights(t, pool, c.stream), pool, o)
		if err != nil {
			t.Fatal(err)
		}
		if last != o.Tokens {
			t.Errorf("%+v: progress ended at %d", c, last)
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: another text", c)
		}
	}
	pool := newPool(t, 1)
	o.Seed++
	o.Progress = nil
	if other, err := Write(t.Context(), tiny, newWeights(t, pool, false), pool, o); err != nil || slices.Equal(other, want) {
		t.Errorf("another seed gives the same text, or %v", err)
	}
}

// TestDraw counts draws of a distribution that is known.
func TestDraw(t *testing.T) {
	p := []float64{0.5, 0, 0.125, 0.375}
	for _, temperature := range []float64{1, 2, 0.5} {
		const n = 1 << 14
		count := make([]float64, len(p))
		for i := range n {
			logits := make([]float32, len(p))
			for v := range p {
				logits[v] = float32(max(-1e30, math.Log(p[v])) * temperature)
			}
			id, err := draw(logits, temperature, Uniform(9, uint64(i)))
			if err != nil {
				t.Fatal(err)
			}
			count[id]++
		}
		for v := range p {
			if sigma := math.Sqrt(n * p[v] * (1 - p[v])); math.Abs(count[v]-n*p[v]) > 4*sigma {
				t.Errorf("temperature %v: token %d drawn %v times of %d, want %v +- %.0f", temperature, v, count[v], n, n*p[v], sigma)
			}
		}
	}
	nan := float32(math.NaN())
	if _, err := draw([]float32{nan, nan}, 1, 0.5); err == nil {
		t.Error("drawn from no distribution")
	}
}

func TestErrors(t *testing.T) {
	pool := newPool(t, 1)
	w := newWeights(t, pool, false)
	good := Options{Tokens: 64, Stretch: 16, Temperature: 1}
	for name, change := range map[string]func(*Options){
		"tokens":      func(o *Options) { o.Tokens = 0 },
		"stretch":     func(o *Options) { o.Stretch = tiny.MaxContext + 1 },
		"bos":         func(o *Options) { o.BOS = int32(tiny.Vocab) },
		"temperature": func(o *Options) { o.Temperature = math.NaN() },
	} {
		o := good
		change(&o)
		if _, err := Write(t.Context(), tiny, w, pool, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	good.Progress = func(int, int) { cancel() }
	if _, err := Write(ctx, tiny, w, pool, good); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
