package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lamina-llm/lamina/decode"
	"github.com/lamina-llm/lamina/decode/planes"
	"github.com/lamina-llm/lamina/decode/rans"
	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/weights"
)

type showCmd struct {
	Path    string      `arg:"" placeholder:"PATH" help:"A .lamina file, a checkpoint (directory, .safetensors, .gguf), or what pull would download: nothing but its headers is."`
	Bits    float64     `default:"3.5" placeholder:"B" help:"Plan for what pack --bits would make of a checkpoint."`
	RAM     budget.Size `placeholder:"SIZE" help:"Plan the memory for this much of it; default: what the machine allows."`
	Context int         `placeholder:"N" help:"Plan for this many tokens of context; default: what the model and the memory allow."`
	Threads int         `help:"Plan for this many threads; 0 is one per processor."`
	KV      string      `name:"kv" default:"auto" enum:"auto,q16,f16,q8" placeholder:"FORMAT" help:"Key-value cache that the memory plan is for: q16, q8 or auto."`
	JSON    bool        `help:"Print JSON."`
}

// showReport is what show --json prints. Keys stay; others may come.
type showReport struct {
	Path    string       `json:"path"`
	Format  string       `json:"format"` // "lamina", "safetensors" or "gguf"
	Config  llama.Config `json:"config"`
	Weights int64        `json:"weights"`    // of the source model
	Bytes   int64        `json:"file_bytes"` // all files of the model
	Bits    float64      `json:"bits_per_weight"`
	KV      int64        `json:"kv_bytes_per_1000_tokens"`
	Chat    bool         `json:"chat_template"`

	Sections   []showSection   `json:"sections,omitempty"`
	Tensors    []showTensor    `json:"tensors"`
	Plan       *plan.Plan      `json:"plan,omitempty"`
	PlanError  string          `json:"plan_error,omitempty"` // why there is no plan
	PlanBits   float64         `json:"plan_bits,omitempty"`  // the plan is an estimate for a file that pack --bits would make
	Provenance json.RawMessage `json:"provenance,omitempty"`

	made string // from what and how, in words
	next string // command
}

type showSection struct {
	Name  string `json:"name"`
	Bytes int    `json:"bytes"`
}

// showTensor is one row of the table. Fields that a codec does not have are 0.
type showTensor struct {
	Name    string  `json:"name"`
	Role    string  `json:"role,omitempty"`
	Rows    int     `json:"rows"`
	Cols    int     `json:"cols"`
	Codec   string  `json:"codec"`             // "rans1", "f32", or the element type of a checkpoint
	Mode    string  `json:"mode,omitempty"`    // quantiser: "dq" or "scalar"
	Planes  int     `json:"planes,omitempty"`  // raw low bit planes
	Classes int     `json:"classes,omitempty"` // probability classes
	Chunks  int     `json:"chunks,omitempty"`
	Bytes   int64   `json:"bytes,omitempty"`
	Side    int64   `json:"side_bytes,omitempty"` // of them: scales, tables, classes, initial states, checksums
	Weights int64   `json:"weights"`
	Bits    float64 `json:"bits_per_weight,omitempty"`

	Transform *showTransform `json:"transform,omitempty"` // of its inputs

	Factored *showFactored `json:"factored,omitempty"`
}

// representation says in a word how the tensor is stored.
func (t *showTensor) representation() string {
	switch {
	case t.Codec == planes.Codec && t.Chunks == 1:
		return fmt.Sprintf("%s, 1 picture, %d bits unpacked", t.Codec, 4+t.Planes)
	case t.Codec == planes.Codec:
		return fmt.Sprintf("%s, %d pictures, %d bits unpacked", t.Codec, t.Chunks, 4+t.Planes)
	case t.Factored != nil:
		return fmt.Sprintf("%s, %s", t.Codec, t.Factored.ranks())
	case t.Mode == "":
		return t.Codec
	}
	s := fmt.Sprintf("%s %s, %d classes", t.Codec, t.Mode, t.Classes)
	if t.Classes == 1 {
		s = strings.TrimSuffix(s, "es")
	}
	if t.Planes > 0 {
		s += fmt.Sprintf(", %d raw", t.Planes)
	}
	if t.Transform != nil {
		s += fmt.Sprintf(", %s of %d", t.Transform.Kind, t.Transform.Block)
	}
	return s
}

