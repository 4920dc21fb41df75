package server_test

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

const chat = "/v1/chat/completions"

func TestChat(t *testing.T) {
	r := start(t, &servertest.Model{})
	a := r.ask(chat, `{"model":"alias","messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hel"},{"type":"text","text":"lo"}]}],"max_completion_tokens":4,"max_tokens":9}`)
	if a.Object != "chat.completion" || a.Model != "alias" || !strings.HasPrefix(a.ID, "chatcmpl-") {
		t.Errorf("envelope %+v", a)
	}
	c := a.Choices[0]
	if c.Message.Role != "assistant" || c.Message.Content != "Once" || c.FinishReason != "length" || string(c.Logprobs) != "null" {
		t.Errorf("choice %+v", c)
	}
	// The template writes <s>, which is one token.
	if want := len("system: Be brief.\nuser: Hello\nassistant:") + 1; a.Usage.PromptTokens != want {
		t.Errorf("%d prompt tokens, want %d", a.Usage.PromptTokens, want)
	}
	// Without max_tokens the answer may fill the context.
	if a := r.ask(chat, `{"messages":[{"role":"user","content":"x"}]}`); a.Choices[0].FinishReason != "stop" || a.Choices[0].Message.Content != servertest.Story {
		t.Errorf("open-ended: %+v", a.Choices[0])
	}
}

func TestChatTools(t *testing.T) {
	r := start(t, &servertest.Model{})
	tools := `[{"type":"function","function":{"z":1,"a":"<&>"}}]`
	call := `[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]`
	a := r.ask(chat, `{"max_tokens":1,"tools":`+tools+`,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":`+call+`},{"role":"tool","tool_call_id":"c1","content":"42"}]}`)
	want := len("tools: "+tools+"\nuser: x\nassistant: "+call+"\ntool: 42\nassistant:") + 1
	if a.Usage.PromptTokens != want {
		t.Errorf("%d prompt tokens, want %d: tools must reach the template as they came", a.Usage.PromptTokens, want)
	}
	b := r.ask(chat, `{"max_tokens":1,"tool_choice":"none","tools":`+tools+`,"messages":[{"role":"user","content":"x"}]}`)
	if want := len("user: x\nassistant:") + 1; b.Usage.PromptTokens != want {
		t.Errorf("tool_choice none: %d prompt tokens, want %d", b.Usage.PromptTokens, want)
	}
}

func TestChatStream(t *testing.T) {
	r := start(t, &servertest.Model{})
	resp := r.do("POST", chat, `{"messages":[{"role":"user","content":"x"}],"max_tokens":3,"n":2,"stream":true,"stream_options":{"include_usage":true}}`)
	data, _ := events(t, resp.Body)
	text, role, finish := make([]string, 2), make([]int, 2), make([]string, 2)
	var first answer
	for i, d := range data {
		var e answer
		var raw struct {
			Usage   json.RawMessage
			Choices []struct{ Delta json.RawMessage }
		}
		if json.Unmarshal([]byte(d), &e) != nil || json.Unmarshal([]byte(d), &raw) != nil {
			t.Fatal(d)
		}
		if i == 0 {
			first = e
		}
		if e.ID != first.ID || e.Created != first.Created || e.Object != "chat.completion.chunk" || e.Model != modelID {
			t.Errorf("chunk %d: %s", i, d)
		}
		if i == len(data)-1 {
			if len(e.Choices) != 0 || e.Usage == nil || e.Usage.CompletionTokens != 6 || !strings.Contains(d, `"choices":[]`) {
				t.Errorf("last chunk: %s", d)
			}
			continue
		}
		if string(raw.Usage) != "null" {
			t.Errorf("usage must be null before the last chunk: %s", d)
		}
		c := e.Choices[0]
		if c.Delta.Role != "" {
			if role[c.Index]++; text[c.Index] != "" || c.Delta.Role != "assistant" {
				t.Errorf("role not first: %s", d)
			}
		}
		text[c.Index] += c.Delta.Content
		if c.FinishReason != "" {
			finish[c.Index] += c.FinishReason
			if string(raw.Choices[0].Delta) != "{}" {
				t.Errorf("finish chunk must have an empty delta: %s", d)
			}
		}
	}
	if !slices.Equal(text, []string{"Onc", "Onc"}) || !slices.Equal(role, []int{1, 1}) || !slices.Equal(finish, []string{"length", "length"}) {
		t.Errorf("text %q role %v finish %q", text, role, finish)
	}
	if strings.Contains(strings.Join(data, ""), `"message"`) {
		t.Error("chunks must have no message")
	}
}

