// Package pack turns a source checkpoint into a .lamina file: it measures every
// matrix, finds the one quantiser step that meets the asked size, chooses
// levels by rate and distortion, codes them and writes the container.
//
// It works matrix by matrix and band by band: memory is bounded by a band of
// the widest matrix and a sample of each, never by the model. Nothing appears
// under the final name until the file is whole.
package pack

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"runtime"
	"time"

	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/source"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
	"github.com/lamina-llm/lamina/pack/quant"
	"github.com/lamina-llm/lamina/weights"
)

// ErrTarget marks a size that no quantiser step reaches.
var ErrTarget = errors.New("pack: size cannot be reached")

// Options says what to make. Exactly one of Bits, Size, Error, QP and Import is set.
type Options struct {
	Bits     float64   // whole file in bits per weight, 1 to 8
	Size     int64     // whole file in bytes
	Error    float64   // relative error of every matrix, in (0, 1): of its weights, or calibrated of its outputs
	QP       *float64  // with Codec VVC: quantisation parameter of the layers, 0 to MaxQP
	Import   *Import   // with Codec VVC: pictures that were coded elsewhere
	Codec    string    // Native, which "" means, or VVC: slow to decode, for comparison and exchange
	Mode     rans.Mode // Scalar decodes fastest; DQ is 0.15 bit per weight smaller
	Fast     bool      // probability tables that AVX-512 decodes a tenth faster, for up to a hundredth of a bit; with Scalar always
	Workers  int       // goroutines that quantise; 0 is one per processor
	Progress func(Progress)

	// Resume keeps what is finished in the folder PATH.resume until all is, and
	// goes on from what an earlier run of the same source and options left there.
	Resume bool
	Notice func(string) // takes a sentence that a user should read; nil drops it

	// Calibrate turns error feedback on; nil packs without data.
	Calibrate *Calibration

	// Statistics bounds the bytes of calibration's Gram matrices, and of what
	// becomes of them, that are held at a time; 0 is 1 GiB. If all take more, they are
	// gathered in several passes over the text and kept in a temporary file beside
	// the output. The file that is packed does not depend on it.
	Statistics int64

	// Drift has each matrix make up for what those quantised before it changed. It
	// is for dense matrices with calibration, without Resume and Transform, and takes
	// about as long as calibration again.
	Drift bool

	// Transform of the inputs of the layers' matrices; for dense matrices of the
	// native codec. "" is NoTransform.
	Transform Transformation

	// Tune trains what is not coded yet to make up for the errors of what is; nil
	// does not.
	Tune *Tuning

	// Representation of the matrices of the layers; "" is Dense.
	Representation Representation
	Keep           float64    // LowRank: share of their parameters to keep, in (0, 1); or
	Tolerance      [2]float64 // LowRank: relative error of attention and of MLP matrices, in [0, 1]
	Method         Method     // LowRank: "" is ALS, or SVD without Calibrate
}

// Progress reports how far a run is. Done and Total count weights within the
// phase, over all tensors; tokens in the phases "write" and "calibrate".
type Progress struct {
	Phase  string `json:"phase"`  // "write" (if the model writes the text), "calibrate" (if asked for), "scan", "plan" (likewise), "profile" and "factor" or "choose" (if not dense), "tolerance" (if there is one), "tune" (if asked for), "encode"
	Tensor string `json:"tensor"` // tensor that was finished
	Done   int64  `json:"done"`
	Total  int64  `json:"total"`
}

// Report says what was made.
type Report struct {
	Weights int64          `json:"weights"`
	Bytes   int64          `json:"file_bytes"`
	Bits    float64        `json:"bits_per_weight"`
	Mode    string         `json:"mode"`
	Seconds float64        `json:"seconds"`
	Tensors []TensorReport `json:"tensors"`

	Resumed int `json:"resumed_tensors,omitempty"` // that an earlier run had finished

	Tolerance *[2]float64 `json:"tolerance,omitempty"` // of factored attention and MLP matrices
	Kept      float64     `json:"kept,omitempty"`      // share of the parameters of attention and MLP matrices
	Choices   []Choice    `json:"choices,omitempty"`   // Auto: what each matrix could have been
}

