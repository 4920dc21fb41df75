package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
)

// Calibration is text that stands for what the model will read. Error feedback
// then makes outputs on such text exact, not weights.
type Calibration struct {
	Name   string  // for the provenance
	Tokens []int32 // at least minCalibration

	// Own, if not nil, has the source model write the text; Tokens is nil then.
	Own *OwnText
}

const (
	minCalibration = 64
	window         = 512     // tokens that see one another
	maxGrams       = 1 << 30 // bytes of statistics that are held
	maxHeld        = 1 << 28 // bytes of a float32 model that are held; a larger one is streamed

	// gammaShare is how much of a token's weight in a Gram matrix is its own: the
	// gradient of one drawn token says little, so the rest is the window's mean.
	gammaShare = 0.5
)

// calibrate runs the source model over the calibration text and gives every
// matrix the Gram matrix of its inputs and the costs of its outputs. If all these
// are more than may be held, there are several passes, each for a part of the
// matrices, and what is done is parked.
func (p *packer) calibrate(ctx context.Context) error {
	c, cal := p.cfg, p.opt.Calibrate
	parts, err := groups(c, p.opt.Statistics)
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	span := min(window, c.MaxContext)
	pool := workers(p.opt.Workers)
	w, err := newFloats(p.src, llama.FloatBytes(c, false) <= maxHeld)
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	m, err := fisher.New(c, w, pool, span)
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	if p.opt.Drift {
		p.gamma = make([][fisher.Kinds][]float32, c.Layers)
	}
	for pass, part := range parts {
		s := newStatistics(c, pool, span, part)
		s.kept = p.gamma
		for first := 0; first < len(cal.Tokens); first += span {
			ids := cal.Tokens[first:min(first+span, len(cal.Tokens))]
			s.window(first, len(ids))
			if err := m.RunTo(ctx, part.lowest, ids, s.loss, s); err != nil {
				return fmt.Errorf("pack: calibrate: %w", err)
			}
			p.opt.Progress(Progress{"calibrate", cal.Name, int64(pass*len(cal.Tokens) + first + len(ids)), int64(len(parts) * len(cal.Tokens))})
		}
		if err := s.finish(p.mats, p.park); err != nil {
			return fmt.Errorf("pack: calibrate: %w", err)
		}
		debug.FreeOSMemory() // before the next group, or what comes after the model, is allocated
	}
	return nil
}

// statistics gathers what calibration finds.
type statistics struct {
	config  llama.Config
	pool    model.Pool
	scratch []float32
	scaled  []float32
	linear  [][fisher.Kinds]*moments // nil where others are asked for
	head    *moments                 // inputs of the head; nil likewise
	embed   *moments                 // gradients of embedding rows; nil likewise
	often   []float64                // per token, its expected number
	unsure  []float64                // per token, the variance of that
	first   int                      // token of the text that the window starts at
	gamma   []float32                // per token of the window, what errors of its logits cost
	tokens  float64

	kept [][fisher.Kinds][]float32 // what the first tokens weighed; nil keeps nothing
}

// moments are the statistics of one matrix.
type moments struct {
	gram   *triangle // inputs, weighted by what errors of their outputs cost
	weight float64   // sum of these weights
	cost   []float64 // per output, sum of squared gradients
}

func newStatistics(c llama.Config, pool model.Pool, span int, part *group) *statistics {
	width := max(c.Hidden, c.Intermediate, c.Heads*c.HeadDim)
	s := &statistics{
		config: c, pool: pool, scratch: make([]float32, span*width), scaled: make([]float32, span*width),
		linear: make([][fisher.Kinds]*moments, c.Layers),
		often:  make([]float64, c.Vocab), unsure: make([]float64, c.Vocab), gamma: make([]float32, span),
	}
	for i := range s.linear {
		for k, d := range [fisher.Kinds][2]int{{c.QKV(), c.Hidden}, {c.Hidden, c.Heads * c.HeadDim}, {2 * c.Intermediate, c.Hidden}, {c.Hidden, c.Intermediate}} {
			if part.linear[i][k] {
				s.linear[i][k] = &moments{gram: newTriangle(d[1]), cost: make([]float64, d[0])}
			}
		}
	}
	if part.ends {
		s.head, s.embed = &moments{gram: newTriangle(c.Hidden)}, &moments{gram: newTriangle(c.Hidden)}
	}
	return s
}

// window starts a window of n tokens.
func (s *statistics) window(first, n int) {
	s.first = first
	s.tokens += float64(n)
}

