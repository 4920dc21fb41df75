package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/weights"
)

// showFactored describes a tensor of codec "lowrank1".
type showFactored struct {
	Parts []showPart `json:"parts"`
	// MultiplyAdds is what a product with one vector takes, Saved how many less
	// than with the matrix multiplied out. That would take SavedBytes more at
	// the same bits per coded element. Both are negative where parts cost more.
	MultiplyAdds      int64 `json:"multiply_adds"`
	SavedMultiplyAdds int64 `json:"saved_multiply_adds"`
	SavedBytes        int64 `json:"saved_bytes"`
}

// showPart is one part of a factored tensor.
type showPart struct {
	Rows  int  `json:"rows"`
	Rank  int  `json:"rank,omitempty"`  // 0 is no factors
	Dense bool `json:"dense,omitempty"` // a dense matrix, beside factors if there are any
	// Energy is 1 - ||W - W'||^2 / ||W||^2 of what the factors were made for,
	// before coding, if the file's provenance has it.
	Energy float64 `json:"energy_kept,omitempty"`
}

// factorsOf reads the description of a tensor of codec "lowrank1".
func factorsOf(f *weights.File, t *weights.Tensor) (*decode.Factors, error) {
	head := make([]byte, t.Spans[0].Len)
	if err := f.ReadSpan(head, t.Spans[0]); err != nil {
		return nil, err
	}
	return decode.ParseFactors(t.Rows, t.Cols, head)
}

// describeFactored is describe for a tensor in parts.
func describeFactored(f *weights.File, t *weights.Tensor) (*showFactored, error) {
	l, err := factorsOf(f, t)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %s: %w", f.Name(), t.Name, err)
	}
	dense := int64(t.Rows) * int64(t.Cols)
	s := &showFactored{MultiplyAdds: l.MultiplyAdds()}
	s.SavedMultiplyAdds = dense - s.MultiplyAdds
	s.SavedBytes = int64(float64(t.Bytes()) * float64(s.SavedMultiplyAdds) / float64(s.MultiplyAdds))
	for _, p := range l.Parts {
		s.Parts = append(s.Parts, showPart{Rows: p.Rows, Rank: p.Rank, Dense: p.Dense >= 0})
	}
	return s, nil
}

// readEnergy takes over what the provenance says of factored tensors.
func (r *showReport) readEnergy() error {
	var p struct {
		Energy map[string][]float64 `json:"energy_kept"`
	}
	if len(r.Provenance) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Provenance, &p); err != nil {
		return fmt.Errorf("%s: provenance: %w", r.Path, err)
	}
	for _, t := range r.Tensors {
		if t.Factored == nil {
			continue
		}
		for i, e := range p.Energy[t.Name] {
			if i < len(t.Factored.Parts) {
				t.Factored.Parts[i].Energy = e
			}
		}
	}
	return nil
}

// ranks names the parts: "dense", a rank, or both.
func (s *showFactored) ranks() string {
	var out []string
	for _, p := range s.Parts {
		switch {
		case p.Rank == 0:
			out = append(out, "dense")
		case p.Dense:
			out = append(out, fmt.Sprintf("dense + %d", p.Rank))
		default:
			out = append(out, fmt.Sprint(p.Rank))
		}
	}
	return strings.Join(out, ", ")
}

// factoredTable returns the rows of the table of factored tensors, or nothing.
func (r *showReport) factoredTable() [][]string {
	rows := [][]string{{"tensor in parts", "ranks", "energy kept", "multiply-adds", "saved", "bytes saved"}}
	for _, t := range r.Tensors {
		s := t.Factored
		if s == nil {
			continue
		}
		var kept []string
		for _, p := range s.Parts {
			switch {
			case p.Energy != 0:
				kept = append(kept, fmt.Sprintf("%.4f", p.Energy))
			case p.Rank == 0:
				kept = append(kept, "1")
			default:
				kept = append(kept, "?")
			}
		}
		rows = append(rows, []string{
			t.Name, s.ranks(), strings.Join(kept, ", "), fmt.Sprint(s.MultiplyAdds),
			fmt.Sprintf("%.1f %%", 100*float64(s.SavedMultiplyAdds)/float64(s.MultiplyAdds+s.SavedMultiplyAdds)), fmt.Sprint(s.SavedBytes),
		})
	}
	if len(rows) == 1 {
		return nil
	}
	return rows
}
