package pack

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lamina-llm/lamina/internal/kern"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
	"github.com/lamina-llm/lamina/pack/selftext"
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
	block          = 4       // windows that run together, at most

	// Gradients are taken of the first tokens of a text, and behind them of every
	// so many-th block of windows: what errors cost is known well enough then, and
	// the way back is more than half of the work. The other tokens weigh what those
	// have weighed in the mean.
	allGradients   = 16384
	gradientsEvery = 2

	// gammaShare is how much of a token's weight in a Gram matrix is its own: the
	// gradient of one drawn token says little, so the rest is the window's mean.
	gammaShare = 0.5
)

// calibrate runs the source model over the calibration text and gives every
// matrix the Gram matrix of its inputs and the costs of its outputs. If all these
// are more than may be held, there are several passes, each for a part of the
// matrices, and what is done is parked.
func (p *packer) calibrate(ctx context.Context) error {
	defer debug.FreeOSMemory() // the model, before what comes after it is allocated
	c, cal := p.cfg, p.opt.Calibrate
	parts, err := groups(c, p.opt.Statistics)
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	span := min(window, c.MaxContext)
	pool := workers(p.opt.Workers)
	w, err := newFloats(p.src, llama.FloatBytes(c, false) <= maxHeld, pool)
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	m, err := fisher.New(c, w, pool, span)
	if err != nil {
		return fmt.Errorf("pack: calibrate: %w", err)
	}
	m.Coarse = true
	if p.opt.Drift {
		p.gamma = make([][fisher.Kinds][]float32, c.Layers)
	}
	batch := min(max(1, int(p.opt.Statistics/4/fisher.WindowBytes(c, span))), block) * span
	for pass, part := range parts {
		s := newStatistics(c, pool, part)
		s.kept = p.gamma
		for first, end := 0, 0; first < len(cal.Tokens); first = end {
			graded := first < allGradients || first/(block*span)%gradientsEvery == 0
			end = min(first+batch, (first/(block*span)+1)*block*span, len(cal.Tokens))
			ids := cal.Tokens[first:end]
			windows := slices.Collect(slices.Chunk(ids, span))
			s.begin(first, windows)
			if graded {
				s.graded += float64(len(ids))
				err = m.RunAll(ctx, part.lowest, windows, s.loss, s)
			} else {
				err = m.Observe(ctx, windows, s.loss, s)
			}
			if err != nil {
				return fmt.Errorf("pack: calibrate: %w", err)
			}
			p.opt.Progress(Progress{"calibrate", cal.Name, int64(pass*len(cal.Tokens) + end), int64(len(parts) * len(cal.Tokens))})
		}
		if err := s.finish(p.mats, p.park); err != nil {
			return fmt.Errorf("pack: calibrate: %w", err)
		}
		debug.FreeOSMemory() // before the next group is allocated
	}
	return nil
}

// statistics gathers what calibration finds.
type statistics struct {
	config  llama.Config
	pool    model.Pool
	columns columns
	scaled  []float32
	square  [][]float32              // per worker, of some gradients
	linear  [][fisher.Kinds]*moments // nil where others are asked for
	head    *moments                 // inputs of the head; nil likewise
	embed   *moments                 // gradients of embedding rows; nil likewise
	often   []float64                // per token, its expected number
	unsure  []float64                // per token, the variance of that
	first   int                      // token of the text that the windows start at
	gamma   []float32                // per token of the windows, what errors of its logits cost
	heads   int                      // tokens of the windows whose inputs of the head are there
	tokens  float64
	graded  float64 // tokens that gradients were taken of

	kept [][fisher.Kinds][]float32 // what the first tokens weighed; nil keeps nothing
}

// moments are the statistics of one matrix.
type moments struct {
	gram   *triangle // inputs, weighted by what errors of their outputs cost
	weight float64   // sum of these weights
	graded float64   // sum of the weights of tokens with gradients
	cost   []float64 // per output, sum of squared gradients
}

// some is how many gradients, or words, are summed in float32 before their sums are.
const some = 512

