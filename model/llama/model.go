package llama

import (
	"fmt"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/kv"
)

// Want says for which of its new tokens a sequence wants logits.
type Want uint8

// The choices of Want.
const (
	None Want = iota // no logits: the tokens only enter the cache
	Last             // those after the last new token, to go on from
	All              // those after every new token, to score them
)

// Seq is one sequence's part of a batch: new tokens, at least one, which
// follow those that its cache already holds.
type Seq struct {
	Tokens []int32 // token ids in [0, Vocab)
	KV     *kv.Seq // grows by len(Tokens) if Forward succeeds, else stays as it was
	Want   Want
}

// Emit receives one row of logits: those that predict the token after
// Tokens[token] of sequence seq of the batch. logits has Vocab elements; they
// may be overwritten and are valid until Emit returns. An error ends Forward.
type Emit func(seq, token int, logits []float32) error

// Row is one row of logits, as [Emit] receives it.
type Row struct {
	Seq, Token int
	Logits     []float32
}

// EmitRows receives rows of logits in the order of the batch, up to LogitRows at a
// time, on the goroutine of Forward. The pool is free meanwhile: they may be looked
// at by all its workers. Otherwise it is like [Emit].
type EmitRows func(rows []Row) error

// Options bounds the memory of a Model. The zero value works.
type Options struct {
	MaxBatchTokens int       // tokens of all sequences of a batch together; default 512
	MaxContext     int       // tokens per sequence; default and limit Config.MaxContext
	LogitRows      int       // rows of logits computed at a time; default 8, at most MaxBatchTokens
	Scratch        []float32 // work memory, at least ScratchBytes/4 elements; nil allocates it
}

// withDefaults fills in what is zero and cuts what is too large.
func (o Options) withDefaults(c Config) Options {
	if o.MaxBatchTokens == 0 {
		o.MaxBatchTokens = 512
	}
	if o.LogitRows == 0 {
		o.LogitRows = 8
	}
	o.LogitRows = min(o.LogitRows, o.MaxBatchTokens)
	if o.MaxContext == 0 || o.MaxContext > c.MaxContext {
		o.MaxContext = c.MaxContext
	}
	return o
}

// maxBatchTokens bounds Options.MaxBatchTokens, so that no size overflows.
const maxBatchTokens = 1 << 16

// Model runs the forward pass of one LLaMA. It is for one goroutine at a time;
// inside, it spreads its work over the pool.
//
// What a sequence gets does not depend, bit for bit, on which other sequences
// are in the batch, on how its tokens were divided among calls or on the
// number of workers: every row of every step is computed on its own, in an
// order that its position alone decides.
type Model struct {
	config      Config
	options     Options
	weights     Weights
	pool        model.Pool
	frequencies []float32

	// Work memory for MaxBatchTokens tokens, used from the front.
	x        []float32 // (n, Hidden) residual stream
	y        []float32 // (n, Hidden) input or output of a sublayer
	cos, sin []float32 // (n, HeadDim/2) RoPE
	work     []float32 // what only one sublayer, or only the head, needs
	parts    []float32 // (slots, HeadDim+2) sums over parts of the keys of single tokens

	// The batch at hand.
	ids     []int32    // (n)
	at      []int32    // (n) positions
	cache   []*kv.Seq  // (n)
	wanted  []wanted   // rows of logits to compute
	rows    []Row      // those just computed
	spans   []span     // attention tasks, the same in every layer
	joints  []joint    // what is merged after them
	slots   int        // rows of parts in use
	start   []int      // KV lengths before the call, per sequence
	workers []attender // per worker

	attention int // work of the spans in a layer, in elements of other steps

	// The step at hand: what the row functions below read.
	layer         int
	weight        []float32 // norm weights
	qkv, attended []float32 // (n, QKV), (n, Heads*HeadDim)
	gateUp, act   []float32 // (n, 2*Intermediate), (n, Intermediate)
	row           struct{ angles, norm, addNorm, rotate, attend, join, swiglu func(worker, i int) }
}

// wanted is one token whose logits are wanted: its sequence, its index there,
// and its index in the batch.
type wanted struct{ seq, token, at int }

// ScratchBytes returns the size of the work memory that New needs for c and o,
// for which both must be valid. Each worker of the pool takes some 180 KiB
// more for attention with heads of 64 elements, 290 KiB with heads of 128.
func ScratchBytes(c Config, o Options) int64 {
	o = o.withDefaults(c)
	n := int64(o.MaxBatchTokens)
	return 4 * (n*int64(2*c.Hidden+c.HeadDim) + workElements(c, o) + partElements(c, o))
}

// partElements is the size of Model.parts: one sequence of full length.
func partElements(c Config, o Options) int64 {
	return int64(c.Heads) * int64(maxParts(o.MaxContext)) * int64(c.partWidth())
}

// workElements is the size of Model.work: attention and SwiGLU take turns, and
// the head comes after both.
func workElements(c Config, o Options) int64 {
	n := int64(o.MaxBatchTokens)
	return max(n*int64(c.QKV()+c.Heads*c.HeadDim), n*3*int64(c.Intermediate), int64(o.LogitRows)*int64(c.Vocab))
}

// New returns a Model over w. The pool's workers must not be used by anyone
// else during Forward.
func New(c Config, w Weights, pool model.Pool, o Options) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults(c)
	if o.MaxBatchTokens < 1 || o.MaxBatchTokens > maxBatchTokens || o.LogitRows < 1 || o.MaxContext < 1 {
		return nil, fmt.Errorf("llama: options: %d batch tokens, %d logit rows, %d tokens of context", o.MaxBatchTokens, o.LogitRows, o.MaxContext)
	}
	n, need := o.MaxBatchTokens, ScratchBytes(c, o)/4
	arena := o.Scratch
	if arena == nil {
		arena = make([]float32, need)
	}
	if int64(len(arena)) < need {
		return nil, fmt.Errorf("llama: scratch has %d elements, want %d", len(arena), need)
	}
	take := func(elements int) []float32 {
		s := arena[:elements:elements]
		arena = arena[elements:]
		return s
	}
	m := &Model{
		config: c, options: o, weights: w, pool: pool, frequencies: c.InverseFrequencies(),
		x: take(n * c.Hidden), y: take(n * c.Hidden), cos: take(n * c.HeadDim / 2), sin: take(n * c.HeadDim / 2),
		work: take(int(workElements(c, o))), parts: take(int(partElements(c, o))),
		ids: make([]int32, 0, n), at: make([]int32, 0, n), cache: make([]*kv.Seq, 0, n),
		wanted: make([]wanted, 0, n), rows: make([]Row, 0, o.LogitRows), workers: attenders(c, pool),
	}
	// Bound once: a method value made at each call would be an allocation.
	m.row.angles, m.row.norm, m.row.addNorm = m.anglesRow, m.normRow, m.addNormRow
	m.row.rotate, m.row.attend, m.row.join, m.row.swiglu = m.rotateRow, m.attendSpan, m.joinParts, m.swigluRow
	return m, nil
}

// Config returns the model's hyper-parameters.
func (m *Model) Config() Config { return m.config }

// Options returns the limits in force, defaults filled in.
func (m *Model) Options() Options { return m.options }
