package engine_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/lowrank"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
	"github.com/lamina-llm/lamina/weights/weightstest"
)

// matrixOf decodes a matrix from the front of spans and returns the rest.
func matrixOf(t testing.TB, rows, cols int, spans [][]byte) (w []float32, rest [][]byte) {
	t.Helper()
	m, err := decode.NewMatrix(rows, cols, spans[0])
	if err != nil {
		t.Fatal(err)
	}
	n := 1 + m.Chunks()
	if err := m.Attach(spans[1:n]); err != nil {
		t.Fatal(err)
	}
	size := decode.Size{Batch: 1}
	size.Grow(m)
	w, ids := make([]float32, rows*cols), make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i)
	}
	if err := decode.NewCoded(m, decode.NewWorkspace(model.Serial{}, size)).Rows(w, ids); err != nil {
		t.Fatal(err)
	}
	return w, spans[n:]
}

// weightsOf returns a tensor in float32; factors are multiplied out.
func weightsOf(t testing.TB, f *weights.File, x *weights.Tensor) []float32 {
	t.Helper()
	s := weightstest.Spans(t, f, x)
	switch x.Codec {
	case "f32":
		w := make([]float32, len(s[0])/4)
		for i := range w {
			w[i] = math.Float32frombits(binary.LittleEndian.Uint32(s[0][4*i:]))
		}
		return w
	case "rans1":
		w, _ := matrixOf(t, x.Rows, x.Cols, s)
		return w
	}
	l, err := decode.ParseFactors(x.Rows, x.Cols, s[0])
	if err != nil {
		t.Fatal(err)
	}
	s = s[1:]
	var inputs [][]float32
	for _, rows := range l.Inputs() {
		var w []float32
		w, s = matrixOf(t, rows, x.Cols, s)
		inputs = append(inputs, w)
	}
	take := func(k, rows int) []float32 {
		w := inputs[k][:rows*x.Cols]
		inputs[k] = inputs[k][rows*x.Cols:]
		return w
	}
	var out []float32
	for _, p := range l.Parts {
		w := make([]float32, p.Rows*x.Cols)
		if p.Dense >= 0 {
			copy(w, take(p.Dense, p.Rows))
		}
		if p.Rank > 0 {
			b := take(p.Down, p.Rank)
			var a []float32
			a, s = matrixOf(t, p.Rows, p.Rank, s)
			for i := range p.Rows {
				for k := range p.Rank {
					for j := range x.Cols {
						w[i*x.Cols+j] += a[i*p.Rank+k] * b[k*x.Cols+j]
					}
				}
			}
		}
		out = append(out, w...)
	}
	return out
}

// partRows cuts an operator of a layer into its matrices.
func partRows(c llama.Config, name string) []int {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "qkv":
		return []int{c.Heads * c.HeadDim, c.KVHeads * c.HeadDim, c.KVHeads * c.HeadDim}
	case "gate_up":
		return []int{c.Intermediate, c.Intermediate}
	}
	return []int{c.Hidden} // out, down
}

// factorise writes x with parts of all kinds: their rank changes from part to
// part, every third is dense, every other one of the rest has a correction.
func factorise(t testing.TB, f *weights.File, w *weights.Writer, x *weights.Tensor, c llama.Config, seed int) {
	t.Helper()
	values := weightsOf(t, f, x)
	fac := &pack.Factored{Name: x.Name, Role: x.Role, Cols: x.Cols, Mode: rans.Mode(seed % 2), Workers: 1}
	for i, rows := range partRows(c, x.Name) {
		own := values[:rows*x.Cols]
		values = values[rows*x.Cols:]
		kind := (seed + i) % 3
		p := pack.FactoredPart{Rows: rows, DenseBits: 5}
		if kind != 0 {
			p.Rank = min(rows, x.Cols)/2 - 3*i
			p.A, p.B = svd(t, rows, x.Cols, p.Rank, own)
			p.ABits, p.BBits = 6, 5+float64(seed%2)
		}
		if kind != 1 {
			p.Dense = slices.Clone(own)
			for r := range rows * min(1, p.Rank) {
				for k := range p.Rank {
					for j := range x.Cols {
						p.Dense[r*x.Cols+j] -= p.A[r*p.Rank+k] * p.B[k*x.Cols+j]
					}
				}
			}
		}
		fac.Parts = append(fac.Parts, p)
	}
	if _, err := pack.WriteFactored(context.Background(), w, fac); err != nil {
		t.Fatal(err)
	}
}

