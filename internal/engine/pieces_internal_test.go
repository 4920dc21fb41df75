package engine

import (
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// TestPieceSize shows that pieces are large enough for any model's plan.
func TestPieceSize(t *testing.T) {
	for _, c := range []struct{ units, bytes int64 }{{1, 1}, {100, 1 << 20}, {320, 100 << 20}, {4095, 1 << 30}, {4096, 1 << 20}} {
		units := make([]plan.Unit, c.units)
		for i := range units {
			units[i].CodedBytes = c.bytes
		}
		size := pieceSize(units)
		n := c.units * ((c.bytes + size - 1) / size)
		if size < 1<<20 || n > plan.MaxUnits {
			t.Errorf("%d units of %d bytes: %d pieces of %d bytes", c.units, c.bytes, n, size)
		}
	}
}

// TestCut cuts the built-in model finely: pieces hold every chunk once, in order,
// and are whole blocks of the file.
func TestCut(t *testing.T) {
	r, size, name := builtin.Model()
	f, err := loader.OpenReaderAt(r, size, name, loader.Options{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := newDraft(t.Context(), f, Options{RAM: 1 << 30}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1, 100_000, 1 << 20, 1 << 40} {
		p := &pieces{file: f, size: size}
		for i := range headUnit(d.cfg) + 1 {
			whole := &d.units[i].parts[0]
			first := len(p.all)
			p.cut(i, d.units[i])
			chunk := 0
			for k, x := range p.all[first:] {
				part := &x.unit.parts[0]
				for _, s := range part.spans {
					if s != whole.spans[chunk] {
						t.Fatalf("size %d unit %d piece %d: not the span that comes next", size, i, k)
					}
					if from := s.Off - part.base; from < 0 || from+int64(s.Len) > x.len || part.base != whole.base+x.off {
						t.Fatalf("size %d unit %d piece %d: a span that is not in it", size, i, k)
					}
					chunk++
				}
				if x.off%4096 != 0 || x.len%4096 != 0 && x.off+x.len != f.Units()[i].Bytes || x.of != i {
					t.Errorf("size %d unit %d piece %d: bytes %d to %d", size, i, k, x.off, x.off+x.len)
				}
				bands := int64(part.Bands())
				if x.len > size+2*4096 && bands > 1 {
					t.Errorf("size %d unit %d piece %d: %d bytes in %d bands", size, i, k, x.len, bands)
				}
			}
			if chunk != len(whole.spans) {
				t.Errorf("size %d unit %d: %d of %d chunks", size, i, chunk, len(whole.spans))
			}
		}
	}
}

// TestEmbedInPart looks up rows of an embedding of which every other chunk is in
// memory: they are those of the whole one. Wrong chunks make a difference.
func TestEmbedInPart(t *testing.T) {
	r, size, name := builtin.Model()
	f, err := loader.OpenReaderAt(r, size, name, loader.Options{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := newDraft(t.Context(), f, Options{RAM: 1 << 30}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	m, tensor := d.units[embedUnit(d.cfg)].parts[0].Matrix, f.Tensor("embed")
	d.size = d.work
	d.size.Batch = 1
	chunks := m.Chunks()
	w := &storedWeights{file: f, tensor: tensor, inMemory: make([][]byte, chunks),
		lookup: decode.NewCoded(m, decode.NewWorkspace(model.Serial{}, d.size))}
	ids := []int32{0, 8191, 4096, 17, 6000, 2500}
	rows := func() []float32 {
		t.Helper()
		all := make([]float32, len(ids)*d.cfg.Hidden)
		if err := w.Embed(t.Context(), all, ids); err != nil {
			t.Fatal(err)
		}
		return all
	}
	want := rows()
	for i := 0; i < chunks; i += 2 {
		s := tensor.Spans[len(tensor.Spans)-chunks+i]
		data := make([]byte, s.Len+rans.Slack)
		if err := f.ReadSpan(t.Context(), data[:s.Len], s); err != nil {
			t.Fatal(err)
		}
		w.inMemory[i] = data[:s.Len]
	}
	if !slices.Equal(rows(), want) {
		t.Error("rows differ if every other chunk is in memory")
	}
	for i := 0; i < chunks; i += 2 {
		w.inMemory[i] = w.inMemory[0] // a chunk of another place
	}
	all := make([]float32, len(want))
	if err := w.Embed(t.Context(), all, ids); chunks > 2 && err == nil && slices.Equal(all, want) {
		t.Error("what is in memory is not used")
	}
}

// TestHeadInPieces runs the model with an output head, which is the embedding, in
// memory and streamed: the logits are the same bit for bit.
func TestHeadInPieces(t *testing.T) {
	r, size, name := builtin.Model()
	ids := []int32{1, 700, 3, 8191, 5000, 3, 42}
	rows := func(m *Model) (all [][]float32) {
		t.Helper()
		defer m.Close()
		s, err := m.NewSeq(len(ids))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for _, tokens := range [][]int32{ids[:1], ids[1:]} {
			err = m.Forward(t.Context(), []llama.Seq{{Tokens: tokens, KV: s, Want: llama.All}}, func(_, _ int, l []float32) error {
				all = append(all, slices.Clone(l))
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	o := Options{Context: 256, Parallel: 1, BatchTokens: 32, Threads: 2, KV: KVQ16}
	open := func(o Options) (*Model, error) { return OpenReaderAt(t.Context(), r, size, name, o) }
	want := rows(openAs(t, plan.A, 0, o, open))
	seen := map[string]bool{}
	for extra := int64(0); extra <= 6<<20 && len(seen) < 2; extra += 1 << 20 {
		m := openAs(t, plan.C, extra, o, open)
		head, pinned := 0, 0
		for k, u := range m.plan.Units {
			if m.source.(*pieces).all[k].of != headUnit(m.cfg) {
				continue
			}
			if head++; u.Placement == plan.Pinned {
				pinned++
			}
		}
		switch {
		case head < 2:
			t.Errorf("the head is in %d pieces", head)
		case pinned == 0:
			seen["none"] = true
		case pinned == head:
			seen["all"] = true
		}
		title := m.plan.Title()
		for i, got := range rows(m) {
			if !slices.Equal(got, want[i]) {
				t.Fatalf("%s: %d of %d pieces of the head in memory: logits of token %d differ", title, pinned, head, i)
			}
		}
	}
	if len(seen) < 2 {
		t.Errorf("the head was tried in memory so: %v", seen)
	}
}
