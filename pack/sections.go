package pack

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lamina-llm/lamina/weights"
)

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
