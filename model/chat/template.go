package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

var (
	// ErrNoTemplate is returned by New for an empty source: the model has no
	// chat format.
	ErrNoTemplate = errors.New("model has no chat template")
	// ErrTemplate marks messages that the template refuses with
	// raise_exception. The error text is the template's; a server answers 400.
	ErrTemplate = errors.New("chat template refuses the messages")
	// ErrInvalid marks a template that can't be parsed or that fails.
	ErrInvalid = errors.New("invalid chat template")
	// ErrLimit marks a template that takes too long or makes too much text.
	ErrLimit = errors.New("chat template exceeds its limits")
)

// Limits of a template and of one rendering.
const (
	maxSource  = 256 << 10       // bytes of template
	maxNesting = 64              // open brackets in the template, depth of values and macro calls
	maxSteps   = 200_000         // statements executed
	maxTime    = 2 * time.Second // wall clock of one rendering
	maxText    = 16 << 20        // bytes of output, and of any one string
	maxRange   = 10_000          // elements of range()
	rootName   = "chat_template" // what the loader calls the source
	guardName  = "\x00guard"     // no Jinja name, so no template can reach it
)

// Vars are the special tokens that a template can name.
type Vars struct {
	BOS string // bos_token
	EOS string // eos_token
}

// Message is one turn of a conversation, in the shape of the OpenAI API.
type Message struct {
	Role       string          // "system", "user", "assistant", "tool", ...
	Content    string          // text; none for the template if empty beside ToolCalls
	Name       string          // optional
	ToolCalls  json.RawMessage // optional JSON list of calls
	ToolCallID string          // optional, of a tool's answer
}

// Options are the inputs of one rendering. The zero value is useful.
type Options struct {
	AddGenerationPrompt bool            // end with the beginning of the assistant's answer
	Tools               json.RawMessage // optional JSON list of tool descriptions; key order is kept
	Now                 time.Time       // what strftime_now shows; zero is the current time
	Extra               map[string]any  // further variables: strings, numbers, booleans, nil
}

// Template is a parsed chat template. It is safe for concurrent use.
type Template struct {
	tmpl *exec.Template
	vars Vars
}

// New parses a template. It returns ErrNoTemplate for an empty source and an
// error wrapping ErrInvalid for one that does not parse or uses what is not
// allowed (import, include, extends, block, raw, recursive loops).
func New(source string, vars Vars) (t *Template, err error) {
	if strings.TrimSpace(source) == "" {
		return nil, fmt.Errorf("chat: %w", ErrNoTemplate)
	}
	if len(source) > maxSource {
		return nil, fmt.Errorf("chat: %w: %d bytes, more than %d", ErrInvalid, len(source), maxSource)
	}
	if source, err = plain(source); err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("chat: %w: parser: %v", ErrInvalid, p)
		}
	}()
	cfg := config.New()
	cfg.KeepTrailingNewline = true // plain has done all of this
	tmpl, err := exec.NewTemplate(rootName, cfg, loader(source), environment())
	if err != nil {
		// The parser quotes the whole source in its message.
		return nil, fmt.Errorf("chat: %w: %s", ErrInvalid, strings.ReplaceAll(err.Error(), "'"+source+"'", ""))
	}
	return &Template{tmpl: tmpl, vars: vars}, nil
}

// loader serves the template itself and nothing else.
type loader string

func (l loader) Read(path string) (io.Reader, error) {
	if path != rootName {
		return nil, errors.New("templates can't load others")
	}
	return strings.NewReader(string(l)), nil
}

func (l loader) Resolve(path string) (string, error) { return path, nil }

func (l loader) Inherit(string) (loaders.Loader, error) { return l, nil }

// Render returns the prompt for messages. Errors wrap ErrTemplate, ErrInvalid
// or ErrLimit; broken JSON in a message or in Options.Tools counts as
// ErrTemplate, since the caller's input is at fault.
func (t *Template) Render(messages []Message, o Options) (text string, err error) {
	msgs := make(list, len(messages))
	for i := range messages {
		if msgs[i], err = messages[i].value(); err != nil {
			return "", fmt.Errorf("chat: %w: message %d: tool_calls: %v", ErrTemplate, i, err)
		}
	}
	var tools any
	if len(o.Tools) > 0 {
		if tools, err = decodeJSON(o.Tools); err != nil {
			return "", fmt.Errorf("chat: %w: tools: %v", ErrTemplate, err)
		}
	}
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	g := &guard{deadline: time.Now().Add(maxTime), now: now}
	vars := map[string]any{}
	for k, v := range o.Extra {
		vars[k] = v
	}
	vars["messages"], vars["tools"], vars["documents"] = msgs, tools, nil
	vars["add_generation_prompt"] = o.AddGenerationPrompt
	vars["bos_token"], vars["eos_token"] = t.vars.BOS, t.vars.EOS
	vars["raise_exception"], vars["strftime_now"] = g.raise, g.strftime
	vars[guardName] = g

	out := &limitedBuffer{}
	defer func() {
		// The interpreter panics on some type errors (division by zero).
		if p := recover(); p != nil {
			text, err = "", fmt.Errorf("chat: %w: %v", ErrInvalid, p)
		}
	}()
	err = t.tmpl.Execute(out, exec.NewContext(vars))
	switch {
	case g.err != nil: // the interpreter may lose or wrap it
		return "", fmt.Errorf("chat: %w", g.err)
	case errors.Is(err, ErrLimit):
		return "", fmt.Errorf("chat: %w: more than %d bytes of output", ErrLimit, maxText)
	case err != nil:
		return "", fmt.Errorf("chat: %w: %v", ErrInvalid, err)
	}
	return out.String(), nil
}

func (m *Message) value() (any, error) {
	d := exec.NewDict()
	put := func(k string, v any) {
		d.Pairs = append(d.Pairs, &exec.Pair{Key: exec.AsValue(k), Value: exec.AsValue(v)})
	}
	put("role", m.Role)
	if m.Content == "" && len(m.ToolCalls) > 0 {
		put("content", nil)
	} else {
		put("content", m.Content)
	}
	if m.Name != "" {
		put("name", m.Name)
	}
	if len(m.ToolCalls) > 0 {
		calls, err := decodeJSON(m.ToolCalls)
		if err != nil {
			return nil, err
		}
		put("tool_calls", calls)
	}
	if m.ToolCallID != "" {
		put("tool_call_id", m.ToolCallID)
	}
	return d, nil
}

// limitedBuffer is the output of a rendering.
type limitedBuffer struct{ bytes.Buffer }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxText {
		return 0, ErrLimit
	}
	return b.Buffer.Write(p)
}

func (b *limitedBuffer) WriteString(s string) (int, error) {
	if b.Len()+len(s) > maxText {
		return 0, ErrLimit
	}
	return b.Buffer.WriteString(s)
}
