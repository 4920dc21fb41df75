package server

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/lamina-llm/lamina/model"
)

// Generator continues prompts.
//
// Generate yields the events of one request in order; the last one carries
// Finish. After an error nothing follows. It stops within one step when ctx
// ends or the consumer breaks out of the loop, and yielded events are never
// written again: they may be kept. A slow client makes yield block, up to the
// write timeout. Concurrent calls are allowed.
type Generator interface {
	// Generate yields the events of one request.
	Generate(ctx context.Context, r model.Request) iter.Seq2[model.Event, error]
}

// Text is the tokenizer as the server sees it. Safe for concurrent use.
type Text interface {
	// Encode turns text into token ids. addBOS puts the model's
	// begin-of-sequence token in front where it has one; parseSpecial reads
	// spelled-out special tokens in text as such.
	Encode(text string, addBOS, parseSpecial bool) ([]int32, error)
	// Token returns the bytes that a token stands for, which may be part of a
	// character and must not be modified, and whether it is a special token,
	// whose spelling is not part of the text. Nil outside of [0, Vocab()).
	Token(id int32) (b []byte, special bool)
	// Vocab is the number of token ids.
	Vocab() int
}

// Templater renders a conversation into the model's prompt format, the
// begin-of-sequence token included. An error is the client's fault (a role
// order that the template refuses, say) and its text is shown to the client.
// Safe for concurrent use.
type Templater interface {
	// Render returns the prompt of a conversation.
	Render(messages []Message, o TemplateOptions) (prompt string, err error)
}

// Message is one turn of a conversation.
type Message struct {
	Role       string          // system, user, assistant or tool ("developer" arrives as system)
	Content    string          // text parts are joined; empty when an assistant only calls tools
	Name       string          // optional speaker
	ToolCalls  json.RawMessage // assistant: the calls as the client sent them (key order kept), or nil
	ToolCallID string          // tool: which call this answers
}

// TemplateOptions is what a chat template may look at besides the messages.
type TemplateOptions struct {
	Tools               json.RawMessage // array of tool definitions as the client sent it, or nil
	AddGenerationPrompt bool            // end with the header of an assistant turn
}

// Options sets up a [Server]. The zero value of every field but Models and
// Context means its documented default.
type Options struct {
	Models      []string  // ids that requests may name; the first is the canonical one. Required.
	Created     time.Time // of the model, shown in /v1/models
	OwnedBy     string    // shown in /v1/models; default "lamina"
	Fingerprint string    // system_fingerprint of answers; default "lamina"
	Version     string    // shown at /

	Context    int            // most tokens of prompt and continuation together. Required.
	Sampling   model.Sampling // defaults for requests; a TopP of 0 means model.DefaultSampling
	MaxTokens  int            // default max_tokens; 0 means 16 for completions and what fits for chat
	MaxChoices int            // most prompts x n per request; default 128
	Parallel   int            // most choices of one request generated at once; default 4

	Keys        []string // API keys; none means no authentication
	CORSOrigins []string // origins that browsers may call from; "*" is any, none is off

	MaxBody        int           // bytes of request body; default 1 MiB
	MaxConns       int           // open connections; default 128. MaxConns x MaxBody is the most memory that bodies can take.
	MaxAnswers     int64         // bytes that answers without a stream may take together; default 16 MiB
	ReadTimeout    time.Duration // to read one request; default 30 s
	IdleTimeout    time.Duration // keep-alive; default 75 s
	WriteTimeout   time.Duration // for each write to a client; default 30 s
	RequestTimeout time.Duration // the most that one answer may take; default: no limit
	DefaultTimeout time.Duration // the same for requests that name no timeout; default RequestTimeout
	PingInterval   time.Duration // silence before a stream's comment line; default 10 s

	Plan    func() any            // memory plan, shown as JSON at /v1/lamina/plan; nil is no such route
	Metrics func(b []byte) []byte // appends metrics of others, in the Prometheus text format, to the server's own; may be nil
	Ready   func() bool           // readiness besides draining; nil means always ready
	Logger  *slog.Logger          // default: discards
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Models) == 0 || o.Models[0] == "" {
		return o, errors.New("server: options: a model id is required")
	}
	if o.Context < 1 {
		return o, errors.New("server: options: a context length is required")
	}
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	dur := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	str := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	str(&o.OwnedBy, "lamina")
	str(&o.Fingerprint, "lamina")
	if o.Created.IsZero() {
		o.Created = time.Now()
	}
	if o.Sampling.TopP == 0 {
		o.Sampling = model.DefaultSampling()
	}
	def(&o.MaxChoices, 128)
	def(&o.Parallel, 4)
	def(&o.MaxBody, 1<<20)
	def(&o.MaxConns, 128)
	if o.MaxAnswers <= 0 {
		o.MaxAnswers = 16 << 20
	}
	dur(&o.ReadTimeout, 30*time.Second)
	dur(&o.IdleTimeout, 75*time.Second)
	dur(&o.WriteTimeout, 30*time.Second)
	dur(&o.PingInterval, 10*time.Second)
	if o.Ready == nil {
		o.Ready = func() bool { return true }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
