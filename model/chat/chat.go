// Package chat renders conversations with the Jinja template of a checkpoint.
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// ErrTemplate marks a conversation that the template refuses.
var ErrTemplate = errors.New("chat template")

// Vars are the special tokens that templates spell out.
type Vars struct{ BOS, EOS string }

// Message is one turn.
type Message struct {
	Role       string
	Content    string
	Name       string
	ToolCalls  json.RawMessage
	ToolCallID string
}

// Options of one rendering.
type Options struct {
	AddGenerationPrompt bool
	Tools               json.RawMessage
	Now                 time.Time
}

// Template is a parsed chat template, safe for concurrent use.
type Template struct {
	tpl  *exec.Template
	vars Vars
}

// New parses a template.
func New(source string, v Vars) (*Template, error) {
	loader, err := loaders.NewMemoryLoader(map[string]string{"/chat": source})
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrTemplate, err)
	}
	cfg := config.New()
	cfg.TrimBlocks, cfg.LeftStripBlocks = true, true
	env := &exec.Environment{
		Context: exec.EmptyContext().Update(builtins.GlobalFunctions).Update(builtins.GlobalVariables),
		Filters: builtins.Filters, Tests: builtins.Tests, ControlStructures: builtins.ControlStructures, Methods: builtins.Methods,
	}
	t, err := exec.NewTemplate("/chat", cfg, loader, env)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrTemplate, err)
	}
	return &Template{t, v}, nil
}

// Render renders a conversation.
func (t *Template) Render(messages []Message, o Options) (string, error) {
	var list []map[string]any
	for _, m := range messages {
		list = append(list, map[string]any{"role": m.Role, "content": m.Content})
	}
	out, err := t.tpl.ExecuteToString(exec.NewContext(map[string]any{
		"messages": list, "bos_token": t.vars.BOS, "eos_token": t.vars.EOS, "add_generation_prompt": o.AddGenerationPrompt,
	}))
	if err != nil {
		return "", fmt.Errorf("%w: %v", ErrTemplate, err)
	}
	return out, nil
}
