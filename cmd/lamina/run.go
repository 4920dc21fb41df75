package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/server"
)

type runCmd struct {
	File   string   `arg:"" optional:"" placeholder:"FILE" help:"The .lamina file; default: the built-in storyteller."`
	Prompt []string `arg:"" optional:"" placeholder:"PROMPT" help:"The prompt; - stands for what comes on standard input. Without one, standard input is the prompt, or on a terminal a chat begins."`
	runtimeFlags
	speculateFlag
	samplingFlags
	promptCacheFlag
	System    string   `placeholder:"TEXT" help:"System message of the chat."`
	Raw       bool     `help:"Continue the prompt as it is, chat template or not."`
	MaxTokens int      `short:"n" placeholder:"N" help:"Tokens to generate at most; default: 512, or what fits."`
	Stop      []string `placeholder:"TEXT" sep:"none" help:"End before this text; may be repeated."`
	IgnoreEOS bool     `help:"Go on past the end-of-sequence token."`
	JSON      bool     `help:"Print one JSON object with text and usage at the end."`
}

// defaultMaxTokens ends the answer of a model that would go on for ever.
const defaultMaxTokens = 512

// maxInput bounds a prompt on standard input.
const maxInput = 64 << 20

type runReport struct {
	Model  string    `json:"model"`
	Text   string    `json:"text"`
	Finish string    `json:"finish_reason"`
	Usage  *runUsage `json:"usage"`
	Seed   uint64    `json:"seed"`
}

type runUsage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
}

// Run answers one prompt, or begins a chat.
func (c *runCmd) Run(a *app) (err error) {
	if c.MaxTokens < 0 {
		return usage("run", "--max-tokens %d: want 0 or more", c.MaxTokens)
	}
	if err := c.check(); err != nil {
		return usageError{err, "run"}
	}
	o, err := c.options(a, "run")
	if err != nil {
		return err
	}
	file, words, err := c.split()
	if err != nil {
		return err
	}
	chat := len(words) == 0 && a.interactive
	if chat && c.JSON {
		return usage("run", "--json needs a prompt")
	}
	prompt := ""
	if !chat {
		if prompt, err = readPrompt(words, a.in); err != nil {
			return err
		}
	}
	defer spareProcessors(&o)()
	o.Parallel, o.Speculate = 1, engine.Speculation(c.Speculate)
	ctx, stop := a.untilSignal()
	defer stop()
	m, err := openModel(ctx, file, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	save, err := c.loadPrompts(a, m)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, save()) }()
	s := &session{app: a, cmd: c, model: m, engine: engine.Start(m, o), sampling: c.merge(terminalSampling(m.Sampling()))}
	defer func() { err = errors.Join(err, s.engine.Close(context.Background())) }()
	s.plain = c.Raw || m.Template() == nil
	if c.System != "" {
		if s.plain {
			return usage("run", "--system needs a model with a chat template, and no --raw")
		}
		s.system = c.System
	}
	s.clear()
	if chat {
		stop() // from here on the loop listens
		return s.loop()
	}
	return s.once(ctx, prompt)
}

// split tells the file from the prompt: the first argument is a file only if it
// is one or is written like one.
func (c *runCmd) split() (file string, prompt []string, err error) {
	_, statErr := os.Stat(c.File)
	switch {
	case c.File == "":
		return "", nil, nil
	case statErr == nil, strings.HasSuffix(c.File, ".lamina"), isCheckpoint(c.File):
		return c.File, c.Prompt, nil
	case !strings.ContainsAny(c.File, " \n") && strings.ContainsRune(c.File, os.PathSeparator):
		return "", nil, fmt.Errorf("run: %w", statErr)
	}
	return "", append([]string{c.File}, c.Prompt...), nil
}

