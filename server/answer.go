package server

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"

	"github.com/lamina-llm/lamina/model"
)

// format renders the choices of one endpoint.
type format interface {
	prefix() string               // of the answer's id
	object(stream bool) string    // the "object" field
	opening(index int) any        // a choice's first chunk, or nil
	chunks(p *piece) []any        // a piece as the choices of zero or more chunks
	gather(w *gathered, p *piece) // adds a piece to a choice of a whole answer
	whole(w *gathered) [][]byte   // such a choice, finished, as JSON in parts
	wantsTokens() bool            // log-probabilities are shown
}

// piece is some more of one choice, or all of it.
type piece struct {
	index  int
	text   string
	tokens []model.TokenInfo // kept only if the format wants them
	finish model.FinishReason
	// stopped says more than finish where a deadline has ended it; else empty.
	stopped string
	offset  *offsets
}

// envelope is the outside of every answer and chunk.
type envelope struct {
	ID                string          `json:"id"`
	Object            string          `json:"object"`
	Created           int64           `json:"created"`
	Model             string          `json:"model"`
	SystemFingerprint string          `json:"system_fingerprint"`
	Choices           []any           `json:"choices"`
	Usage             json.RawMessage `json:"usage,omitempty"`
}

func (c *call) envelope(stream bool, choices ...any) *envelope {
	if choices == nil {
		choices = []any{}
	}
	return &envelope{
		ID: c.id, Object: c.format.object(stream), Created: c.created, Model: c.model,
		SystemFingerprint: c.fingerprint, Choices: choices,
	}
}

// usage is the wire form of the token counts of a whole request.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
	Details          struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// progress follows the choices of a call while events come in. One goroutine
// at a time.
type progress struct {
	call    *call
	choices []choice
}

// choice is what one choice needs between events.
type choice struct {
	held   []model.TokenInfo // prompt tokens, shown with the first generated one
	begun  bool              // a piece has been made
	done   bool              // it has its finish reason
	offset offsets
	count  int // generated tokens
	usage  *model.Usage
}

func newProgress(c *call) *progress {
	return &progress{call: c, choices: make([]choice, len(c.jobs))}
}

// add turns an event into a piece; false means that there is nothing to show
// yet.
func (p *progress) add(index int, ev model.Event) (piece, bool) {
	ch := &p.choices[index]
	out := piece{index: index, text: ev.Text, finish: ev.Finish, offset: &ch.offset}
	if ev.Usage != nil {
		ch.usage = ev.Usage
	}
	ch.done = ev.Finish != ""
	if !ev.Prompt {
		ch.count += len(ev.Tokens)
	}
	if p.call.format.wantsTokens() {
		out.tokens = ev.Tokens
	}
	if ev.Prompt && ev.Finish == "" {
		ch.held = append(ch.held, out.tokens...)
		return out, false
	}
	if !ch.begun {
		ch.begun = true
		if p.call.echo != nil {
			out.text = p.call.echo[index/p.call.n] + out.text
		}
		if len(ch.held) > 0 {
			out.tokens = append(ch.held, out.tokens...)
			ch.held = nil
		}
	}
	return out, out.text != "" || len(out.tokens) > 0 || out.finish != ""
}

// spoke says whether any choice has shown something.
func (p *progress) spoke() bool {
	for i := range p.choices {
		if p.choices[i].begun {
			return true
		}
	}
	return false
}

// usage sums up: a prompt counts once, however many choices it has.
func (p *progress) usage() usage {
	var u usage
	for i, prompt := range p.call.prompts {
		u.PromptTokens += len(prompt)
		if got := p.choices[i*p.call.n].usage; got != nil {
			u.Details.CachedTokens += got.CachedTokens
		}
	}
	for i := range p.choices {
		if got := p.choices[i].usage; got != nil {
			u.CompletionTokens += got.CompletionTokens
		} else {
			u.CompletionTokens += p.choices[i].count
		}
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

// randomHex returns 96 random bits.
func randomHex() string {
	var b [12]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