// TensorReport describes one coded matrix.
type TensorReport struct {
	Name   string  `json:"name"`
	Rows   int     `json:"rows"`
	Cols   int     `json:"cols"`
	Bytes  int64   `json:"bytes"`
	Bits   float64 `json:"bits_per_weight"`
	Error  float64 `json:"relative_error"`         // ||W - W'|| / ||W||, after norms were folded in
	Output float64 `json:"output_error,omitempty"` // the same of its outputs, estimated; with Options.Error and calibration
	Planes int     `json:"planes"`                 // raw, or of the window of pictures

	Ranks []PartRank `json:"ranks,omitempty"` // of the parts that are factored
}

// PartRank is a source tensor that is stored as factors.
type PartRank struct {
	Name    string `json:"name"`
	Rank    int    `json:"rank"`
	Correct bool   `json:"correction,omitempty"` // the factors correct a dense matrix
}

// Validate reports the first option that makes no sense.
func (o Options) Validate() error {
	switch {
	case o.Codec != "" && o.Codec != Native && o.Codec != VVC:
		return fmt.Errorf("pack: codec %q, want %s or %s", o.Codec, Native, VVC)
	case o.Codec != VVC && (o.QP != nil || o.Import != nil):
		return errors.New("pack: a QP and imported pictures are for the vvc codec")
	case o.Codec == VVC && o.Representation != "" && o.Representation != Dense:
		return fmt.Errorf("pack: the vvc codec codes whole matrices, not %s", o.Representation)
	case o.Codec == VVC && o.Calibrate != nil:
		return errors.New("pack: the vvc codec packs without calibration")
	case o.Transform != "" && o.Transform != NoTransform && o.Transform != Hadamard:
		return fmt.Errorf("pack: transform %q, want %s or %s", string(o.Transform), NoTransform, Hadamard)
	case o.transforms() && (o.Codec == VVC || !o.dense()):
		return errors.New("pack: a transform is for dense matrices of the native codec")
	case o.targets() != 1:
		return errors.New("pack: give either bits per weight or a size")
	case o.Error != 0 && !(o.Error > 0 && o.Error < 1):
		return fmt.Errorf("pack: tolerance %v, want more than 0 and less than 1", o.Error)
	case o.Error != 0 && (o.Codec == VVC || !o.dense()):
		return errors.New("pack: a tolerance is for dense matrices of the native codec")
	case o.QP != nil && !(*o.QP >= 0 && *o.QP <= MaxQP):
		return fmt.Errorf("pack: QP %v, want 0 to %d", *o.QP, MaxQP)
	case o.Bits != 0 && !(o.Bits >= 1 && o.Bits <= 8):
		return fmt.Errorf("pack: %v bits per weight, want 1 to 8", o.Bits)
	case o.Size < 0:
		return fmt.Errorf("pack: size %d", o.Size)
	case o.Drift && (o.Calibrate == nil || !o.dense() || o.Resume || o.transforms() || o.Error != 0):
		return errors.New("pack: drift is corrected with calibration, in dense matrices, to a size, without a transform and without resume")
	case o.Resume && o.Import != nil:
		return errors.New("pack: imported pictures need no resume")
	case o.Mode > rans.DQ:
		return fmt.Errorf("pack: mode %d", o.Mode)
	case o.Calibrate != nil && o.Calibrate.Own != nil && o.Calibrate.Tokens != nil:
		return errors.New("pack: give a calibration text or let the model write one")
	case o.Calibrate != nil && o.Calibrate.Count() < minCalibration:
		return fmt.Errorf("pack: calibration text of %d tokens, want at least %d", o.Calibrate.Count(), minCalibration)
	}
	if o.Tune != nil {
		if err := o.Tune.validate(&o); err != nil {
			return err
		}
	}
	return o.validateRepresentation()
}

// kind returns how matrices are coded.
func (o *Options) kind() quant.Kind {
	return quant.Kind{Mode: o.Mode, Even: o.Fast || o.Mode == rans.Scalar}
}

// targets counts what says how large the file becomes.
func (o *Options) targets() (n int) {
	for _, set := range []bool{o.Bits != 0, o.Size != 0, o.Error != 0, o.QP != nil, o.Import != nil} {
		if set {
			n++
		}
	}
	return n
}

