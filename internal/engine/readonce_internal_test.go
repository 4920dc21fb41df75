package engine

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// TestReadOnce streams a model from a file and counts: every pass reads the
// bytes of the streamed units once, to the byte, and, where the system tells
// what it read from the disk, hardly more there.
func TestReadOnce(t *testing.T) {
	r, size, _ := builtin.Model()
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.lamina")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open(path); err == nil { // so that nothing is written later
		_ = f.Sync()
		f.Close()
	}
	for _, extra := range []int64{0, 2 << 20} {
		m := openStreamed(t, path, extra)
		used := func() int64 { // what was read, less what is there for the next pass
			st := m.store.Stats()
			return int64(st.BytesRead) - st.Ahead
		}
		seq, err := m.NewSeq(64)
		if err != nil {
			t.Fatal(err)
		}
		before, disk := used(), diskReads()
		passes := int64(0)
		for _, tokens := range [][]int32{{1, 2, 3, 4, 5}, {6}, {7}, {8}, {9}, {10}, {11}, {12}} {
			err := m.Forward(t.Context(), []llama.Seq{{Tokens: tokens, KV: seq, Want: llama.Last}}, func(int, int, []float32) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			passes++
		}
		seq.Close()
		want := passes * m.plan.PerPass
		if got := used() - before; got != want {
			t.Errorf("%s: %d passes read %d bytes, %d are streamed", m.plan.Title(), passes, got, want)
		}
		// A temporary folder in memory reads nothing; units are read ahead, whole blocks are read of the
		// last piece of a unit, a chunk of the embedding for a token's row if it is
		// not resident, and whatever of the program was not in memory yet.
		if got := diskReads() - disk; disk >= 0 {
			t.Logf("%s: %d bytes from the disk, %d are streamed", m.plan.Title(), got, want)
			chunk := 0
			for _, s := range m.file.Tensor("embed").Spans[1:] {
				chunk = max(chunk, s.Len)
			}
			if most := want + passes*int64(len(m.plan.Units))*4096 + int64(m.plan.Slots)*m.plan.SlotBytes + 12*int64(chunk+8192) + 1<<20; got > most {
				t.Errorf("%s: the disk was read for %d bytes, %d at most were expected of %d", m.plan.Title(), got, most, want)
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// openStreamed opens the model at path with extra bytes above the least budget.
func openStreamed(t *testing.T, path string, extra int64) *Model {
	t.Helper()
	o := Options{Context: 256, Parallel: 1, BatchTokens: 32, Threads: 2, KV: KVQ16}
	return openAs(t, plan.C, extra, o, func(o Options) (*Model, error) { return Open(t.Context(), path, o) })
}

// openAs opens a model in a regime, with extra bytes above the budget that first
// leads to it. What the process itself takes changes from one try to the next, by
// megabytes under the race detector.
func openAs(t *testing.T, want plan.Regime, extra int64, o Options, open func(Options) (*Model, error)) *Model {
	t.Helper()
	try := func() *Model {
		m, err := open(o)
		if errors.Is(err, plan.ErrTooSmall) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := try()
	if m == nil {
		t.Fatal("the model does not open without a budget")
	}
	for range 3 {
		first := m.plan.MinBudget - 8<<20
		for above := int64(0); above < 24<<20; above += 512 << 10 {
			if m != nil {
				if m.plan.Regime == want {
					return m
				}
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
			}
			o.RAM = first + above
			if m = try(); m != nil && m.plan.Regime == want && extra > 0 {
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				o.RAM += extra
				m = try()
			}
		}
		o.RAM = 0
		if m == nil {
			m = try()
		}
	}
	t.Fatalf("no budget leads to regime %v", want)
	return nil
}

// diskReads returns the bytes that this process made the system read from block
// devices, or -1 where it does not tell.
func diskReads() int64 {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "read_bytes: "); ok {
			v, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			if err == nil {
				return v
			}
		}
	}
	return -1
}