// Run describes a model.
func (c *showCmd) Run(a *app) error {
	switch {
	case c.Context < 0:
		return usage("show", "--context %d: want 0 or more", c.Context)
	case c.Threads < 0:
		return usage("show", "--threads %d: want 0 or more", c.Threads)
	}
	var r *showReport
	var err error
	ref, remote := remoteRef(c.Path)
	switch {
	case remote:
		r, err = showRemote(a, c.Path, ref)
	case isCheckpoint(c.Path):
		r, err = showCheckpoint(c.Path)
	default:
		r, err = c.lamina(a)
	}
	if err == nil && r.Format != "lamina" {
		err = c.estimate(r)
	}
	if err != nil {
		return err
	}
	r.KV = 1000 * r.Config.KVBytesPerToken()
	if r.Weights > 0 {
		r.Bits = float64(r.Bytes) * 8 / float64(r.Weights)
	}
	if c.JSON {
		return a.json(r)
	}
	r.print(a)
	return nil
}

// isCheckpoint tells a source checkpoint from a .lamina file by its name.
func isCheckpoint(path string) bool {
	for _, suffix := range []string{".gguf", ".safetensors", ".safetensors.index.json"} {
		if strings.HasSuffix(path, suffix) {
			return true
		}
	}
	return isFolder(path)
}

