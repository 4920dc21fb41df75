// Package model holds the vocabulary that a forward pass, the engine and the
// server share: linear operators, worker pools, requests and events. It knows
// no file format, no codec and no transport.
package model

import (
	"errors"
)

// Linear is the operator y = W x for a matrix W of Dims() = (rows, cols).
//
// Implementations read W from float32 memory, from decoded int8 panels, or
// straight from a coded bitstream; the caller cannot tell which. The result of
// one input vector does not depend on the other vectors of the call.
type Linear interface {
	// Dims returns the output width (rows) and the input width (cols).
	Dims() (rows, cols int)
	// Apply computes n products: dst[t*rows : (t+1)*rows] = W x[t*cols : (t+1)*cols].
	// dst and x must not overlap. One Apply at a time per operator.
	Apply(dst, x []float32, n int) error
}

// Pool runs f(worker, i) for i in [0, n) on a fixed set of workers and returns
// when all are done. worker is in [0, Workers()) and no two concurrent calls
// of f share it, so it indexes per-worker scratch. f must not call For.
type Pool interface {
	// Workers returns the number of workers, at least one.
	Workers() int
	// For runs the n parts and returns when all are done.
	For(n int, f func(worker, i int))
}

// Serial is the Pool of one worker: the calling goroutine.
type Serial struct{}

// Workers returns 1.
func (Serial) Workers() int { return 1 }

// For calls f(0, i) in order.
func (Serial) For(n int, f func(worker, i int)) {
	for i := range n {
		f(0, i)
	}
}

// Sampling says how the next token is drawn from the logits. Use
// [DefaultSampling] as the start: the zero value is greedy with no penalties
// but a top-p of zero.
type Sampling struct {
	Temperature      float32           // 0 is greedy; range [0, 2]
	TopP             float32           // nucleus mass; 1 is off; range (0, 1]
	TopK             int               // most likely tokens kept; 0 is off
	MinP             float32           // floor relative to the likeliest; 0 is off; range [0, 1]
	PresencePenalty  float32           // subtracted once from tokens already generated; range [-2, 2]
	FrequencyPenalty float32           // subtracted once per occurrence; range [-2, 2]
	RepeatPenalty    float32           // divides positive and multiplies negative logits of seen tokens; 1 is off
	LogitBias        map[int32]float32 // added to the logits; range [-100, 100]
	Seed             uint64            // every request has one; the server draws it if the client does not
}

// DefaultSampling is OpenAI's default: temperature 1, nothing cut off.
func DefaultSampling() Sampling {
	return Sampling{Temperature: 1, TopP: 1, RepeatPenalty: 1}
}

// Request asks for one continuation of one prompt.
type Request struct {
	ID        string   // for logs and metrics
	Prompt    []int32  // token ids, special tokens included; at least one
	MaxTokens int      // tokens to generate, >= 0 (0 scores the prompt alone)
	Stop      []string // the text ends before the first of these; at most 16, none empty
	IgnoreEOS bool     // go on past the end-of-sequence token
	Sampling  Sampling

	// Logprobs is the number of alternatives reported per token; -1 is no
	// log-probabilities at all, 0 those of the chosen tokens alone.
	Logprobs int
	// PromptLogprobs asks for an Event per prompt token before the first
	// generated one (OpenAI's echo with logprobs).
	PromptLogprobs bool
}

// TokenLogprob is one token and its natural-log probability under the model
// (temperature 1, before penalties and truncation).
type TokenLogprob struct {
	ID      int32
	Logprob float32
}

// FinishReason says why a continuation ended; empty while it goes on.
type FinishReason string

// The finish reasons of the OpenAI API.
const (
	FinishStop   FinishReason = "stop"   // end-of-sequence token or stop string
	FinishLength FinishReason = "length" // MaxTokens reached
)

// Event is one step of a continuation.
//
// Text is what may be shown now: it never holds half a UTF-8 character and
// never any part of a stop string, so it can be empty while Tokens is not, and
// the last event may carry text of earlier tokens.
type Event struct {
	Prompt bool         // this event scores a prompt token (Request.PromptLogprobs)
	Text   string       // text that became final
	Tokens []TokenInfo  // tokens that this event covers, usually one
	Finish FinishReason // set on the last event only
	Usage  *Usage       // set on the last event only
}

// TokenInfo describes one token of an Event.
type TokenInfo struct {
	ID      int32
	Bytes   []byte         // what the token stands for; may be part of a character
	Logprob float32        // NaN for the first prompt token, which nothing predicts
	Top     []TokenLogprob // Request.Logprobs alternatives, likeliest first
}

// Usage counts the tokens of a finished request.
type Usage struct {
	PromptTokens     int
	CachedTokens     int // of PromptTokens, those whose KV entries were reused
	CompletionTokens int
}

// Errors that a generator reports for a request. A server maps them to 400,
// 429 or 503; anything else is its own fault.
var (
	// ErrContextLength: prompt and MaxTokens do not fit the context. Never cut silently.
	ErrContextLength = errors.New("context length exceeded")
	// ErrBusy: the queue is full; try again later.
	ErrBusy = errors.New("server is busy")
	// ErrMemory: the request would not fit the memory budget even alone.
	ErrMemory = errors.New("memory budget exceeded")
	// ErrClosed: the engine is shutting down.
	ErrClosed = errors.New("shutting down")
	// ErrInvalid: the request itself makes no sense (empty prompt, id outside the vocabulary, ...).
	ErrInvalid = errors.New("invalid request")
)