// svd returns the best factors of w of the given rank.
func svd(t testing.TB, rows, cols, rank int, w []float32) (a, b []float32) {
	t.Helper()
	wide := make([]float64, len(w))
	for i, v := range w {
		wide[i] = float64(v)
	}
	d, err := lowrank.Decompose(rows, cols, wide)
	if err != nil {
		t.Fatal(err)
	}
	a64, b64, err := d.Factors(rank)
	if err != nil {
		t.Fatal(err)
	}
	narrow := func(v []float64) []float32 {
		out := make([]float32, len(v))
		for i, x := range v {
			out[i] = float32(x)
		}
		return out
	}
	return narrow(a64), narrow(b64)
}

// floatLogits runs ids through the decoded weights of f in float32.
func floatLogits(t testing.TB, f *weights.File, c llama.Config, ids []int32) [][]float32 {
	t.Helper()
	all := map[string][]float32{}
	cut := func(name string, hf ...string) {
		x := f.Tensor(name)
		if x == nil {
			return
		}
		w := weightsOf(t, f, x)
		rows := []int{x.Rows}
		if len(hf) > 1 {
			rows = partRows(c, name)
		}
		for i, h := range hf {
			all[h+".weight"], w = w[:rows[i]*x.Cols], w[rows[i]*x.Cols:]
		}
	}
	cut("embed", "model.embed_tokens")
	for i := range c.Layers {
		own, hf := fmt.Sprintf("layers.%d.", i), fmt.Sprintf("model.layers.%d.", i)
		cut(own+"attn_norm", hf+"input_layernorm")
		cut(own+"qkv", hf+"self_attn.q_proj", hf+"self_attn.k_proj", hf+"self_attn.v_proj")
		cut(own+"out", hf+"self_attn.o_proj")
		cut(own+"ffn_norm", hf+"post_attention_layernorm")
		cut(own+"gate_up", hf+"mlp.gate_proj", hf+"mlp.up_proj")
		cut(own+"down", hf+"mlp.down_proj")
	}
	cut("norm", "model.norm")
	cut("head", "lm_head")
	read := func(name string, row0, rows int, dst []float32) error {
		w, ok := all[name]
		if !ok {
			return fmt.Errorf("no tensor %s", name)
		}
		copy(dst, w[len(dst)/rows*row0:])
		return nil
	}
	w, err := llama.NewFloatWeights(context.Background(), c, read, model.Serial{}, false)
	if err != nil {
		t.Fatal(err)
	}
	m, err := llama.New(c, w, model.Serial{}, llama.Options{MaxBatchTokens: len(ids), MaxContext: len(ids)})
	if err != nil {
		t.Fatal(err)
	}
	g := kv.Geometry{Layers: c.Layers, KVHeads: c.KVHeads, HeadDim: c.HeadDim, PageTokens: kv.DefaultPageTokens}
	pool, err := kv.New(g, make([]byte, g.Bytes(len(ids))))
	if err != nil {
		t.Fatal(err)
	}
	s, err := pool.NewSeq(len(ids))
	if err != nil {
		t.Fatal(err)
	}
	rows := make([][]float32, len(ids))
	err = m.Forward(context.Background(), []llama.Seq{{Tokens: ids, KV: s, Want: llama.All}}, func(_, tok int, l []float32) error {
		rows[tok] = slices.Clone(l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// oneByOne is logits with a pass for every token.
func oneByOne(t testing.TB, m *engine.Model, ids []int32) [][]float32 {
	t.Helper()
	s, err := m.NewSeq(len(ids))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rows := make([][]float32, len(ids))
	for i := range ids {
		err = m.Forward(context.Background(), []llama.Seq{{Tokens: ids[i : i+1], KV: s, Want: llama.All}}, func(_, _ int, l []float32) error {
			rows[i] = slices.Clone(l)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return rows
}

// factoredModels are a small random model with every operator in parts, and
// the built-in one with some.
func factoredModels(t *testing.T) map[string]string {
	dir := t.TempDir()
	src, err := source.Open(checkpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dense := filepath.Join(dir, "dense.lamina")
	if _, err := pack.Run(context.Background(), src, dense, pack.Options{Bits: 8, Mode: rans.Scalar}); err != nil {
		t.Fatal(err)
	}
	r, size, name := builtin.Model()
	big, err := weights.OpenReaderAt(r, size, name)
	if err != nil {
		t.Fatal(err)
	}
	small, err := weights.Open(dense)
	if err != nil {
		t.Fatal(err)
	}
	defer small.Close()
	made := map[string]string{}
	for _, c := range []struct {
		name  string
		from  *weights.File
		which func(x *weights.Tensor) bool
	}{
		{"random", small, func(x *weights.Tensor) bool { return x.Role == "linear" }},
		{"storyteller", big, func(x *weights.Tensor) bool {
			return slices.Contains([]string{"layers.1.qkv", "layers.2.out", "layers.11.down"}, x.Name)
		}},
	} {
		made[c.name] = filepath.Join(dir, c.name+".lamina")
		cfg, n := configOf(t, c.from), 0
		weightstest.Copy(t, c.from, made[c.name], weightstest.Edit{Tensor: func(w *weights.Writer, x *weights.Tensor) bool {
			if !c.which(x) {
				return false
			}
			factorise(t, c.from, w, x, cfg, n)
			n++
			return true
		}})
	}
	return made
}

func configOf(t testing.TB, f *weights.File) llama.Config {
	t.Helper()
	raw, err := f.Section(weights.SectionConfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := llama.ParseConfig(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestFactored runs models with matrices in parts in every regime, in batches
// and token by token, with one worker and two, and compares with float32
// arithmetic on the same, decoded factors.
func TestFactored(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	for name, path := range factoredModels(t) {
		t.Run(name, func(t *testing.T) { testFactored(t, name, path) })
	}
}

func testFactored(t *testing.T, name, path string) {
	f, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := configOf(t, f)
	ids := []int32{0, 17, 7999, 512, 511, 100, 3, 3, 250, 4640}
	want := floatLogits(t, f, c, ids)
	settings := []setting{{plan.A, 2}, {plan.A, 1}, {plan.B, 2}}
	if name != "random" { // whose two slots would take as much as its three layers
		settings = append(settings, setting{plan.C, 2}, setting{plan.C, 1})
	}
	for i, got := range inRegimes(t, path, ids, settings...) {
		// Int8 activations are all that differs.
		if e := distance(got, want[i]); !(e < 0.06) {
			t.Errorf("logits of token %d are %.4f off the float32 model's", i, e)
		}
	}
}

// distance is the relative error of a.
func distance(a, b []float32) float64 {
	var diff, norm float64
	for i, v := range a {
		d := float64(v - b[i])
		diff += d * d
		norm += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(diff / norm)
}

// openRegime opens a file with the least memory that leads to a regime, about.
// What the process takes changes from one moment to the next, so it searches.
func openRegime(t *testing.T, path string, o engine.Options, want plan.Regime) *engine.Model {
	t.Helper()
	p, err := engine.Plan(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	// What the process takes changes from one plan to the next.
	first, last, step := p.MinBudget-12<<20, p.ResidentBudget+24<<20, int64(128<<10)
	if want != plan.C {
		o.Coded = want == plan.B
		first, last, step = p.UnpackedBudget+1<<30, p.UnpackedBudget+2<<30, 512<<20
	}
	for range 3 {
		for o.RAM = first; o.RAM < last; o.RAM += step {
			if p, err = engine.Plan(context.Background(), path, o); err != nil || p.Regime != want {
				continue
			}
			m, err := engine.Open(context.Background(), path, o)
			if err == nil && m.Plan().Regime == want {
				return m
			}
			if err == nil {
				err = m.Close()
			}
			if err != nil && !errors.Is(err, plan.ErrTooSmall) {
				t.Fatal(err)
			}
		}
	}
	t.Fatalf("no budget leads to regime %v", want)
	return nil
}

// TestFactoredRefuses opens files whose checksums are right but whose factored
// tensors are not.
func TestFactoredRefuses(t *testing.T) {
	if testing.Short() {
		t.Skip("compares numbers at length; the concurrency is in other tests, too")
	}
	r, size, name := builtin.Model()
	src, err := weights.OpenReaderAt(r, size, name)
	if err != nil {
		t.Fatal(err)
	}
	c, dir := configOf(t, src), t.TempDir()
	const tensor = "layers.3.out"
	path := filepath.Join(dir, "good.lamina")
	weightstest.Copy(t, src, path, weightstest.Edit{Tensor: func(w *weights.Writer, x *weights.Tensor) bool {
		if x.Name != tensor {
			return false
		}
		factorise(t, src, w, x, c, 2) // dense and a correction, in one input or two
		return true
	}})
	good, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	for what, change := range map[string]func(x *weights.TensorInfo, s [][]byte) [][]byte{
		"sound": func(_ *weights.TensorInfo, s [][]byte) [][]byte { return s },
		"unknown to codec": func(x *weights.TensorInfo, s [][]byte) [][]byte {
			x.Codec = "lowrank9"
			return s
		},
		"other shape": func(x *weights.TensorInfo, s [][]byte) [][]byte {
			x.Cols /= 2
			x.Weights = 0
			return s
		},
		"empty description": func(_ *weights.TensorInfo, s [][]byte) [][]byte { s[0] = nil; return s },
		"description alone": func(_ *weights.TensorInfo, s [][]byte) [][]byte { return s[:1] },
		"huge rank": func(_ *weights.TensorInfo, s [][]byte) [][]byte {
			binary.LittleEndian.PutUint32(s[0][8:], 1<<31-1)
			return s
		},
		"other rank": func(_ *weights.TensorInfo, s [][]byte) [][]byte {
			binary.LittleEndian.PutUint32(s[0][8:], 64)
			return s
		},
		"chunk missing":  func(_ *weights.TensorInfo, s [][]byte) [][]byte { return s[:len(s)-1] },
		"chunk too many": func(_ *weights.TensorInfo, s [][]byte) [][]byte { return append(s, s[2]) },
		"short side":     func(_ *weights.TensorInfo, s [][]byte) [][]byte { s[1] = s[1][:20]; return s },
		"empty chunk":    func(_ *weights.TensorInfo, s [][]byte) [][]byte { s[len(s)-1] = nil; return s },
		"damaged chunk":  func(_ *weights.TensorInfo, s [][]byte) [][]byte { s[2][300] ^= 4; return s },
		"embedding": func(x *weights.TensorInfo, s [][]byte) [][]byte {
			x.Codec = decode.FactoredCodec
			return s
		},
	} {
		t.Run(what, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "bad.lamina")
			weightstest.Copy(t, good, bad, weightstest.Edit{Tensor: func(w *weights.Writer, x *weights.Tensor) bool {
				if (what == "embedding") != (x.Name == "embed") || what != "embedding" && x.Name != tensor {
					return false
				}
				info := x.TensorInfo
				s := change(&info, weightstest.Spans(t, good, x))
				if err := w.BeginTensor(info); err != nil {
					t.Fatal(err)
				}
				for _, data := range s {
					if err := w.Span(data); err != nil {
						t.Fatal(err)
					}
				}
				return true
			}})
			m, err := engine.Open(context.Background(), bad, engine.Options{Context: 64, Parallel: 1, RAM: 1 << 30})
			if err == nil {
				defer m.Close()
			}
			switch {
			case what == "sound" && err != nil:
				t.Fatal(err)
			case what != "sound" && err == nil:
				t.Error("was opened")
			case what != "sound" && !strings.Contains(err.Error(), "unit 3") && !strings.Contains(err.Error(), tensor) && !strings.Contains(err.Error(), "tensor embed"):
				t.Errorf("error %q does not say where", err)
			}
		})
	}
}