// loss is that of a token drawn from the model's own prediction.
func (s *statistics) loss(t int, logits []float32) {
	kern.Softmax(logits)
	u := uniform(uint64(s.first + t))
	drawn, square := -1, 0.0
	for v, p := range logits {
		x := float64(p)
		s.often[v] += x
		s.unsure[v] += x * (1 - x)
		square += x * x
		if u -= x; u < 0 && drawn < 0 {
			drawn = v
		}
	}
	if drawn < 0 {
		drawn = 0
	}
	s.gamma[t] = float32(max(0, 1-square)) // rounding can take it below
	logits[drawn]--
}

// uniform returns the i-th number in [0, 1) of a fixed sequence (SplitMix64).
func uniform(i uint64) float64 {
	z := (i + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// Linear implements fisher.Sink.
func (s *statistics) Linear(layer, kind int, x, dy, _ []float32, n int) {
	m := s.linear[layer][kind]
	if m == nil {
		return
	}
	rows := len(dy) / n
	gamma := make([]float32, n)
	mean := float32(0)
	for t := range n {
		g := dy[t*rows : (t+1)*rows]
		sum := float32(0)
		for r, v := range g {
			m.cost[r] += float64(v * v)
			sum += v * v
		}
		gamma[t] = sum
		mean += sum / float32(n)
	}
	for t := range gamma {
		gamma[t] = gammaShare*gamma[t] + (1-gammaShare)*mean
	}
	if s.kept != nil && s.first < driftTokens {
		s.kept[layer][kind] = append(s.kept[layer][kind], gamma...)
	}
	s.add(m, x, gamma, n)
}

// add adds the inputs x with weights.
func (s *statistics) add(m *moments, x, weight []float32, n int) {
	cols := len(x) / n
	for t := range n {
		k := float32(math.Sqrt(float64(weight[t])))
		for j, v := range x[t*cols : (t+1)*cols] {
			s.scaled[t*cols+j] = v * k
		}
		m.weight += float64(weight[t])
	}
	m.gram.add(s.scaled[:n*cols], n, s.pool, s.scratch)
}

// Head implements fisher.Sink.
func (s *statistics) Head(x, _ []float32, n int) {
	if s.head != nil {
		s.add(s.head, x, s.gamma, n)
	}
}

// Embedding implements fisher.Sink.
func (s *statistics) Embedding(_ []int32, dx []float32) {
	if s.embed == nil {
		return
	}
	n := len(dx) / s.config.Hidden
	s.embed.gram.add(dx, n, s.pool, s.scratch)
	s.embed.weight += float64(n)
}

// finish hands the statistics to the matrices, parked if there is a park.
func (s *statistics) finish(mats []*matrix, k *park) error {
	give := func(m *matrix, gram *triangle, cost []float64) error {
		m.gram, m.cost = gram, cost
		return k.put(gram)
	}
	for i := range s.linear {
		for k, m := range s.linear[i] {
			if m == nil {
				continue
			}
			m.gram.scale(1 / max(m.weight, 1e-30))
			for r := range m.cost {
				m.cost[r] /= s.tokens
			}
			if err := give(mats[1+4*i+k], m.gram, m.cost); err != nil {
				return err
			}
		}
	}
	if s.embed == nil {
		return nil
	}
	// Rows of the embedding are tokens: an error in one costs what the token's
	// share in inputs (expected, not counted: a text is short) and predictions is.
	s.embed.gram.scale(1 / s.embed.weight)
	s.head.gram.scale(1 / max(s.head.weight, 1e-30))
	in, out := s.embed.gram.trace(), s.head.gram.trace()
	shareIn, shareOut := 1.0, 0.0
	for _, v := range s.unsure {
		shareOut += v / s.tokens
	}
	costIn, costOut := make([]float64, len(s.often)), make([]float64, len(s.often))
	for v := range s.often {
		costIn[v], costOut[v] = s.often[v]/s.tokens, s.unsure[v]/s.tokens
	}
	embed := mats[0]
	if !s.config.Tied {
		head := mats[len(mats)-1]
		return errors.Join(give(embed, s.embed.gram, costIn), give(head, s.head.gram, costOut))
	}
	both := s.head.gram
	total := shareIn*in + shareOut*out
	both.scale(shareOut)
	both.plus(s.embed.gram, shareIn)
	for v := range costIn {
		costIn[v] = (costIn[v]*in + costOut[v]*out) / total
	}
	return give(embed, both, costIn)
}

// workers is a pool that starts its goroutines anew for each loop.
type workers int

// Workers returns the number of goroutines.
func (w workers) Workers() int { return int(w) }

// For implements model.Pool.
func (w workers) For(n int, f func(worker, i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for worker := range min(int(w), n) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wait.Wait()
}