// packer is one run.
type packer struct {
	src     *source.Source
	cfg     llama.Config
	opt     Options
	mats    []*matrix
	weights int64 // of the source model
	imports *importedPlanes
	from    source.Provenance
	journal *journal                  // nil keeps nothing
	park    *park                     // nil holds all statistics
	gamma   [][fisher.Kinds][]float32 // what tokens weigh, with Drift

	norms map[string][]float32 // tuned, by their names in the source
}

// newPacker lists what there is to do; o is valid.
func newPacker(src *source.Source, o Options) (p *packer, err error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Statistics <= 0 {
		o.Statistics = maxGrams
	}
	p = &packer{src: src, cfg: src.Config(), opt: o}
	for _, t := range src.Tensors() {
		p.weights += int64(t.Rows) * int64(t.Cols)
	}
	if p.mats, err = p.matrices(); err == nil {
		p.transform()
	}
	if err == nil && o.Import != nil {
		p.imports, err = o.Import.open(p.mats)
	}
	return p, err
}

// Run packs src into a new file at path.
func Run(ctx context.Context, src *source.Source, path string, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	p, err := newPacker(src, o)
	if err != nil {
		return nil, err
	}
	if p.from, err = src.Provenance(ctx, true, nil); err != nil {
		return nil, err
	}
	if o.Resume {
		if err := p.resume(path); err != nil {
			return nil, err
		}
		defer p.journal.close()
	}
	if o.Calibrate != nil {
		if err := p.openPark(path); err != nil {
			return nil, fmt.Errorf("pack: calibrate: %w", err)
		}
		defer p.park.close()
	}
	if o.Calibrate != nil && (p.journal == nil || !p.journal.loadStatistics(p.mats, p.park)) {
		if err := p.writeText(ctx); err != nil {
			return nil, err
		}
		if err := p.calibrate(ctx); err != nil {
			return nil, err
		}
		if p.journal != nil {
			if err := p.journal.saveStatistics(p.mats); err != nil {
				return nil, fmt.Errorf("pack: resume: %w", err)
			}
		}
	}
	if err := p.scan(ctx); err != nil {
		return nil, err
	}
	if o.Calibrate != nil {
		if err := p.plan(ctx); err != nil {
			return nil, err
		}
	}
	target := o.Size
	if o.Bits != 0 {
		target = int64(o.Bits * float64(p.weights) / 8)
	}
	w, err := weights.Create(path)
	if err != nil {
		return nil, err
	}
	r, err := p.write(ctx, w, target)
	if err != nil {
		w.Abort()
		return nil, err
	}
	if p.journal != nil {
		p.journal.remove()
	}
	r.Seconds = time.Since(start).Seconds()
	return r, nil
}

// resume opens the journal.
func (p *packer) resume(path string) error {
	run, err := p.runKey(p.from)
	if err != nil {
		return err
	}
	j, note, err := openJournal(path, run)
	if err != nil {
		return err
	}
	if note != "" && p.opt.Notice != nil {
		p.opt.Notice(note)
	}
	p.journal = j
	return nil
}

