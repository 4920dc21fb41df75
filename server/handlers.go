package server

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"
)

// handleGenerate serves a generation endpoint.
func (s *Server) handleGenerate(parse func([]byte) (*call, *apiError)) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		end, e := s.begin()
		if e != nil {
			fail(ctx, e)
			return
		}
		// release is what to do on the way out, a panic included; nil once a
		// stream has taken it over.
		release := end
		defer func() {
			if release != nil {
				release()
			}
		}()
		c, e := parse(ctx.PostBody())
		if e != nil {
			fail(ctx, e)
			return
		}
		conn := ctx.Conn()
		g := s.generate(c, requestID(ctx), conn, end)
		release = g.close
		if !c.stream {
			a, e := g.collect()
			if e != nil {
				fail(ctx, e)
				return
			}
			ctx.SetContentType("application/json")
			ctx.SetBodyStream(a, a.size())
			return
		}
		st := newStream(g, conn)
		release = func() { st.Close() }
		if e := st.prime(); e != nil {
			fail(ctx, e)
			return
		}
		ctx.SetContentType("text/event-stream; charset=utf-8")
		ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-cache")
		ctx.Response.Header.Set("X-Accel-Buffering", "no") // nginx would hold events back
		if !ctx.Request.Header.IsHTTP11() {
			st.unframed(ctx)
			return
		}
		ctx.Response.ImmediateHeaderFlush = true
		ctx.SetBodyStream(st, -1)
		release = nil
	}
}

// modelInfo is an entry of /v1/models.
type modelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
	MaxLen  int    `json:"max_model_len"`
}

func (s *Server) modelInfo(id string) modelInfo {
	return modelInfo{ID: id, Object: "model", Created: s.o.Created.Unix(), OwnedBy: s.o.OwnedBy, MaxLen: s.o.Context}
}

func (s *Server) serves(id string) bool { return slices.Contains(s.o.Models, id) }

func (s *Server) unknownModel(id string) *apiError {
	e := newError(fasthttp.StatusNotFound, typeInvalid, "model_not_found",
		"The model %q does not exist; this server has: %s.", id, strings.Join(s.o.Models, ", "))
	e.Param = optional("model")
	return e
}

func (s *Server) handleModels(ctx *fasthttp.RequestCtx) {
	list := make([]modelInfo, len(s.o.Models))
	for i, id := range s.o.Models {
		list[i] = s.modelInfo(id)
	}
	writeJSON(ctx, fasthttp.StatusOK, encode(struct {
		Object string      `json:"object"`
		Data   []modelInfo `json:"data"`
	}{"list", list}))
}

// handleModel serves GET /v1/models/{id}. Ids contain slashes and colons, and
// clients percent-encode them, so the path is taken as it came.
func (s *Server) handleModel(ctx *fasthttp.RequestCtx) {
	id, err := url.PathUnescape(strings.TrimPrefix(string(ctx.URI().PathOriginal()), modelPath))
	if err != nil || !s.serves(id) {
		fail(ctx, s.unknownModel(id))
		return
	}
	writeJSON(ctx, fasthttp.StatusOK, encode(s.modelInfo(id)))
}

// handleTokenize serves POST /tokenize as vLLM has it: a prompt or messages in,
// token ids out.
func (s *Server) handleTokenize(ctx *fasthttp.RequestCtx) {
	var r struct {
		chatRequest
		Prompt  *string `json:"prompt"`
		Special *bool   `json:"add_special_tokens"`
	}
	ids, e := func() ([]int32, *apiError) {
		if e := decodeBody(ctx.PostBody(), &r); e != nil {
			return nil, e
		}
		if e := s.checkModel(r.Model); e != nil {
			return nil, e
		}
		if r.Prompt == nil && r.Messages == nil {
			return nil, badRequest("prompt", "missing_required_parameter", "Missing required parameter: 'prompt', a string, or 'messages'.")
		}
		if r.Prompt == nil {
			m, e := parseMessages(r.Messages)
			if e != nil {
				return nil, e
			}
			return s.render(m, TemplateOptions{AddGenerationPrompt: true})
		}
		ids, err := s.text.Encode(*r.Prompt, r.Special == nil || *r.Special, true)
		if err != nil {
			return nil, badRequest("prompt", "invalid_value", "Invalid 'prompt': %s", err)
		}
		return ids, nil
	}()
	if e != nil {
		fail(ctx, e)
		return
	}
	if ids == nil {
		ids = []int32{}
	}
	writeJSON(ctx, fasthttp.StatusOK, encode(struct {
		Count  int     `json:"count"`
		MaxLen int     `json:"max_model_len"`
		Tokens []int32 `json:"tokens"`
	}{len(ids), s.o.Context, ids}))
}

// handleDetokenize serves POST /detokenize: token ids in, text out.
func (s *Server) handleDetokenize(ctx *fasthttp.RequestCtx) {
	var r struct {
		Model  string          `json:"model"`
		Tokens json.RawMessage `json:"tokens"`
	}
	ids, e := func() ([]int32, *apiError) {
		if e := decodeBody(ctx.PostBody(), &r); e != nil {
			return nil, e
		}
		if e := s.checkModel(r.Model); e != nil {
			return nil, e
		}
		if !present(r.Tokens) {
			return nil, badRequest("tokens", "missing_required_parameter", "Missing required parameter: 'tokens', an array of token ids.")
		}
		var tokens []tokenID
		if err := json.Unmarshal(r.Tokens, &tokens); err != nil {
			return nil, badType("tokens", err)
		}
		return s.checkIDs("tokens", tokens)
	}()
	if e != nil {
		fail(ctx, e)
		return
	}
	writeJSON(ctx, fasthttp.StatusOK, encode(struct {
		Prompt string `json:"prompt"`
	}{s.detokenize(ids, true)}))
}

// handlePlan shows how memory is used.
func (s *Server) handlePlan(ctx *fasthttp.RequestCtx) {
	writeJSON(ctx, fasthttp.StatusOK, encode(s.o.Plan()))
}

// handleHealth says that the process answers; it never waits for the engine.
func (s *Server) handleHealth(ctx *fasthttp.RequestCtx) {
	writeJSON(ctx, fasthttp.StatusOK, []byte(`{"status":"ok"}`))
}

// handleReady says whether new requests are welcome.
func (s *Server) handleReady(ctx *fasthttp.RequestCtx) {
	switch {
	case s.draining():
		writeJSON(ctx, fasthttp.StatusServiceUnavailable, []byte(`{"status":"draining"}`))
	case !s.o.Ready():
		writeJSON(ctx, fasthttp.StatusServiceUnavailable, []byte(`{"status":"loading"}`))
	default:
		writeJSON(ctx, fasthttp.StatusOK, []byte(`{"status":"ready"}`))
	}
}

// handleIndex tells a person with a browser where they are.
func (s *Server) handleIndex(ctx *fasthttp.RequestCtx) {
	var b bytes.Buffer
	b.WriteString(strings.TrimSpace("Lamina "+s.o.Version) + "\n\nAn OpenAI-style API for: " + strings.Join(s.o.Models, ", ") + "\n\n")
	for _, p := range s.paths {
		b.WriteString(p + "\n")
	}
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.SetBody(b.Bytes())
}