func TestChatLogprobs(t *testing.T) {
	r := start(t, &servertest.Model{})
	body := `{"messages":[{"role":"user","content":"x"}],"max_tokens":23,"logprobs":true,"top_logprobs":2%s}`
	whole := r.ask(chat, strings.Replace(body, "%s", "", 1)).Choices[0].Logprobs
	type entry struct {
		Token   string
		Logprob float64
		Bytes   []int
		Top     []struct {
			Token   string
			Logprob float64
			Bytes   []int
		} `json:"top_logprobs"`
	}
	var got struct{ Content []entry }
	if err := json.Unmarshal(whole, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Content) != 23 || got.Content[0].Token != "O" || !slices.Equal(got.Content[0].Bytes, []int{'O'}) || got.Content[22].Token != `\xc3` {
		t.Errorf("%s", whole)
	}
	for _, e := range got.Content {
		if len(e.Top) != 2 || e.Top[0].Token != e.Token || e.Top[0].Logprob != e.Logprob || e.Top[1].Logprob >= e.Logprob {
			t.Errorf("%+v", e)
		}
	}
	var streamed []entry
	for _, e := range r.stream(chat, strings.Replace(body, "%s", `,"stream":true`, 1)) {
		var l struct{ Content []entry }
		if raw := e.Choices[0].Logprobs; len(raw) > 0 {
			if err := json.Unmarshal(raw, &l); err != nil {
				t.Fatal(err)
			}
		}
		streamed = append(streamed, l.Content...)
	}
	a, _ := json.Marshal(streamed)
	b, _ := json.Marshal(got.Content)
	if string(a) != string(b) {
		t.Errorf("streamed %s\nwhole %s", a, b)
	}
}

