package server

import (
	"encoding/json"
	"fmt"
	"strings"
)

// chatRequest is the body of POST /v1/chat/completions.
type chatRequest struct {
	common
	Messages            []json.RawMessage `json:"messages"`
	MaxCompletionTokens *integer          `json:"max_completion_tokens"`
	Logprobs            bool              `json:"logprobs"`
	TopLogprobs         *integer          `json:"top_logprobs"`
	Tools               []json.RawMessage `json:"tools"`
	ToolChoice          json.RawMessage   `json:"tool_choice"`
	Modalities          []string          `json:"modalities"`
	ResponseFormat      *struct {
		Type string `json:"type"`
	} `json:"response_format"`
}

// parseChat decodes and checks a chat request.
func (s *Server) parseChat(body []byte) (*call, *apiError) {
	var r chatRequest
	if e := decodeBody(body, &r); e != nil {
		return nil, e
	}
	if e := s.checkModel(r.Model); e != nil {
		return nil, e
	}
	if f := r.ResponseFormat; f != nil && f.Type != "text" {
		return nil, badRequest("response_format", "unsupported_parameter", "'response_format' of type %q is not supported: only \"text\" is.", f.Type)
	}
	for _, m := range r.Modalities {
		if m != "text" {
			return nil, badRequest("modalities", "unsupported_parameter", "Modality %q is not supported: only \"text\" is.", m)
		}
	}
	top, e := intInRange("top_logprobs", r.TopLogprobs, 0, 0, maxLogprobs)
	if e != nil {
		return nil, e
	}
	if top > 0 && !r.Logprobs {
		return nil, badRequest("top_logprobs", "invalid_value", "'top_logprobs' requires 'logprobs' to be true.")
	}
	logprobs := -1
	if r.Logprobs {
		logprobs = int(top)
	}
	opts := TemplateOptions{AddGenerationPrompt: true}
	if opts.Tools, e = parseTools(&r); e != nil {
		return nil, e
	}
	messages, e := parseMessages(r.Messages)
	if e != nil {
		return nil, e
	}
	prompt, e := s.render(messages, opts)
	if e != nil {
		return nil, e
	}
	limit := r.MaxTokens
	if r.MaxCompletionTokens != nil {
		limit = r.MaxCompletionTokens
		if _, e := intInRange("max_completion_tokens", limit, 0, 0, 1<<31-1); e != nil {
			return nil, e
		}
	}
	f := &chatFormat{text: s.text, logprobs: r.Logprobs}
	return s.newCall(&r.common, f, "messages", [][]int32{prompt}, nil, limit, s.o.MaxTokens, logprobs)
}

// render makes the prompt of a conversation.
func (s *Server) render(messages []Message, o TemplateOptions) ([]int32, *apiError) {
	if s.template == nil {
		return nil, badRequest("messages", "no_chat_template", "This model has no chat template: use /v1/completions.")
	}
	text, err := s.template.Render(messages, o)
	if err != nil {
		return nil, badRequest("messages", "chat_template_error", "The model's chat template refuses these messages: %s", err)
	}
	// The template writes the begin-of-sequence token itself.
	prompt, err := s.text.Encode(text, false, true)
	if err != nil {
		return nil, badRequest("messages", "invalid_value", "Invalid 'messages': %s", err)
	}
	if len(prompt) == 0 {
		return nil, badRequest("messages", "invalid_value", "Invalid 'messages': the prompt that they make is empty.")
	}
	return prompt, nil
}

// parseTools returns what the template is shown of the tools.
func parseTools(r *chatRequest) (json.RawMessage, *apiError) {
	choice := "auto"
	if present(r.ToolChoice) {
		if json.Unmarshal(r.ToolChoice, &choice) != nil || choice != "auto" && choice != "none" {
			return nil, badRequest("tool_choice", "unsupported_parameter", "'tool_choice' is supported only as \"auto\" or \"none\": a call cannot be forced.")
		}
	}
	for i, t := range r.Tools {
		if t[0] != '{' {
			return nil, badRequest(fmt.Sprintf("tools[%d]", i), "invalid_type", "Invalid type for 'tools[%d]': expected an object.", i)
		}
	}
	if len(r.Tools) == 0 || choice == "none" {
		return nil, nil
	}
	return encode(r.Tools), nil
}

// chatMessage is a message of a request.
type chatMessage struct {
	Role       string            `json:"role"`
	Content    json.RawMessage   `json:"content"`
	Name       string            `json:"name"`
	ToolCalls  []json.RawMessage `json:"tool_calls"`
	ToolCallID string            `json:"tool_call_id"`
}

