package pack

import (
	"fmt"

	"github.com/lamina-llm/lamina/internal/source"
)

// provenance is the JSON of the section of that name.
type provenance struct {
	Source  source.Provenance `json:"source"`
	Made    string            `json:"made"`
	Method  string            `json:"method"`
	Target  float64           `json:"target_bits_per_weight,omitempty"`
	Error   float64           `json:"target_relative_error,omitempty"` // of every matrix
	Weights int64             `json:"weights"`

	Energy map[string][]float64 `json:"energy_kept,omitempty"` // of tensors in parts, for each part, before coding
}

// method says in words how the file was made.
func (p *packer) method() string {
	if r := p.opt.representation(); r != "" {
		return p.coding() + ", " + r
	}
	if e := p.opt.Error; e != 0 {
		return fmt.Sprintf("%s, every matrix at a relative error of %g", p.coding(), e)
	}
	return p.coding()
}

func (p *packer) coding() string {
	if p.opt.transforms() {
		o := *p
		o.opt.Transform = ""
		return fmt.Sprintf("%s, inputs transformed (%s)", o.coding(), p.opt.Transform)
	}
	if c := p.opt.Calibrate; c != nil {
		how := ""
		if p.opt.Drift {
			how = " with drift corrected"
		}
		if t := p.opt.Tune; t != nil {
			how = fmt.Sprintf(", tuned on %d", t.Tokens)
		}
		return fmt.Sprintf("calibrated on %d tokens of %s%s, %v", c.Count(), c.describe(), how, p.opt.Mode)
	}
	switch {
	case p.opt.Import != nil:
		return "H.266 pictures, coded elsewhere"
	case p.opt.QP != nil:
		return fmt.Sprintf("H.266 pictures, data-free, QP %g", *p.opt.QP)
	case p.opt.Codec == VVC:
		return "H.266 pictures, data-free"
	}
	return "data-free, " + p.opt.Mode.String()
}
