package llama

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/model"
)

// tinyModel is one variant of testdata/tiny.json, which make_golden.py made
// with Hugging Face transformers.
type tinyModel struct {
	Name   string          `json:"name"`
	Raw    json.RawMessage `json:"config"`
	IDs    []int32         `json:"ids"`
	Rates  []float32       `json:"inverse_frequencies"`
	config Config
	rows   [][]float32 // logits after tokens every-1, 2*every-1, ...
	every  int
}

func tinyModels(t testing.TB) []tinyModel {
	t.Helper()
	var g struct {
		Every    int         `json:"every"`
		Variants []tinyModel `json:"variants"`
	}
	data, err := os.ReadFile("testdata/tiny.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	data, err = os.ReadFile("testdata/tiny.f32")
	if err != nil {
		t.Fatal(err)
	}
	logits := make([]float32, len(data)/4)
	for i := range logits {
		logits[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	for i := range g.Variants {
		v := &g.Variants[i]
		if v.config, err = ParseConfig(v.Raw); err != nil {
			t.Fatal(err)
		}
		v.every = g.Every
		for range len(v.IDs) / g.Every {
			v.rows = append(v.rows, logits[:v.config.Vocab])
			logits = logits[v.config.Vocab:]
		}
	}
	if len(logits) != 0 {
		t.Fatalf("testdata/tiny.f32 has %d elements too many", len(logits))
	}
	return g.Variants
}

// read generates the rows of a tensor as make_golden.py describes.
func (v *tinyModel) read(name string, row0, rows int, dst []float32) error {
	seed := uint64(0xcbf29ce484222325)
	for _, b := range []byte(v.Name + "/" + name) {
		seed = (seed ^ uint64(b)) * 0x100000001b3
	}
	cols := len(dst) / rows
	scale := float32(1.5 * math.Sqrt(3/float64(cols)))
	for i := range dst {
		z := seed + uint64(row0*cols+i+1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		u := float32((z^z>>31)>>40)*0x1p-23 - 1
		if dst[i] = u * scale; name == "model.norm.weight" || len(name) > 16 && name[len(name)-16:] == "layernorm.weight" {
			dst[i] = 1 + u*0.5
		}
	}
	return nil
}

func (v *tinyModel) weights(t testing.TB, pool model.Pool, stream bool) *FloatWeights {
	t.Helper()
	w, err := NewFloatWeights(t.Context(), v.config, v.read, pool, stream)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// Bounds of the logit error of float32 against float64, where logits reach 6.
// A query, key, value or weight that float32 rounds to the other side of a tie moves
// single logits by some 1e-4; the rest is 1e-5.
const (
	tinyWorst = 2e-3
	tinyRMS   = 2.5e-4
)

func TestTinyGolden(t *testing.T) {
	for _, v := range tinyModels(t) {
		cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
			m := newModel(t, v.config, v.weights(t, model.Serial{}, false), model.Serial{}, Options{})
			got := forward(t, m, newSeq(t, v.config, len(v.IDs), 0), v.IDs, All)
			if len(got) != len(v.IDs) {
				t.Fatalf("%s: %d rows of logits for %d tokens", v.Name, len(got), len(v.IDs))
			}
			worst, sum := 0.0, 0.0
			for i, want := range v.rows {
				for j, l := range got[(i+1)*v.every-1] {
					d := math.Abs(float64(l - want[j]))
					worst, sum = max(worst, d), sum+d*d // max keeps a NaN
				}
			}
			rms := math.Sqrt(sum / float64(len(v.rows)*v.config.Vocab))
			t.Logf("%s: logit error %.2g, largest %.2g", v.Name, rms, worst)
			if !(worst <= tinyWorst) || !(rms <= tinyRMS) {
				t.Errorf("%s: logit error %g, largest %g, want at most %g and %g", v.Name, rms, worst, tinyRMS, tinyWorst)
			}
		})
	}
}

// TestInverseFrequencies compares RoPE's rates with those of transformers,
// which differ by the last place of torch's float32 power at most.
func TestInverseFrequencies(t *testing.T) {
	for _, v := range tinyModels(t) {
		got := v.config.InverseFrequencies()
		if len(got) != len(v.Rates) {
			t.Fatalf("%s: %d rates, want %d", v.Name, len(got), len(v.Rates))
		}
		for i, want := range v.Rates {
			if d := math.Abs(float64(got[i] - want)); d > 2*0x1p-24*float64(want) {
				t.Errorf("%s: rate %d is %v, want %v", v.Name, i, got[i], want)
			}
		}
	}
}

// TestBatchInvariance runs the same sequences one by one and in mixed batches,
// in whole and in chunks, serially and in parallel, with short and long pages
// of logits: all must agree bit for bit.
func TestBatchInvariance(t *testing.T) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, v := range tinyModels(t) {
			c, n := v.config, len(v.IDs)
			prompts := [][]int32{v.IDs, v.IDs[1:34], v.IDs[5:6], v.IDs[30:62]}
			single := newModel(t, c, v.weights(t, model.Serial{}, false), model.Serial{}, Options{})
			var want [][][]float32
			for _, p := range prompts {
				want = append(want, forward(t, single, newSeq(t, c, n, 0), p, All))
			}
			for _, chunk := range []int{1, 3, 7, 32, 33} {
				pool := workers(1 + chunk%4)
				m := newModel(t, c, v.weights(t, pool, chunk == 7), pool, Options{MaxBatchTokens: 4 * 33, LogitRows: chunk})
				var batch []Seq
				done := make([]int, len(prompts))
				for range prompts {
					batch = append(batch, Seq{KV: newSeq(t, c, n, 0), Want: All})
				}
				for busy := true; busy; {
					busy = false
					var step []Seq
					var who, from []int
					for i, p := range prompts {
						// sequence i starts i steps late, so that chunks meet decoding
						k := min(chunk+i, 33, len(p)-done[i])
						if k == 0 {
							continue
						}
						busy = true
						batch[i].Tokens = p[done[i] : done[i]+k]
						step, who, from = append(step, batch[i]), append(who, i), append(from, done[i])
						done[i] += k
					}
					err := m.Forward(t.Context(), step, func(seq, token int, logits []float32) error {
						for j, l := range logits {
							if w := want[who[seq]][from[seq]+token][j]; math.Float32bits(l) != math.Float32bits(w) {
								return fmt.Errorf("sequence %d token %d logit %d is %v, alone it is %v", who[seq], from[seq]+token, j, l, w)
							}
						}
						return nil
					})
					if err != nil {
						t.Fatalf("%s, chunks of %d: %v", v.Name, chunk, err)
					}
				}
			}
		}
	})
}

// TestRewind checks that truncating a cache and going on, and forking a prefix,
// give the bits of a fresh run.
func TestRewind(t *testing.T) {
	v := tinyModels(t)[0]
	m := newModel(t, v.config, v.weights(t, model.Serial{}, false), model.Serial{}, Options{})
	want := forward(t, m, newSeq(t, v.config, 80, 0), v.IDs, All)
	same := func(what string, got, want []float32) {
		t.Helper()
		for i := range want {
			if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
				t.Fatalf("%s: logit %d is %v, want %v", what, i, got[i], want[i])
			}
		}
	}
	s := newSeq(t, v.config, 160, 0)
	forward(t, m, s, v.IDs[:40], None)
	forward(t, m, s, []int32{9, 9, 9, 9, 9}, None)
	if err := s.Truncate(40); err != nil {
		t.Fatal(err)
	}
	same("after a rewind", forward(t, m, s, v.IDs[40:], Last)[0], want[len(want)-1])
	s.Trim() // the pool holds 160 tokens in all
	fork, err := s.Fork(50, 80)
	if err != nil {
		t.Fatal(err)
	}
	same("after a fork", forward(t, m, fork, v.IDs[50:], Last)[0], want[len(want)-1])
}
