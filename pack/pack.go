// Package pack turns a source checkpoint into a .lamina file: it measures every
// matrix, finds the one quantiser step that meets the asked size, chooses
// levels by rate and distortion, codes them and writes the container.
//
// It works matrix by matrix and band by band: without calibration memory is
// bounded by a band of the widest matrix and a sample of each, never by the
// model. Calibration adds a layer, the head and statistics in float32, of which
// Options.Statistics bounds what is held at a time; tuning holds
// the model, factoring all factors. Nothing appears under the final name until the file is whole.
package pack

import (
	"context"
	"errors"
	"fmt"
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
		if ahead, err = p.tuned(ctx, step, target-overhead); err != nil {
			return nil, err
		}
	}
	f := &writing{p: p, w: w, report: r, target: target, room: target - overhead, step: step, group: step, ahead: ahead}
	if p.journal != nil {
		f.restored = p.journal.restored
	}
	if p.opt.Drift {
		if f.drift, err = p.newDrift(); err != nil {
			return nil, fmt.Errorf("pack: drift: %w", err)
		}
	}
	if err := f.units(ctx); err != nil {
		return nil, err
	}
	if err := w.Commit(); err != nil {
		return nil, err
	}
	r.Bytes = w.Size()
	r.Bits = float64(r.Bytes) * 8 / float64(p.weights)
	return r, nil
}
