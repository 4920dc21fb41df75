package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func (r *rig) get(path string, headers ...string) (int, string, http.Header) {
	r.Helper()
	resp := r.do("GET", path, "", headers...)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestModels(t *testing.T) {
	r := start(t, &servertest.Model{})
	entry := func(id string) string {
		return `{"id":"` + id + `","object":"model","created":1700000000,"owned_by":"lamina","max_model_len":256}`
	}
	for path, want := range map[string]string{
		"/v1/models":                     `{"object":"list","data":[` + entry(modelID) + `,` + entry("alias") + `]}`,
		"/v1/models/":                    `{"object":"list","data":[` + entry(modelID) + `,` + entry("alias") + `]}`,
		"/v1/models/alias":               entry("alias"),
		"/v1/models/test/model:1b":       entry(modelID),
		"/v1/models/test%2Fmodel%3A1b":   entry(modelID),
		"/v1/models/test%2fmodel%3a1b?x": entry(modelID),
	} {
		if status, body, _ := r.get(path); status != 200 || body != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/v1/models/nope", "/v1/models/a%2Fb%3Ac"} {
		if status, body, _ := r.get(path); status != 404 || !strings.Contains(body, `"code":"model_not_found"`) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

func TestHealth(t *testing.T) {
	ready := false
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.Ready = func() bool { return ready } })
	if status, _, _ := r.get("/readyz"); status != 503 {
		t.Errorf("not ready: %d", status)
	}
	ready = true
	for _, path := range []string{"/healthz", "/health", "/readyz", "/"} {
		if status, _, h := r.get(path); status != 200 || !strings.HasPrefix(h.Get("x-request-id"), "req_") {
			t.Errorf("%s: %d %v", path, status, h)
		}
		resp := r.do("HEAD", path, "")
		if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || len(b) != 0 || resp.ContentLength <= 0 {
			t.Errorf("HEAD %s: %d, %d bytes, length %d", path, resp.StatusCode, len(b), resp.ContentLength)
		}
	}
	if _, _, h := r.get("/healthz", "X-Request-Id: mine-1"); h.Get("x-request-id") != "mine-1" {
		t.Errorf("own request id: %v", h)
	}
}

func TestRouting(t *testing.T) {
	r := start(t, &servertest.Model{})
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/nope", 404, ""},
		{"POST", "/v1", 404, ""},
		{"GET", "/v1/completionsx", 404, ""},
		{"GET", "/v1/completions", 405, "POST, OPTIONS"},
		{"HEAD", "/v1/chat/completions", 405, "POST, OPTIONS"},
		{"POST", "/v1/models", 405, "GET, HEAD, OPTIONS"},
		{"DELETE", "/v1/models/x", 405, "GET, HEAD, OPTIONS"},
		{"OPTIONS", "/v1/models", 204, "GET, HEAD, OPTIONS"},
		{"BREW", "/healthz", 405, "GET, HEAD, OPTIONS"},
	} {
		resp := r.do(c.method, c.path, "")
		b, _ := io.ReadAll(resp.Body)
		var a answer
		isError := json.Unmarshal(b, &a) == nil && a.Error != nil
		if resp.StatusCode != c.status || resp.Header.Get("Allow") != c.allow || c.method != "HEAD" && isError != (c.status >= 400) {
			t.Errorf("%s %s: %d, Allow %q, %s", c.method, c.path, resp.StatusCode, resp.Header.Get("Allow"), b)
		}
	}
}

func TestKeys(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.Keys = []string{"alpha", "beta"} })
	for _, header := range []string{"", "Authorization: Bearer gamma", "Authorization: Bearer ", "Authorization: alpha", "X-Api-Key: gamma", "Authorization: Basic alpha"} {
		status, body, h := r.get("/v1/models", header)
		if status != 401 || !strings.Contains(body, `"code":"invalid_api_key"`) || h.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: %d %s", header, status, body)
		}
	}
	for _, header := range []string{"Authorization: Bearer alpha", "authorization: bearer beta", "X-Api-Key: beta"} {
		if status, body, _ := r.get("/v1/models", header); status != 200 {
			t.Errorf("%q: %d %s", header, status, body)
		}
	}
	for _, path := range []string{"/healthz", "/health", "/readyz", "/"} {
		if status, _, _ := r.get(path); status != 200 {
			t.Errorf("%s needs a key", path)
		}
	}
	for _, path := range []string{"/metrics", "/v1/models/alias"} {
		if status, _, _ := r.get(path); status != 401 {
			t.Errorf("%s: %d", path, status)
		}
	}
	r.refuse(completions, `{"prompt":"x"}`, 401, "-", "invalid_api_key")
}

