package chat

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// TestGolden compares prompts with those of jinja2 under the settings of transformers.
func TestGolden(t *testing.T) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Templates map[string]string
		Now       time.Time
		Cases     []struct {
			Template string
			Messages []struct {
				Role      string
				Content   *string
				ToolCalls json.RawMessage `json:"tool_calls"`
			}
			AddGenerationPrompt bool `json:"add_generation_prompt"`
			Tools               json.RawMessage
			Extra               map[string]any
			Text                *string
			Error               string
		}
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Cases) < 100 || len(g.Templates) < 9 {
		t.Fatalf("%d cases of %d templates", len(g.Cases), len(g.Templates))
	}
	parsed := map[string]*Template{}
	for name, src := range g.Templates {
		if parsed[name], err = New(src, Vars{BOS: "<s>", EOS: "</s>"}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for i, c := range g.Cases {
		var messages []Message
		for _, m := range c.Messages {
			msg := Message{Role: m.Role, ToolCalls: m.ToolCalls}
			if m.Content != nil {
				msg.Content = *m.Content
			}
			messages = append(messages, msg)
		}
		if string(c.Tools) == "null" {
			c.Tools = nil
		}
		got, err := parsed[c.Template].Render(messages, Options{
			AddGenerationPrompt: c.AddGenerationPrompt, Tools: c.Tools, Now: g.Now, Extra: c.Extra,
		})
		if c.Text == nil {
			if !errors.Is(err, ErrTemplate) || !strings.Contains(err.Error(), c.Error) {
				t.Errorf("case %d, %s: error %v, want %q", i, c.Template, err, c.Error)
			}
			continue
		}
		if err != nil || got != *c.Text {
			t.Errorf("case %d, %s: %v\n got %q\nwant %q", i, c.Template, err, got, *c.Text)
		}
	}
}

func TestNoTemplate(t *testing.T) {
	if _, err := New(" \n", Vars{}); !errors.Is(err, ErrNoTemplate) {
		t.Errorf("error %v", err)
	}
}

// TestHostile runs templates that try to read files, to run for ever, to fill
// memory or to overflow the stack.
func TestHostile(t *testing.T) {
	for _, src := range []string{
		"{% include '/etc/passwd' %}", "{% import '/etc/passwd' as x %}", "{% extends 'x' %}", "{% from 'a' import b %}",
		"{% if %}", "{{ 1 % 0 }}", "{{", "{% for i in range(9) recursive %}{{ loop([1]) }}{% endfor %}",
		"{% for i in range(1000000000) %}{% endfor %}",
		"{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% if true %}{% endif %}{% endfor %}{% endfor %}{% endfor %}",
		"{% set ns = namespace(s='x') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
		"{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
		"{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
		"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
		"{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}",
		"{{ 'x' * 1000000000000 }}", "{{ ('x' * 1000) * 1000 * 1000 * 1000 }}", "{{ 2 ** 100000000 * 'x' }}",
		"{{ 'aaaa' | center(1000000000) }}", "{{ 'x'.ljust(1000000000) }}",
	} {
		tm, err := New(src, Vars{})
		if err == nil {
			_, err = tm.Render([]Message{{Role: "user", Content: "x"}}, Options{})
		}
		if err == nil {
			t.Errorf("%.60s: no error", src)
		}
	}
}

// FuzzTemplate: whatever the source, New and Render return within their limits.
func FuzzTemplate(f *testing.F) {
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		f.Fatal(err)
	}
	var g struct{ Templates map[string]string }
	if err := json.Unmarshal(data, &g); err != nil {
		f.Fatal(err)
	}
	for _, src := range g.Templates {
		f.Add(src)
	}
	f.Add("{{ messages[-1].content | tojson(indent=2) }}{% for m in messages if m %}{{ loop.index }}{% endfor %}")
	f.Fuzz(func(t *testing.T, src string) {
		tm, err := New(src, Vars{BOS: "<s>", EOS: "</s>"})
		if err != nil {
			return
		}
		_, _ = tm.Render([]Message{{Role: "system", Content: "a"}, {Role: "user", Content: "b"}}, Options{AddGenerationPrompt: true})
	})
}