// readPrompt joins the words of the prompt, or reads standard input.
func readPrompt(words []string, in io.Reader) (string, error) {
	var parts []string
	read := false
	for _, w := range words {
		if w == "-" && !read {
			text, err := readAll(in)
			if err != nil {
				return "", err
			}
			w, read = text, true
		}
		parts = append(parts, w)
	}
	if len(words) == 0 {
		text, err := readAll(in)
		if err != nil {
			return "", err
		}
		parts = append(parts, text)
	}
	prompt := strings.Join(parts, " ")
	if strings.TrimSpace(prompt) == "" {
		return "", errors.New("run: the prompt is empty")
	}
	return prompt, nil
}

func readAll(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxInput+1))
	if err != nil {
		return "", fmt.Errorf("run: standard input: %w", err)
	}
	if len(data) > maxInput {
		return "", fmt.Errorf("run: standard input holds more than %d MiB", maxInput>>20)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

// session is a model with a conversation.
type session struct {
	app      *app
	cmd      *runCmd
	model    *engine.Model
	engine   *engine.Engine
	sampling model.Sampling
	plain    bool   // continue texts instead of chatting
	system   string // system message, may be empty
	history  []server.Message
}

// clear forgets the conversation.
func (s *session) clear() {
	s.history = nil
	if s.system != "" {
		s.history = append(s.history, server.Message{Role: "system", Content: s.system})
	}
}

// once answers a prompt and ends.
func (s *session) once(ctx context.Context, prompt string) error {
	show := s.app.out
	if s.cmd.JSON {
		show = io.Discard
	}
	answer, last, err := s.answer(ctx, prompt, show)
	if err != nil {
		return err
	}
	if !s.cmd.JSON {
		return nil
	}
	r := runReport{Model: modelID(s.model.Name()), Text: answer, Finish: string(last.Finish), Seed: s.sampling.Seed}
	if u := last.Usage; u != nil {
		r.Usage = &runUsage{u.PromptTokens, u.CompletionTokens, u.PromptTokens + u.CompletionTokens}
	}
	return s.app.json(r)
}

// answer continues prompt, or the conversation by one turn, and writes the
// text to show as it comes. The conversation keeps what was said, also if ctx
// ended early; after other errors it is as before.
func (s *session) answer(ctx context.Context, prompt string, show io.Writer) (string, model.Event, error) {
	var last model.Event
	ids, err := s.encode(prompt)
	if err != nil {
		return "", last, err
	}
	room := s.model.Context() - len(ids)
	if room < 1 {
		return "", last, fmt.Errorf("%w: %d tokens of prompt, the context has %d", model.ErrContextLength, len(ids), s.model.Context())
	}
	req := model.Request{
		ID: "run", Prompt: ids, MaxTokens: min(room, defaultMaxTokens), Stop: s.cmd.Stop,
		IgnoreEOS: s.cmd.IgnoreEOS, Sampling: s.sampling, Logprobs: -1,
	}
	if s.cmd.MaxTokens > 0 {
		req.MaxTokens = s.cmd.MaxTokens // refused by the engine if it does not fit
	}
	var b strings.Builder
	for ev, e := range s.engine.Generate(ctx, req) {
		if e != nil {
			err = e
			break
		}
		last = ev
		b.WriteString(ev.Text)
		if _, err = io.WriteString(show, ev.Text); err != nil {
			break
		}
	}
	if !strings.HasSuffix(b.String(), "\n") && b.Len() > 0 {
		fmt.Fprintln(show)
	}
	if !s.plain && (err == nil || ctx.Err() != nil) {
		s.history = append(s.history, server.Message{Role: "user", Content: prompt},
			server.Message{Role: "assistant", Content: b.String()})
	}
	return b.String(), last, err
}

// encode turns a prompt, with the conversation before it, into tokens.
func (s *session) encode(prompt string) ([]int32, error) {
	tok := text{s.model.Tokenizer()}
	if s.plain {
		return tok.Encode(prompt, true, true)
	}
	messages := append(s.history[:len(s.history):len(s.history)], server.Message{Role: "user", Content: prompt})
	rendered, err := templater{s.model.Template()}.Render(messages, server.TemplateOptions{AddGenerationPrompt: true})
	if err != nil {
		return nil, err
	}
	return tok.Encode(rendered, false, true)
}