// write encodes everything into w and commits it.
func (p *packer) write(ctx context.Context, w *weights.Writer, target int64) (*Report, error) {
	sections, overhead, err := p.sections()
	if err != nil {
		return nil, err
	}
	r := &Report{Weights: p.weights, Mode: p.opt.Mode.String()}
	before := p.spans()
	if err := p.represent(ctx, r, target-overhead-provenanceRoom); err != nil {
		return nil, err
	}
	prov, err := p.provenance(target)
	if err != nil {
		return nil, err
	}
	for _, s := range append(sections, section{"provenance", prov}) {
		if err := w.Section(s.name, s.data); err != nil {
			return nil, err
		}
	}
	// Whole rooms: words about how must not change what comes out.
	overhead += (int64(len(prov)) + provenanceRoom - 1) / provenanceRoom * provenanceRoom
	overhead += (p.spans() - before) * spanOverhead
	if p.opt.Codec == VVC {
		r.Mode = VVC
	}
	var step float64
	switch {
	case p.opt.Error != 0:
		if err := p.tolerate(ctx); err != nil {
			return nil, err
		}
		step = 1
	case p.opt.QP != nil:
		step = QPStep(*p.opt.QP)
	case p.opt.Import == nil:
		if step, err = p.solve(p.mats, target-overhead, 0.5); err != nil {
			return nil, err
		}
	}
	var ahead map[*matrix]*coded
	if p.opt.Tune != nil {
		if ahead, err = p.tuned(ctx, step, float64(target-overhead)*8/float64(p.weights)); err != nil {
			return nil, err
		}
	}
	var done, spent int64
	next := 0
	group, groupEnd := step, 0 // of matrices that are quantised together
	restored := []journalEntry(nil)
	if p.journal != nil {
		restored = p.journal.restored
	}
	finished := func(m *matrix, t *TensorReport) {
		r.Tensors = append(r.Tensors, *t)
		spent += t.Bytes
		done += m.weights()
		next++
		p.opt.Progress(Progress{"encode", m.name, done, p.matrixWeights()})
	}
	var follow *drift
	if p.opt.Drift {
		if follow, err = p.newDrift(); err != nil {
			return nil, fmt.Errorf("pack: drift: %w", err)
		}
	}
	out := tensorWriter(w)
	encode := func(role string) error {
		m := p.mats[next]
		if next < len(restored) {
			e := &restored[next]
			if e.Info.Name != m.name {
				return fmt.Errorf("pack: resume: the journal has tensor %s, want %s; remove %s", e.Info.Name, m.name, p.journal.dir)
			}
			if err := p.journal.replay(w, e); err != nil {
				return fmt.Errorf("pack: resume: %s: %w", m.name, err)
			}
			step, group, groupEnd = e.State.Step, e.State.Group, e.State.End
			m.parted = nil
			r.Resumed++
			finished(m, &e.Report)
			return nil
		}
		if p.journal != nil {
			out = p.journal.record(w)
		}
		var t *TensorReport
		var err error
		if m.parted != nil {
			t, err = p.encodeParted(ctx, out, m, role, m.step(step))
			m.parted = nil // its factors are in memory
		} else if m.pictures != nil {
			t, err = p.encodePictures(ctx, out, m, role, m.step(step))
		} else if m.feedback == nil {
			t, err = p.encode(ctx, out, m, role, m.step(step))
		} else {
			if ahead[m] == nil {
				own := step
				if next < groupEnd {
					own = group
				}
				if follow != nil {
					if err := follow.correct(ctx, next, m); err != nil {
						return fmt.Errorf("pack: %s: drift: %w", m.name, err)
					}
				}
				if ahead, err = p.layerAhead(ctx, []*matrix{m}, own); err != nil {
					return err
				}
			}
			c := ahead[m]
			delete(ahead, m)
			t, err = c.report, c.write(out, m, role)
			if err == nil && follow != nil {
				err = follow.follow(next, m, c)
			}
		}
		if err != nil {
			return fmt.Errorf("pack: %s: %w", m.name, err)
		}
		t.Output = m.output
		finished(m, t)
		// What sampling misjudged so far is made up for by the matrices left.
		if left := p.mats[next:]; len(left) > 0 && target > 0 && p.opt.Tune == nil {
			if s, err := p.solve(left, target-overhead-spent, step); err == nil {
				step = min(max(s, step*0.97), step*1.03)
			}
		}
		if rec, ok := out.(*keeper); ok {
			if err := rec.finish(t, writeState{step, group, groupEnd}); err != nil {
				return fmt.Errorf("pack: resume: %w", err)
			}
		}
		return nil
	}
	unit := func(name string) error { return w.BeginUnit(name) }
	if err := errors.Join(unit("embed"), encode("embedding")); err != nil {
		return nil, err
	}
	for i := range p.cfg.Layers {
		if err := unit(fmt.Sprintf("layers.%d", i)); err != nil {
			return nil, err
		}
		if follow == nil && p.opt.Tune == nil && p.mats[next].feedback != nil && next >= max(groupEnd, len(restored)) {
			more := 4 * min(max(1, p.opt.Workers/4), p.cfg.Layers-i)
			group, groupEnd = step, next+more
			if ahead, err = p.layerAhead(ctx, p.mats[next:next+more], step); err != nil {
				return nil, err
			}
		}
		for k, norm := range [4]string{"attn_norm", "", "ffn_norm", ""} {
			if norm != "" {
				if err := p.vector(w, fmt.Sprintf("layers.%d.%s", i, norm), p.mats[next].norm, 1-p.mats[next].fold); err != nil {
					return nil, err
				}
			}
			if err := encode("linear"); err != nil {
				return nil, fmt.Errorf("matrix %d of layer %d: %w", k, i, err)
			}
		}
	}
	if err := unit("head"); err != nil {
		return nil, err
	}
	if err := p.vector(w, "norm", "model.norm.weight", 1); err != nil {
		return nil, err
	}
	if !p.cfg.Tied {
		if err := encode("head"); err != nil {
			return nil, err
		}
	}
	if err := w.Commit(); err != nil {
		return nil, err
	}
	r.Bytes = w.Size()
	r.Bits = float64(r.Bytes) * 8 / float64(p.weights)
	return r, nil
}

