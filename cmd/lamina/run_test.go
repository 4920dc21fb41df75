package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/model"
)

func TestRunCompletes(t *testing.T) {
	path := fixture(t, "tiny.lamina")
	type report struct {
		Model  string
		Text   string
		Finish string `json:"finish_reason"`
		Usage  struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
			Total      int `json:"total_tokens"`
		}
		Seed uint64
	}
	args := []string{"run", path, "--raw", "--ignore-eos", "-n", "12", "--seed", "5"}
	var a, b report
	okJSON(t, &a, append(args, "the", "then")...)
	okJSON(t, &b, append(args, "the then")...)
	if a != b || a.Text == "" || a.Finish != "length" || a.Model != "tiny" || a.Seed != 5 || a.Usage.Completion != 12 || a.Usage.Total != 12+a.Usage.Prompt {
		t.Errorf("%+v\n%+v", a, b)
	}
	if text := ok(t, append(args, "the then")...); strings.TrimSuffix(text, "\n") != strings.TrimSuffix(a.Text, "\n") {
		t.Errorf("%q, want %q", text, a.Text)
	}
	for _, dash := range [][]string{nil, {"-"}} {
		status, out, errs := runIn(t, "the then\n", append(append(args, dash...), "--json")...)
		if err := json.Unmarshal([]byte(out), &b); status != 0 || err != nil || a != b {
			t.Errorf("standard input, %v: %d %q %q", dash, status, out, errs)
		}
	}
	// Words around a dash.
	status, out, _ := runIn(t, "the", append(args, "a", "-", "b", "--json")...)
	okJSON(t, &a, append(args, "a the b")...)
	if err := json.Unmarshal([]byte(out), &b); status != 0 || err != nil || a != b {
		t.Errorf("%+v, want %+v", b, a)
	}
	okJSON(t, &b, append(args, "a the b", "--stop", firstRune(a.Text))...)
	if b.Text != "" || b.Finish != "stop" {
		t.Errorf("with a stop string: %+v", b)
	}
}

func firstRune(s string) string { return string([]rune(s)[:1]) }

func TestRunBuiltIn(t *testing.T) {
	// The first word is no file, so it belongs to the prompt.
	var r runReport
	okJSON(t, &r, "run", "Once", "upon", "a", "time", "--raw", "--temperature", "0", "-n", "12")
	if r.Model != "storyteller-22m" || len(r.Text) < 20 || r.Usage.Prompt != 5 { // a token per word, and the first
		t.Errorf("%+v", r)
	}
}

// TestRunPromptCache keeps the prompt of one run for the next.
func TestRunPromptCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prompts")
	words := strings.Repeat("Once upon a time there was a little girl. ", 12)
	args := []string{"run", "--context", "256", "-n", "8", "--seed", "3", "--prompt-cache", file, words}
	_, first, _ := runIn(t, "", args...)
	status, second, errs := runIn(t, "", args...)
	if status != 0 || second != first || first == "" {
		t.Errorf("status %d, %q, then %q; %s", status, first, second, errs)
	}
	if st, err := os.Stat(file); err != nil || st.Size() < 1<<16 || st.Mode().Perm()&0o077 != 0 {
		t.Errorf("the file: %v, %v", st, err)
	}
	if status, _, errs := runIn(t, "", append(args, "--kv", "q8")...); status == 0 || !strings.Contains(errs, "another") {
		t.Errorf("a cache of another format: status %d, %s", status, errs)
	}
}

func TestRunRefuses(t *testing.T) {
	path, dir := fixture(t, "tiny.lamina"), t.TempDir()
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"run DIR/none.lamina hello", 1, "lamina: weights: open DIR/none.lamina: no such file or directory (check the path)\n"},
		{"run DIR/none hello", 1, "lamina: run: stat DIR/none: no such file or directory\n"},
		{"run SRC hello", 1, "lamina: SRC is a checkpoint: pack it first (lamina pack SRC -o tiny.lamina --bits 3.5)\n"},
		{"run PATH", 1, "lamina: run: the prompt is empty\n"},
		{"run PATH --raw -n 1000 hello", 1, "lamina: context length exceeded: 6 prompt tokens and 1000 to generate exceed the context of 256\n"},
		{"run PATH hello --raw --system x", 2, "lamina: --system needs a model with a chat template, and no --raw (see 'lamina run --help')\n"},
		{"run PATH hello --max-tokens=-1", 2, "lamina: --max-tokens -1: want 0 or more (see 'lamina run --help')\n"},
		{"run PATH hello --top-p 0", 2, "lamina: sample: invalid request: top-p 0, want more than 0 and at most 1 (see 'lamina run --help')\n"},
	} {
		expand := strings.NewReplacer("PATH", path, "SRC", fixture(t, "tiny"), "DIR", dir)
		status, out, errs := run(t, strings.Fields(expand.Replace(c.args))...)
		if want := expand.Replace(c.want); status != c.status || errs != want || out != "" {
			t.Errorf("lamina %s: status %d, %q, %q\nwant %d, %q", c.args, status, out, errs, c.status, want)
		}
	}
}