// parseMessages checks the messages one by one, so that an error names its
// place.
func parseMessages(raw []json.RawMessage) ([]Message, *apiError) {
	if len(raw) == 0 {
		return nil, badRequest("messages", "missing_required_parameter", "Missing required parameter: 'messages', an array with at least one message.")
	}
	out := make([]Message, len(raw))
	for i, b := range raw {
		at := fmt.Sprintf("messages[%d]", i)
		var m chatMessage
		if b[0] != '{' {
			return nil, badRequest(at, "invalid_type", "Invalid type for '%s': expected an object, but got: %s.", at, jsonKind(b))
		}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, badType(at, err)
		}
		switch m.Role {
		case "system", "user", "assistant", "tool":
		case "developer": // the newer name of "system", which templates do not know
			m.Role = "system"
		case "":
			return nil, badRequest(at+".role", "missing_required_parameter", "Missing required parameter: '%s.role'.", at)
		default:
			return nil, badRequest(at+".role", "invalid_value", "Invalid '%s.role': %q is not one of system, developer, user, assistant, tool.", at, m.Role)
		}
		content, e := parseContent(at+".content", m.Content)
		if e != nil {
			return nil, e
		}
		if !present(m.Content) && m.Role != "assistant" {
			return nil, badRequest(at+".content", "missing_required_parameter", "Missing required parameter: '%s.content'.", at)
		}
		out[i] = Message{Role: m.Role, Content: content, Name: m.Name, ToolCallID: m.ToolCallID}
		if m.Role == "assistant" && len(m.ToolCalls) > 0 {
			out[i].ToolCalls = encode(m.ToolCalls)
		}
	}
	return out, nil
}

// parseContent reads a message's content: a string or a list of text parts.
func parseContent(at string, raw json.RawMessage) (string, *apiError) {
	if !present(raw) {
		return "", nil
	}
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return "", badType(at, err)
		}
		return s, nil
	}
	if raw[0] != '[' {
		return "", badRequest(at, "invalid_type", "Invalid type for '%s': expected a string or an array of text parts, but got: %s.", at, jsonKind(raw))
	}
	var parts []struct {
		Type    string  `json:"type"`
		Text    *string `json:"text"`
		Refusal *string `json:"refusal"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", badType(at, err)
	}
	var b strings.Builder
	for i, p := range parts {
		at := fmt.Sprintf("%s[%d]", at, i)
		text := p.Text
		switch p.Type {
		case "text":
		case "refusal":
			text = p.Refusal
		case "":
			return "", badRequest(at+".type", "missing_required_parameter", "Missing required parameter: '%s.type'.", at)
		default:
			return "", badRequest(at+".type", "unsupported_content",
				"Content parts of type %q are not supported: this model reads text only.", p.Type)
		}
		if text == nil {
			return "", badRequest(at+"."+p.Type, "missing_required_parameter", "Missing required parameter: '%s.%s'.", at, p.Type)
		}
		b.WriteString(*text)
	}
	return b.String(), nil
}

// chatChoice is a choice of /v1/chat/completions: Message in a whole answer,
// Delta in a chunk.
type chatChoice struct {
	Index        int           `json:"index"`
	Message      *chatAnswer   `json:"message,omitempty"`
	Delta        *chatDelta    `json:"delta,omitempty"`
	Logprobs     *chatLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
	StopReason   *string       `json:"stop_reason,omitempty"`
}

type chatAnswer struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// chatFormat renders /v1/chat/completions answers.
type chatFormat struct {
	text     Text
	logprobs bool
}

func (f *chatFormat) prefix() string { return "chatcmpl-" }

func (f *chatFormat) object(stream bool) string {
	if stream {
		return "chat.completion.chunk"
	}
	return "chat.completion"
}

func (f *chatFormat) wantsTokens() bool { return f.logprobs }

// opening is the chunk that names the role, before any text.
func (f *chatFormat) opening(index int) any {
	return chatChoice{Index: index, Delta: &chatDelta{Role: "assistant", Content: new(string)}}
}

func (f *chatFormat) gather(w *gathered, p *piece) {
	w.text = addText(w.text, p.text)
	if f.logprobs {
		w.lists[0] = addElements(w.lists[0], f.tokens(p).Content)
	}
}

func (f *chatFormat) whole(w *gathered) [][]byte {
	fills := []fill{{"content", [][]byte{w.text}}}
	if f.logprobs {
		fills = append(fills, fill{"content", [][]byte{w.lists[0]}})
	}
	return weave(chatChoice{
		Index: w.index, Message: &chatAnswer{Role: "assistant"},
		Logprobs: f.tokens(&w.piece), FinishReason: finish(w.finish), StopReason: optional(w.stopped),
	}, fills...)
}

// chunks gives the text its chunk and the finish reason another with an empty
// delta.
func (f *chatFormat) chunks(p *piece) []any {
	var out []any
	if p.text != "" || len(p.tokens) > 0 {
		out = append(out, chatChoice{Index: p.index, Delta: &chatDelta{Content: &p.text}, Logprobs: f.tokens(p)})
	}
	if p.finish != "" {
		out = append(out, chatChoice{Index: p.index, Delta: &chatDelta{}, FinishReason: finish(p.finish), StopReason: optional(p.stopped)})
	}
	return out
}

func (f *chatFormat) tokens(p *piece) *chatLogprobs {
	if !f.logprobs {
		return nil
	}
	return chatTokens(f.text, p.tokens)
}