// section is a named blob of the file.
type section struct {
	name string
	data []byte
}

// provenanceRoom is what the section provenance takes, or a multiple.
const provenanceRoom = 1024

// provenance returns the section of that name.
func (p *packer) provenance(target int64) ([]byte, error) {
	from := provenance{
		Source: p.from, Made: time.Now().UTC().Format(time.RFC3339), Method: p.method(),
		Target: float64(target) * 8 / float64(p.weights), Error: p.opt.Error, Weights: p.weights,
	}
	for _, m := range p.mats {
		if m.parted == nil {
			continue
		}
		if from.Energy == nil {
			from.Energy = map[string][]float64{}
		}
		from.Energy[m.name] = m.parted.energy
	}
	return json.Marshal(from)
}

// sections returns the sections but for the provenance, and what the file takes
// beside that and the matrices, directory and padding included (estimated).
func (p *packer) sections() (list []section, total int64, err error) {
	cfg, err := json.Marshal(p.cfg)
	if err != nil {
		return nil, 0, err
	}
	tok, err := p.src.Tokenizer()
	if err != nil {
		return nil, 0, err
	}
	tokenizer, err := tok.MarshalBinary()
	if err != nil {
		return nil, 0, err
	}
	sampling, err := json.Marshal(p.src.Sampling())
	if err != nil {
		return nil, 0, err
	}
	for _, s := range []section{
		{"config", cfg}, {"tokenizer", tokenizer}, {"chat_template", []byte(p.src.ChatTemplate())}, {"generation", sampling},
	} {
		if len(s.data) > 0 {
			list = append(list, s)
			total += int64(len(s.data))
		}
	}
	norms := int64(1 + 2*p.cfg.Layers)
	total += norms * (int64(p.cfg.Hidden)*4 + 100) // with their directory entries
	total += 4096                                  // the first page holds the header
	total += int64(p.cfg.Layers+2) * 2048          // units start on pages: half a page lost each
	for _, m := range p.mats {
		total += int64(40+len(m.name)) + int64(1+m.chunks())*spanOverhead // directory entry; spans start on 64 bytes
	}
	return list, total, nil
}

// spanOverhead is what a span takes beside its bytes: its directory entry, and
// half of 64 bytes, on which it starts.
const spanOverhead = 8 + 32

// spans returns the number of spans of the matrices.
func (p *packer) spans() (n int64) {
	for _, m := range p.mats {
		n += int64(1 + m.chunks())
	}
	return n
}

// vector writes a one-row tensor as float32; with a power below 1, that power of
// its magnitudes (the signs are where the rest went).
func (p *packer) vector(w *weights.Writer, name, from string, power float64) error {
	t, ok := p.src.Tensor(from)
	if !ok {
		return fmt.Errorf("pack: no tensor %s", from)
	}
	v := make([]float32, t.Rows*t.Cols)
	if err := p.src.ReadRows(from, 0, t.Rows, v); err != nil {
		return err
	}
	if tuned := p.norms[from]; tuned != nil {
		copy(v, tuned)
	}
	for i, x := range v {
		if x-x != 0 {
			return fmt.Errorf("pack: %s: element %d is %v", from, i, x)
		}
		if power != 1 {
			v[i] = float32(math.Pow(math.Abs(float64(x)), power))
		}
	}
	buf := make([]byte, 0, 4*len(v))
	for _, x := range v {
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(x))
	}
	err := w.BeginTensor(weights.TensorInfo{Name: name, Role: "norm", Codec: "f32", Rows: 1, Cols: len(v), Weights: int64(len(v))})
	return errors.Join(err, w.Span(buf))
}