// converse runs a chat with the given lines typed in.
func converse(t *testing.T, in string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	status := execute(append([]string{"run", fixture(t, "tiny.lamina"), "--seed", "3", "-n", "4"}, args...),
		&app{in: strings.NewReader(in), out: &out, err: &errs, signals: make(chan os.Signal), interactive: true})
	if status != 0 || errs.Len() > 0 {
		t.Fatalf("status %d: %s\n%s", status, errs.String(), out.String())
	}
	return out.String()
}

func TestChatCommands(t *testing.T) {
	out := converse(t, strings.Join([]string{
		"/help", "/set temperature 0.5", "/set top_k 7", "/set temperature hot", "/set temperature 9", "/set colour red", "/set",
		"/show", "/nonsense", "/clear", "", "/bye", "never read",
	}, "\n"))
	for _, want := range []string{
		"tiny, chat, context 256. /help lists the commands.\n", "/set NAME VALUE", "temperature 0.5\ntop-p 0.9\ntop-k 7\n",
		"[temperature: \"hot\" is no number]", "[sample: invalid request: temperature 9, want 0 to 2]",
		"[\"colour\" cannot be set (known: temperature, ", "[usage: /set NAME VALUE", "seed 3\n",
		"[/nonsense is no command; /help lists them]", "[the conversation is forgotten]",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if !strings.HasSuffix(out, ">>> >>> ") {
		t.Errorf("ends with %q", out[len(out)-40:])
	}
	if out := converse(t, "", "--raw"); out != "tiny, text completion, context 256. /help lists the commands.\n>>> \n" {
		t.Errorf("%q", out)
	}
}

func TestChatTurns(t *testing.T) {
	first := converse(t, "the\n")
	if !strings.Contains(first, "[cut at the limit of tokens]") && len(first) < 60 {
		t.Errorf("no answer: %q", first)
	}
	// Several lines are one message, and other text gives another answer.
	if block := converse(t, "\"\"\"the\n\"\"\"\n"); strings.ReplaceAll(block, "... ", "") != first {
		t.Errorf("%q, want %q", block, first)
	}
	// A cleared conversation is a new one; one that goes on is not.
	answers := func(in string) []string { return strings.Split(converse(t, in, "--temperature", "0"), ">>> ") }
	cleared, on := answers("the\n/clear\nthe\n"), answers("the\nthe\n")
	if cleared[1] != cleared[3] || on[1] != cleared[1] || on[2] == on[1] {
		t.Errorf("%q\n%q", cleared, on)
	}
	// The system message is part of the prompt.
	if with := answers("/set system Be brief.\nthe\n"); with[2] == on[1] {
		t.Errorf("the system message changes nothing: %q", with)
	}
	long := converse(t, strings.Repeat("many words ", 100)+"\nthe\n")
	if !strings.Contains(long, "[context length exceeded: ") || !strings.Contains(long, "; /clear begins anew]\n") {
		t.Errorf("%q", long)
	}
}

func TestChatInterrupted(t *testing.T) {
	// A signal while an answer comes ends the answer alone; one at the prompt
	// ends the chat.
	signals := make(chan os.Signal)
	in, typed := newPipe()
	var out, errs bytes.Buffer
	done := make(chan int)
	go func() {
		done <- execute([]string{"run", fixture(t, "tiny.lamina"), "-n", "200", "--ignore-eos"},
			&app{in: in, out: &out, err: &errs, signals: signals, interactive: true})
	}()
	typed <- "hello\n"
	signals <- os.Interrupt
	typed <- "/show\n"
	signals <- os.Interrupt
	if status := <-done; status != 0 || !strings.Contains(out.String(), "[stopped]\n>>> temperature") {
		t.Errorf("status %d, %q", status, out.String())
	}
}

// pipe is an unbuffered standard input.
type pipe struct {
	lines chan string
	rest  string
}

func newPipe() (*pipe, chan<- string) {
	c := make(chan string)
	return &pipe{lines: c}, c
}

func (p *pipe) Read(b []byte) (int, error) {
	if p.rest == "" {
		p.rest = <-p.lines
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func TestSetSampling(t *testing.T) {
	s := model.DefaultSampling()
	for _, name := range settable {
		if err := setSampling(&s, name, "1"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	want := model.Sampling{Temperature: 1, TopP: 1, TopK: 1, MinP: 1, PresencePenalty: 1, FrequencyPenalty: 1, RepeatPenalty: 1, Seed: 1}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("%+v", s)
	}
	for _, bad := range [][2]string{{"top-p", "0"}, {"top-p", "NaN"}, {"top-k", "1.5"}, {"seed", "-1"}, {"min-p", "2"}} {
		old := s.TopP
		if err := setSampling(&s, bad[0], bad[1]); err == nil || s.TopP != old {
			t.Errorf("%v: %v, %+v", bad, err, s)
		}
	}
}

// TestBenchSpeculate: the command itself refuses answers that differ.
func TestBenchSpeculate(t *testing.T) {
	var r benchSpeculateReport
	okJSON(t, &r, "bench", "speculate", "-n", "6", "-r", "1", "--speculate", "on")
	if len(r.Rows) < 4 {
		t.Fatalf("%d prompts", len(r.Rows))
	}
	for _, p := range r.Rows {
		if p.Gen != 6 || p.Prompt < 5 || p.Off <= 0 || p.With <= 0 || p.Passes < 1 {
			t.Errorf("%+v", p)
		}
	}
}
