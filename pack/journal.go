package pack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/lamina-llm/lamina/internal/atomicfile"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/weights"
)

// tensorWriter takes tensors; *weights.Writer is one.
type tensorWriter interface {
	BeginTensor(t weights.TensorInfo) error
	Span(data []byte) error
}

// Files of a journal's folder, and what the folder's name ends with.
const (
	journalSuffix     = ".resume"
	journalLog        = "journal"
	journalTensors    = "tensors"
	journalStatistics = "statistics"
	journalText       = "text"   // that the model wrote
	journalTuning     = "tuning" // after its latest phase

	journalVersion = 1
	maxJournalLog  = 64 << 20 // bytes; what lies beyond counts for nothing
)

// journal keeps what a run has finished beside its output, so that a run of
// the same source and options can go on from there: a log of one JSON object a
// line, the first of which says what the run is; the coded tensors one after
// another; the statistics of calibration. A tensor is on disk before its line is.
type journal struct {
	dir       string
	log, data *os.File
	end       int64 // of data
	restored  []journalEntry
}

// journalHead is the first line.
type journalHead struct {
	Version int    `json:"lamina_pack_journal"`
	Run     string `json:"run"` // hash of source and options
}

// journalEntry is a tensor that is finished.
type journalEntry struct {
	Info   weights.TensorInfo `json:"info"`
	Report TensorReport       `json:"report"`
	Spans  []int              `json:"spans"`  // lengths
	SHA256 string             `json:"sha256"` // of all spans
	State  writeState         `json:"state"`  // after it

	off int64
}

// writeState is what the coding of a tensor takes over from those before it.
type writeState struct {
	Step  float64 `json:"step"`
	Group float64 `json:"group_step"` // of matrices that are quantised together
	End   int     `json:"group_end"`  // matrix after them
}

// runKey identifies a run: nothing that it leaves out changes the tensors.
func (p *packer) runKey(from source.Provenance) (string, error) {
	o := p.opt
	tokens := sha256.New()
	name, own := "", (*OwnText)(nil)
	if c := o.Calibrate; c != nil {
		name, own = c.Name, c.Own
		_ = binary.Write(tokens, binary.LittleEndian, c.Tokens) // a hash takes everything
	}
	learnt := 0
	if t := o.Tune; t != nil {
		learnt = t.Tokens
		_ = binary.Write(tokens, binary.LittleEndian, t.Text)
	}
	data, err := json.Marshal([]any{
		from, o.Bits, o.Size, o.Error, o.QP, o.Codec, o.Mode, o.Fast, o.Workers, name, hex.EncodeToString(tokens.Sum(nil)), own,
		o.Representation, o.Keep, o.Tolerance, o.Method, o.Transform, learnt,
	})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

// openJournal opens the journal of the output at path for a run, or begins it. note says
// why there was one that does not count; "" if there is nothing to say.
func openJournal(path, run string) (j *journal, note string, err error) {
	j = &journal{dir: path + journalSuffix}
	fail := func(err error) (*journal, string, error) {
		j.close()
		return nil, "", fmt.Errorf("pack: resume: %w", err)
	}
	if err := os.Mkdir(j.dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fail(err)
	}
	if j.log, err = os.OpenFile(filepath.Join(j.dir, journalLog), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return fail(err)
	}
	if j.data, err = os.OpenFile(filepath.Join(j.dir, journalTensors), os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return fail(err)
	}
	size, why, err := j.read(run)
	if err != nil {
		return fail(err)
	}
	if why != "" {
		note = fmt.Sprintf("%s is not used: %s; starting anew", j.dir, why)
	}
	if size == 0 {
		for _, name := range []string{journalStatistics, journalText, journalTuning} {
			if err := os.Remove(filepath.Join(j.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fail(err)
			}
		}
	}
	if err := errors.Join(j.log.Truncate(size), j.data.Truncate(j.end)); err != nil {
		return fail(err)
	}
	if _, err := j.log.Seek(size, io.SeekStart); err != nil {
		return fail(err)
	}
	if _, err := j.data.Seek(j.end, io.SeekStart); err != nil {
		return fail(err)
	}
	if size == 0 {
		if err := j.line(journalHead{journalVersion, run}); err != nil {
			return fail(err)
		}
	}
	return j, note, nil
}

// read takes over what is whole and returns the bytes of the log up to there,
// or why nothing is.
func (j *journal) read(run string) (size int64, why string, err error) {
	r := bufio.NewReader(io.LimitReader(j.log, maxJournalLog))
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			if size == 0 && len(line) > 0 {
				why = "its log is damaged"
			}
			return size, why, nil // what a crash cut off counts for nothing
		}
		if err != nil {
			return 0, "", err
		}
		if size == 0 {
			var h journalHead
			switch {
			case json.Unmarshal(line, &h) != nil:
				return 0, "its log is damaged", nil
			case h.Version != journalVersion:
				return 0, fmt.Sprintf("it has version %d, want %d", h.Version, journalVersion), nil
			case h.Run != run:
				return 0, "it is of another source or of other options", nil
			}
		} else {
			e := journalEntry{off: j.end}
			if json.Unmarshal(line, &e) != nil || !j.whole(&e) {
				return size, "", nil
			}
			j.restored = append(j.restored, e)
			for _, n := range e.Spans {
				j.end += int64(n)
			}
		}
		size += int64(len(line))
	}
}

