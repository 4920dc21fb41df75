package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/lamina-llm/lamina/internal/engine"
)

// promptCacheFlag is the flag of the commands that can keep prompts in a file.
type promptCacheFlag struct {
	PromptCache string `type:"path" placeholder:"FILE" help:"Keep what was computed of prompts and answers in this file, and go on from there the next time. It is as private as they are."`
}

// loadPrompts reads the file if there is one. save writes it, for when the
// engine has stopped. Without the flag both do nothing.
func (c *promptCacheFlag) loadPrompts(a *app, m *engine.Model) (save func() error, err error) {
	if c.PromptCache == "" {
		return func() error { return nil }, nil
	}
	if err := canWrite(c.PromptCache); err != nil {
		return nil, fmt.Errorf("prompt cache: %w", err)
	}
	n, err := m.LoadPrompts(c.PromptCache)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		a.log.Info("prompts loaded", "file", c.PromptCache, "tokens", n)
	}
	return func() error {
		n, err := m.SavePrompts(c.PromptCache)
		if err == nil {
			a.log.Info("prompts saved", "file", c.PromptCache, "tokens", n)
		}
		return err
	}, nil
}