func newStatistics(c llama.Config, pool model.Pool, part *group) *statistics {
	s := &statistics{
		config: c, pool: pool, columns: columns{coarse: true},
		linear: make([][fisher.Kinds]*moments, c.Layers),
		often:  make([]float64, c.Vocab), unsure: make([]float64, c.Vocab),
	}
	for range pool.Workers() {
		s.square = append(s.square, make([]float32, 3*some))
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

// begin starts windows, the first of which begins with a token of the text.
func (s *statistics) begin(first int, windows [][]int32) {
	n := 0
	for _, ids := range windows {
		n += len(ids)
	}
	s.first, s.heads = first, 0
	s.gamma = slices.Grow(s.gamma[:0], n)[:n]
	s.tokens += float64(n)
}

// loss is that of tokens drawn from the model's own predictions.
func (s *statistics) loss(t, n int, logits []float32) {
	vocab := s.config.Vocab
	drawn := make([]int, n)
	s.pool.For(n, func(_, i int) {
		row := logits[i*vocab : (i+1)*vocab]
		kern.Softmax(row)
		s.gamma[t+i] = max(0, 1-kern.Dot(row, row)) // rounding can take it below
		drawn[i] = draw(row, uniform(uint64(s.first+t+i)))
	})
	s.pool.For((vocab+some-1)/some, func(worker, b int) {
		v0, v1 := b*some, min((b+1)*some, vocab)
		k := v1 - v0
		square, often, power := s.square[worker][:k], s.square[worker][some:some+k], s.square[worker][2*some:2*some+k]
		clear(often)
		clear(power)
		for i := range n {
			p := logits[i*vocab+v0 : i*vocab+v1]
			kern.Add(often, p)
			kern.MulInto(square, p, p)
			kern.Add(power, square)
		}
		for v := range k {
			s.often[v0+v] += float64(often[v])
			s.unsure[v0+v] += max(0, float64(often[v])-float64(power[v]))
		}
	})
	for i, v := range drawn {
		logits[i*vocab+v]--
	}
}

// draw returns where the sum of p, from the start, exceeds u; 0 if nowhere.
func draw(p []float32, u float64) int {
	for v, x := range p {
		if u -= float64(x); u < 0 {
			return v
		}
	}
	return 0
}

// uniform returns number i of a fixed sequence in [0, 1).
func uniform(i uint64) float64 { return selftext.Uniform(0, i) }

// Linear implements fisher.Sink.
func (s *statistics) Linear(layer, kind int, x, dy, _ []float32, n int) {
	m := s.linear[layer][kind]
	if m == nil {
		return
	}
	gamma := make([]float32, n)
	if dy != nil {
		s.weigh(m, gamma, dy, n)
	} else {
		for t := range gamma {
			gamma[t] = float32(m.graded / s.graded)
		}
	}
	if s.kept != nil && len(s.kept[layer][kind]) < driftTokens {
		s.kept[layer][kind] = append(s.kept[layer][kind], gamma...)
	}
	s.add(m, x, gamma, n)
}

// weigh sets gamma to what tokens weigh by their gradients, and adds those up.
func (s *statistics) weigh(m *moments, gamma, dy []float32, n int) {
	rows := len(dy) / n
	s.pool.For(n, func(_, t int) {
		g := dy[t*rows : (t+1)*rows]
		gamma[t] = kern.Dot(g, g)
	})
	s.pool.For((rows+some-1)/some, func(worker, b int) {
		r0, r1 := b*some, min((b+1)*some, rows)
		square, sum := s.square[worker][:r1-r0], s.square[worker][some:some+r1-r0]
		clear(sum)
		for t := range n {
			g := dy[t*rows+r0 : t*rows+r1]
			kern.MulInto(square, g, g)
			kern.Add(sum, square)
		}
		for r, v := range sum {
			m.cost[r0+r] += float64(v)
		}
	})
	sum := 0.0
	for _, g := range gamma {
		sum += float64(g)
	}
	m.graded += sum
	mean := float32(sum / float64(n))
	for t := range gamma {
		gamma[t] = gammaShare*gamma[t] + (1-gammaShare)*mean
	}
}

// add adds the inputs x with weights.
func (s *statistics) add(m *moments, x, weight []float32, n int) {
	cols := len(x) / n
	s.scaled = slices.Grow(s.scaled[:0], n*cols)[:n*cols]
	s.pool.For(n, func(_, t int) {
		row := s.scaled[t*cols : (t+1)*cols]
		copy(row, x[t*cols:])
		kern.Scale(row, float32(math.Sqrt(float64(weight[t]))))
	})
	for _, w := range weight[:n] {
		m.weight += float64(w)
	}
	m.gram.add(s.scaled, n, s.pool, &s.columns)
}

// Head implements fisher.Sink.
func (s *statistics) Head(x, _ []float32, n int) {
	if s.head != nil {
		s.add(s.head, x, s.gamma[s.heads:], n)
	}
	s.heads += n
}

// Embedding implements fisher.Sink.
func (s *statistics) Embedding(_ []int32, dx []float32) {
	if s.embed == nil {
		return
	}
	n := len(dx) / s.config.Hidden
	s.embed.gram.add(dx, n, s.pool, &s.columns)
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
				m.cost[r] /= s.graded
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