func TestCORS(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.CORSOrigins = []string{"https://ok.example"}; o.Keys = []string{"k"} })
	resp := r.do("OPTIONS", chat, "", "Origin: https://ok.example", "Access-Control-Request-Method: POST",
		"Access-Control-Request-Headers: authorization,content-type,x-stainless-lang,x-stainless-retry-count")
	allowed := strings.Split(strings.ToLower(resp.Header.Get("Access-Control-Allow-Headers")), ", ")
	if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "https://ok.example" ||
		!slices.Contains(allowed, "x-stainless-retry-count") || !slices.Contains(allowed, "authorization") ||
		!strings.Contains(resp.Header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	if _, _, h := r.get("/healthz", "Origin: https://evil.example"); h.Get("Access-Control-Allow-Origin") != "" || h.Get("Vary") != "Origin" {
		t.Errorf("other origin: %v", h)
	}
	if status, _, h := r.get("/v1/models", "Origin: https://ok.example"); status != 401 || h.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("an error must be readable too: %d %v", status, h)
	}
}

func TestBodyTooLarge(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.MaxBody = 1000 })
	for _, size := range []int{2000, 3 << 20} {
		r.refuse(completions, `{"prompt":"`+strings.Repeat("x", size)+`"}`, 413, "-", "request_too_large")
	}
	resp, err := r.client.Post("http://"+r.addr+completions, "application/json", io.MultiReader(bytes.NewReader(make([]byte, 5000)))) // chunked
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("chunked: %d", resp.StatusCode)
	}
}

func TestBadHTTP(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.ReadTimeout = 300 * time.Millisecond })
	for input, status := range map[string]string{
		"nonsense\r\n\r\n": "400",
		"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 20000) + "\r\n\r\n": "431",
		"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{":           "408",
	} {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, input)
		b, _ := io.ReadAll(c)
		c.Close()
		if !strings.HasPrefix(string(b), "HTTP/1.1 "+status) || !strings.Contains(string(b), `{"error":{"message":`) {
			t.Errorf("%.40q: %s", input, b)
		}
	}
}

func TestBusy(t *testing.T) {
	r := start(t, &servertest.Model{Slots: 1, Step: 20 * time.Millisecond})
	first := make(chan int)
	go func() { s, _ := r.post(completions, `{"prompt":"x"}`); first <- s }()
	if !eventually(func() bool { return r.model.Active() == 1 }) {
		t.Fatal("the first request does not run")
	}
	for _, body := range []string{`{"prompt":"x"}`, `{"prompt":"x","stream":true}`} {
		resp := r.do("POST", completions, body)
		b, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(b), `"code":"server_busy"`) {
			t.Errorf("%s: %d %v %s", body, resp.StatusCode, resp.Header, b)
		}
	}
	if s := <-first; s != 200 {
		t.Errorf("first: %d", s)
	}
}

func TestMetrics(t *testing.T) {
	extra := func(b []byte) []byte { return append(b, "engine_layers 0\n"...) }
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.Metrics = extra })
	r.ask(completions, `{"prompt":["ab","c"],"max_tokens":5}`)
	r.refuse(completions, `{}`, 400, "prompt", "missing_required_parameter")
	status, body, h := r.get("/metrics")
	if status != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Errorf("%d %v", status, h)
	}
	for _, line := range []string{
		`lamina_http_requests_total{code="200",route="/v1/completions"} 1`,
		`lamina_http_requests_total{code="400",route="/v1/completions"} 1`,
		`lamina_prompt_tokens_total 5`, `lamina_generation_tokens_total 10`, `lamina_requests_in_flight 0`,
		`lamina_time_to_first_token_seconds_count 2`, `lamina_time_per_output_token_seconds_count 8`,
		`lamina_request_duration_seconds_count 1`, `lamina_panics_total 0`, `engine_layers 0`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %q", line)
		}
	}
}

func TestPlan(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) {
		o.Plan = func() any { return map[string]any{"budget_bytes": 5, "title": "a < b"} }
	})
	status, body, h := r.get("/v1/lamina/plan")
	if status != 200 || body != `{"budget_bytes":5,"title":"a < b"}` || h.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s %v", status, body, h)
	}
	if status, body, _ := start(t, &servertest.Model{}).get("/v1/lamina/plan"); status != 404 {
		t.Errorf("without a plan: %d %s", status, body)
	}
}