func TestChatRefusals(t *testing.T) {
	r := start(t, &servertest.Model{})
	user := `{"role":"user","content":"x"}`
	for _, c := range []struct{ body, param, code string }{
		{`{}`, "messages", "missing_required_parameter"},
		{`{"messages":[]}`, "messages", "missing_required_parameter"},
		{`{"messages":"hi"}`, "messages", "invalid_type"},
		{`{"messages":["hi"]}`, "messages[0]", "invalid_type"},
		{`{"messages":[` + user + `,{"role":"king","content":"x"}]}`, "messages[1].role", "invalid_value"},
		{`{"messages":[{"content":"x"}]}`, "messages[0].role", "missing_required_parameter"},
		{`{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages[0].content[0].type", "missing_required_parameter"},
		{`{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages[0].content[0].text", "missing_required_parameter"},
		{`{"messages":[{"role":1,"content":"x"}]}`, "messages[0].role", "invalid_type"},
		{`{"messages":[{"role":"user"}]}`, "messages[0].content", "missing_required_parameter"},
		{`{"messages":[{"role":"user","content":5}]}`, "messages[0].content", "invalid_type"},
		{`{"messages":[{"role":"user","content":["x"]}]}`, "messages[0].content", "invalid_type"},
		{`{"messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"data:,"}}]}]}`, "messages[0].content[1].type", "unsupported_content"},
		{`{"messages":[{"role":"assistant","content":"x"}]}`, "messages", "chat_template_error"},
		{`{"messages":[` + user + `],"response_format":{"type":"json_object"}}`, "response_format", "unsupported_parameter"},
		{`{"messages":[` + user + `],"modalities":["text","audio"]}`, "modalities", "unsupported_parameter"},
		{`{"messages":[` + user + `],"tool_choice":"required"}`, "tool_choice", "unsupported_parameter"},
		{`{"messages":[` + user + `],"tools":[1]}`, "tools[0]", "invalid_type"},
		{`{"messages":[` + user + `],"top_logprobs":1}`, "top_logprobs", "invalid_value"},
		{`{"messages":[` + user + `],"logprobs":true,"top_logprobs":21}`, "top_logprobs", "invalid_value"},
		{`{"messages":[` + user + `],"logprobs":1}`, "logprobs", "invalid_type"},
		{`{"messages":[` + user + `],"max_tokens":-5}`, "max_tokens", "invalid_value"},
		{`{"messages":[` + user + `],"max_completion_tokens":-5}`, "max_completion_tokens", "invalid_value"},
		{`{"messages":[` + user + `],"max_tokens":250}`, "messages", "context_length_exceeded"},
		{`{"messages":[{"role":"user","content":"` + strings.Repeat("x", 300) + `"}]}`, "messages", "context_length_exceeded"},
	} {
		r.refuse(chat, c.body, 400, c.param, c.code)
	}
	if r.model.Steps() != 0 {
		t.Error("a refused request reached the model")
	}
	// Everything that the official Go client's own tests send at once.
	r.ask(chat, `{"messages":[{"role":"developer","content":"string","name":"name"}],"model":"alias","audio":{"format":"wav","voice":"alloy"},
		"frequency_penalty":-2,"function_call":"none","functions":[{"name":"name"}],"logit_bias":{"foo":0},"logprobs":true,
		"max_completion_tokens":0,"max_tokens":0,"metadata":{"foo":"string"},"modalities":["text"],"n":1,"parallel_tool_calls":true,
		"prediction":{"content":"string","type":"content"},"presence_penalty":-2,"reasoning_effort":"none","response_format":{"type":"text"},
		"seed":-9007199254740991,"service_tier":"auto","stop":"\n","store":true,"stream_options":{"include_usage":true},"temperature":1,
		"tool_choice":"none","tools":[{"type":"function","function":{"name":"name"}}],"top_logprobs":0,"top_p":1,"user":"user-1234","verbosity":"low"}`)
}

func TestNoTemplate(t *testing.T) {
	s := start(t, &servertest.Model{})
	plain, err := server.New(s.model, servertest.Text{}, nil, server.Options{Models: []string{"m"}, Context: 8})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	go plain.Serve(ln)
	s.addr = ln.Addr().String()
	s.refuse(chat, `{"messages":[{"role":"user","content":"x"}]}`, 400, "messages", "no_chat_template")
	s.client.CloseIdleConnections()
	if err := plain.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTokenize(t *testing.T) {
	r := start(t, &servertest.Model{})
	for _, c := range []struct{ path, body, want string }{
		{"/tokenize", `{"prompt":"hi"}`, `{"count":3,"max_model_len":256,"tokens":[256,104,105]}`},
		{"/tokenize", `{"prompt":"hi","add_special_tokens":false}`, `{"count":2,"max_model_len":256,"tokens":[104,105]}`},
		{"/tokenize", `{"prompt":"","add_special_tokens":false}`, `{"count":0,"max_model_len":256,"tokens":[]}`},
		{"/detokenize", `{"tokens":[256,104,195,169,195]}`, `{"prompt":"<s>hé�"}`},
	} {
		if status, b := r.post(c.path, c.body); status != 200 || string(b) != c.want {
			t.Errorf("%s %s: %d %s", c.path, c.body, status, b)
		}
	}
	r.refuse("/detokenize", `{"tokens":[99999999999]}`, 400, "tokens", "invalid_value")
	r.refuse("/detokenize", `{"tokens":["a"]}`, 400, "tokens", "invalid_type")
	r.refuse("/tokenize", `{"prompt":5}`, 400, "prompt", "invalid_type")
	r.refuse("/detokenize", `{"tokens":[1,null]}`, 400, "tokens", "invalid_type")
	r.refuse("/detokenize", `{}`, 400, "tokens", "missing_required_parameter")
	r.refuse("/tokenize", `{}`, 400, "prompt", "missing_required_parameter")
	r.refuse("/tokenize", `{"messages":[]}`, 400, "messages", "missing_required_parameter")
	resp := r.do("POST", "/tokenize", `{"messages":[{"role":"user","content":"x"}]}`)
	if b, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(b), `{"count":19,`) {
		t.Errorf("messages: %s", b)
	}
}
