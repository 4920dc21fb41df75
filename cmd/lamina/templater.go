package main

import (
	"time"

	"github.com/lamina-llm/lamina/model/chat"
	"github.com/lamina-llm/lamina/server"
)

// templater is a chat template as package server wants it.
type templater struct{ *chat.Template }

// Render implements server.Templater.
func (t templater) Render(messages []server.Message, o server.TemplateOptions) (string, error) {
	list := make([]chat.Message, len(messages))
	for i, m := range messages {
		list[i] = chat.Message(m)
	}
	return t.Template.Render(list, chat.Options{AddGenerationPrompt: o.AddGenerationPrompt, Tools: o.Tools, Now: time.Now()})
}