// whole reports whether the spans of e are there as they were written.
func (j *journal) whole(e *journalEntry) bool {
	total := int64(0)
	for _, n := range e.Spans {
		if n < 0 || n > weights.MaxSpan {
			return false
		}
		total += int64(n)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.NewSectionReader(j.data, e.off, total))
	return err == nil && n == total && hex.EncodeToString(h.Sum(nil)) == e.SHA256
}

// line appends v to the log and forces it to disk.
func (j *journal) line(v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = j.log.Write(append(data, '\n'))
	}
	return errors.Join(err, j.log.Sync())
}

// replay writes the tensor of e into w.
func (j *journal) replay(w tensorWriter, e *journalEntry) error {
	err := w.BeginTensor(e.Info)
	off := e.off
	for _, n := range e.Spans {
		if err != nil {
			break
		}
		span := make([]byte, n)
		if _, err = j.data.ReadAt(span, off); err == nil {
			err = w.Span(span)
		}
		off += int64(n)
	}
	return err
}

// keeper passes a tensor on and keeps it in the journal.
type keeper struct {
	tensorWriter
	j     *journal
	hash  hash.Hash
	entry journalEntry
}

func (j *journal) record(w tensorWriter) *keeper {
	return &keeper{tensorWriter: w, j: j, hash: sha256.New()}
}

func (r *keeper) BeginTensor(t weights.TensorInfo) error {
	r.entry.Info = t
	return r.tensorWriter.BeginTensor(t)
}

func (r *keeper) Span(data []byte) error {
	r.hash.Write(data)
	r.entry.Spans = append(r.entry.Spans, len(data))
	_, err := r.j.data.Write(data)
	return errors.Join(err, r.tensorWriter.Span(data))
}

// finish ends the tensor.
func (r *keeper) finish(report *TensorReport, state writeState) error {
	r.entry.Report, r.entry.State, r.entry.SHA256 = *report, state, hex.EncodeToString(r.hash.Sum(nil))
	if err := r.j.data.Sync(); err != nil {
		return err
	}
	return r.j.line(&r.entry)
}

// close lets go of the files; the journal stays.
func (j *journal) close() {
	for _, f := range []*os.File{j.log, j.data} {
		if f != nil {
			f.Close() // all that counts is synced
		}
	}
}

// remove ends a journal whose run is done.
func (j *journal) remove() {
	j.close()
	for _, name := range []string{journalLog, journalTensors, journalStatistics, journalText, journalTuning} {
		path := filepath.Join(j.dir, name)
		atomicfile.Clean(path)
		os.Remove(path)
	}
	os.Remove(j.dir) // stays if something else is in it
}

// saveStatistics keeps what calibration found for the matrices.
func (j *journal) saveStatistics(mats []*matrix) error {
	return atomicfile.Write(filepath.Join(j.dir, journalStatistics), 0o644, func(to io.Writer) error {
		sum := sha256.New()
		w := bufio.NewWriterSize(io.MultiWriter(to, sum), 1<<16)
		var buf []byte
		for _, m := range mats {
			release, err := m.gram.hold(context.Background())
			if err != nil {
				return err
			}
			for _, v := range m.gram.slices() {
				buf = buf[:0]
				for _, x := range v {
					buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
				}
				_, _ = w.Write(buf) // Flush returns the first error
			}
			release()
			buf = buf[:0]
			for _, x := range m.cost {
				buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(x))
			}
			_, _ = w.Write(buf)
		}
		if err := w.Flush(); err != nil {
			return err
		}
		_, err := to.Write(sum.Sum(nil))
		return err
	})
}

// loadStatistics gives the matrices what saveStatistics kept, parked if there is
// a park; ok is false if there is nothing whole.
func (j *journal) loadStatistics(mats []*matrix, k *park) (ok bool) {
	f, err := os.Open(filepath.Join(j.dir, journalStatistics))
	if err != nil {
		return false
	}
	defer f.Close()
	sum := sha256.New()
	r := io.TeeReader(bufio.NewReaderSize(f, 1<<20), sum)
	var buf []byte
	take := func(n int) []byte {
		buf = append(buf[:0], make([]byte, n)...)
		if err == nil {
			_, err = io.ReadFull(r, buf)
		}
		return buf
	}
	grams, costs := make([]*triangle, len(mats)), make([][]float64, len(mats))
	for i, m := range mats {
		grams[i], costs[i] = newTriangle(m.cols), make([]float64, m.rows)
		for _, v := range grams[i].slices() {
			for k, b := 0, take(4*len(v)); k < len(v); k++ {
				v[k] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*k:]))
			}
		}
		if err == nil {
			err = k.put(grams[i])
		}
		for k, b := 0, take(8*m.rows); k < m.rows; k++ {
			costs[i][k] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*k:]))
		}
	}
	want := sum.Sum(nil)
	if got := take(sha256.Size); err != nil || !bytes.Equal(got, want) {
		return false
	}
	for i, m := range mats {
		m.gram, m.cost = grams[i], costs[i]
	}
	return true
}

// slices returns all elements of g.
func (g *triangle) slices() [][]float32 { return slices.Concat(g.left, g.diag) }
