package pack

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/atomicfile"
	"github.com/lamina-llm/lamina/pack/tune"
)

// tuningState is what the phases of tuning take over from those before.
type tuningState struct {
	Phases   int // that are over
	Steps    int // of learning
	Weights  [][]float32
	Norms    [][]float32
	Matrices []stagedState
}

// stagedState is what a matrix has of it.
type stagedState struct {
	Bands  []levelState
	Counts [][]counts
	Codes  []uint8 // of column scales
	Bits   uint8
	Exact  []float64
	Expect []float64
}

// levelState are the levels of a band.
type levelState struct {
	Panel    int
	Index    [][]uint8
	Outliers [][]rans.Outlier
}

// tuningStateOf takes slices over, not copies.
func tuningStateOf(student *tune.Student, all []*staged, phases, steps int) *tuningState {
	t := &tuningState{Phases: phases, Steps: steps, Norms: [][]float32{student.Norm}}
	for _, l := range student.Layers {
		t.Norms = append(t.Norms, l.AttnNorm, l.FFNNorm)
	}
	for _, s := range all {
		t.Weights = append(t.Weights, s.m.values)
		x := stagedState{Counts: s.counts, Codes: s.m.feedback.col.Code, Bits: s.m.feedback.col.Bits, Exact: s.exact, Expect: s.expect}
		for _, b := range s.bands {
			x.Bands = append(x.Bands, levelState{b.panel, b.index, b.outliers})
		}
		t.Matrices = append(t.Matrices, x)
	}
	return t
}

// restore gives a student and its matrices what t holds; it reports false, and
// changes nothing, if that is not of their shape.
func (t *tuningState) restore(student *tune.Student, all []*staged) bool {
	now := tuningStateOf(student, all, 0, 0)
	same := func(a, b [][]float32) bool {
		return slices.EqualFunc(a, b, func(x, y []float32) bool { return len(x) == len(y) })
	}
	if t.Phases < 1 || t.Phases > tunePhases || t.Steps < 0 || !same(t.Weights, now.Weights) || !same(t.Norms, now.Norms) || len(t.Matrices) != len(all) {
		return false
	}
	for i, x := range t.Matrices {
		n := now.Matrices[i]
		if len(x.Bands) != len(n.Bands) || len(x.Counts) != len(n.Counts) || len(x.Codes) != len(n.Codes) || len(x.Exact) != len(n.Exact) || len(x.Expect) != len(n.Expect) {
			return false
		}
		for k, b := range x.Bands {
			if len(x.Counts[k]) != len(n.Counts[k]) || len(b.Outliers) != len(n.Bands[k].Outliers) ||
				!slices.EqualFunc(b.Index, n.Bands[k].Index, func(x, y []uint8) bool { return len(x) == len(y) }) {
				return false
			}
		}
	}
	for i := range t.Weights {
		copy(now.Weights[i], t.Weights[i])
	}
	for i := range t.Norms {
		copy(now.Norms[i], t.Norms[i])
	}
	for i, x := range t.Matrices {
		s := all[i]
		f := s.m.feedback
		s.counts, s.exact, s.expect = x.Counts, x.Exact, x.Expect
		f.col.Code, f.col.Bits = x.Codes, x.Bits
		for k, j := range f.perm {
			f.scale[k] = f.col.Value(j)
		}
		for k, b := range x.Bands {
			s.bands[k].panel, s.bands[k].index, s.bands[k].outliers = b.Panel, b.Index, b.Outliers
		}
	}
	return true
}

// saveTuning keeps what the phases so far made.
func (j *journal) saveTuning(t *tuningState) error {
	return atomicfile.Write(filepath.Join(j.dir, journalTuning), 0o644, func(w io.Writer) error {
		sum := sha256.New()
		if err := gob.NewEncoder(io.MultiWriter(w, sum)).Encode(t); err != nil {
			return err
		}
		_, err := w.Write(sum.Sum(nil))
		return err
	})
}

// loadTuning returns what saveTuning kept, or nil if there is nothing whole.
func (j *journal) loadTuning() *tuningState {
	f, err := os.Open(filepath.Join(j.dir, journalTuning))
	if err != nil {
		return nil
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() < sha256.Size {
		return nil
	}
	// The hash first: nothing is decoded that was not written whole.
	size := st.Size() - sha256.Size
	sum, want := sha256.New(), make([]byte, sha256.Size)
	if _, err = io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return nil
	}
	if _, err = f.ReadAt(want, size); err != nil || !bytes.Equal(sum.Sum(nil), want) {
		return nil
	}
	t := new(tuningState)
	if gob.NewDecoder(bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 1<<20)).Decode(t) != nil {
		return nil
	}
	return t
}