func isFolder(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// holdsCheckpoint says whether a folder has what a checkpoint begins with.
func holdsCheckpoint(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil {
		return true
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.gguf")) // a strange name finds nothing
	return len(found) > 0
}

// lamina describes a .lamina file from its directory, configuration and side
// information: no weight is read.
func (c *showCmd) lamina(a *app) (*showReport, error) {
	f, err := weights.Open(c.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &showReport{Path: c.Path, Format: "lamina", Bytes: f.Size()}
	raw, err := f.Section(weights.SectionConfig)
	if err != nil {
		return nil, err
	}
	if r.Config, err = llama.ParseConfig(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Path, err)
	}
	for _, s := range f.Sections() {
		r.Sections = append(r.Sections, showSection{s.Name, s.Span.Len})
		r.Chat = r.Chat || s.Name == weights.SectionChatTemplate
	}
	for i := range f.Tensors() {
		t, err := describe(f, &f.Tensors()[i])
		if err != nil {
			return nil, err
		}
		r.Tensors = append(r.Tensors, t)
		r.Weights += t.Weights
	}
	if err := errors.Join(r.readProvenance(f), r.readEnergy()); err != nil {
		return nil, err
	}
	ctx, stop := a.untilSignal()
	defer stop()
	p, err := engine.Plan(ctx, c.Path, engine.Options{RAM: int64(c.RAM), Context: c.Context, Threads: c.Threads, KV: engine.KV(c.KV), Serve: true})
	switch {
	case err == nil:
		r.Plan = &p
	case errors.Is(err, plan.ErrTooSmall):
		r.PlanError = err.Error() // worth telling, and the rest is too
	default:
		return nil, err
	}
	return r, nil
}

// readProvenance takes over the number of weights of the source model, which
// counts norms that are folded into matrices.
func (r *showReport) readProvenance(f *weights.File) error {
	data, err := f.Section(weights.SectionProvenance)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var p struct {
		Weights int64  `json:"weights"`
		Made    string `json:"made"`
		Method  string `json:"method"`
		Source  struct {
			Name string `json:"name"`
		} `json:"source"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("%s: provenance: %w", r.Path, err)
	}
	r.Provenance = data
	r.Weights = max(r.Weights, p.Weights)
	if p.Method != "" && p.Source.Name != "" {
		r.made = fmt.Sprintf("packed from %s, %s", p.Source.Name, p.Method)
		if day, _, ok := strings.Cut(p.Made, "T"); ok {
			r.made += ", on " + day
		}
	}
	return nil
}

// describe reads the side information of a tensor.
func describe(f *weights.File, t *weights.Tensor) (showTensor, error) {
	s := showTensor{
		Name: t.Name, Role: t.Role, Rows: t.Rows, Cols: t.Cols, Codec: t.Codec, Bytes: t.Bytes(), Weights: t.Weights,
	}
	if s.Weights > 0 {
		s.Bits = float64(s.Bytes) * 8 / float64(s.Weights)
	}
	if t.Codec == decode.FactoredCodec {
		var err error
		s.Factored, err = describeFactored(f, t)
		return s, err
	}
	first := 0 // span of the side information
	switch t.Codec {
	case "rans1", planes.Codec:
	case decode.TransformCodec:
		var err error
		if s.Transform, err = describeTransform(f, t); err != nil {
			return s, err
		}
		first = 1
	default:
		return s, nil
	}
	data := make([]byte, t.Spans[first].Len)
	if err := f.ReadSpan(data, t.Spans[first]); err != nil {
		return s, err
	}
	if t.Codec == planes.Codec {
		m, err := planes.NewMatrix(t.Rows, t.Cols, data)
		if err != nil {
			return s, fmt.Errorf("%s: tensor %s: %w", f.Name(), t.Name, err)
		}
		s.Planes, s.Chunks = int(m.Side().Planes), m.Chunks()
		return s, nil
	}
	m, err := rans.NewMatrix(t.Rows, t.Cols, data)
	if err != nil {
		return s, fmt.Errorf("%s: tensor %s: %w", f.Name(), t.Name, err)
	}
	side := m.Side()
	s.Mode, s.Planes, s.Classes, s.Chunks = side.Mode.String(), int(side.Planes), side.Classes(), m.Chunks()
	s.Side = int64(len(data)) + m.Framing() + int64(8*len(t.Spans)) // a span's entry in the directory takes 8
	return s, nil
}

// print writes the report as text.
func (r *showReport) print(a *app) {
	c := r.Config
	a.printf("%s (%s)\n", r.Path, r.Format)
	a.printf("  %s weights in %s, %.3f bits per weight\n", count(r.Weights), budget.FormatSize(r.Bytes), r.Bits)
	if r.made != "" {
		a.printf("  %s\n", r.made)
	}
	a.printf("  %d layers, hidden %d, intermediate %d, %d heads of %d with %d for keys and values\n",
		c.Layers, c.Hidden, c.Intermediate, c.Heads, c.HeadDim, c.KVHeads)
	tied, chat := "own output head", "no chat template"
	if c.Tied {
		tied = "tied output head"
	}
	if r.Chat {
		chat = "with chat template"
	}
	a.printf("  vocabulary %d, %s, context %d, %s\n", c.Vocab, tied, c.MaxContext, chat)
	a.printf("  KV cache: %s per 1,000 tokens\n\n", budget.FormatSize(r.KV))

	if len(r.Tensors) == 0 {
		r.printPlan(a)
		return
	}
	rows := [][]string{{"tensor", "shape", "representation", "bytes", "bits/weight"}}
	var bytes, weights int64
	for i := range r.Tensors {
		t := &r.Tensors[i]
		row := []string{t.Name, fmt.Sprintf("%d x %d", t.Rows, t.Cols), t.representation(), "", ""}
		if t.Bytes > 0 {
			row[3] = fmt.Sprint(t.Bytes)
		}
		if t.Bits > 0 {
			row[4] = fmt.Sprintf("%.3f", t.Bits)
		}
		rows = append(rows, row)
		bytes, weights = bytes+t.Bytes, weights+t.Weights
	}
	if bytes > 0 && weights > 0 {
		rows = append(rows, []string{"all tensors", "", "", fmt.Sprint(bytes), fmt.Sprintf("%.3f", float64(bytes)*8/float64(weights))})
	}
	for _, s := range r.Sections {
		rows = append(rows, []string{"section " + s.Name, "", "", fmt.Sprint(s.Bytes), ""})
	}
	table(a.out, rows, 0, 2)
	if rows := r.factoredTable(); rows != nil {
		a.printf("\n")
		table(a.out, rows, 0, 1, 2)
	}
	r.printPlan(a)
}

// printPlan writes the plan, and what to do next.
func (r *showReport) printPlan(a *app) {
	if r.PlanBits > 0 {
		a.printf("\nestimate for --bits %v:", r.PlanBits)
	}
	switch {
	case r.Plan != nil:
		a.printf("\n%s", r.Plan.String())
	case r.PlanError != "":
		a.printf("\n%s\n", r.PlanError)
	}
	if r.next != "" {
		a.printf("\nnext: %s\n", r.next)
	}
}
