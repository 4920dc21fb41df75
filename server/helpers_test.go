package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

const modelID = "test/model:1b"

// goroutines counts the goroutines, without two kinds that fasthttp keeps: the
// clock of its Date header, and the sleeping sweeper of a worker pool.
func goroutines() (n int, stacks string) {
	buf := make([]byte, 1<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if !strings.Contains(g, "fasthttp.(*workerPool).Start.func") && !strings.Contains(g, "fasthttp.updateServerDate") {
			n++
			stacks += g + "\n\n"
		}
	}
	return n, stacks
}

// rig is a server on a loopback port.
type rig struct {
	*testing.T
	*server.Server
	model  *servertest.Model
	addr   string
	client *http.Client
	serve  chan error
}

// start runs a server around m until the test ends, and then checks that no
// goroutine and no request is left.
func start(t *testing.T, m *servertest.Model, change ...func(*server.Options)) *rig {
	t.Helper()
	before, _ := goroutines()
	o := server.Options{Models: []string{modelID, "alias"}, Context: 256, PingInterval: time.Minute, Created: time.Unix(1700000000, 0)}
	o.Sampling.TopP = 1 // greedy unless asked otherwise
	o.Sampling.RepeatPenalty = 1
	for _, f := range change {
		f(&o)
	}
	s, err := server.New(m, servertest.Text{}, servertest.Template{}, o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, Server: s, model: m, addr: ln.Addr().String(), serve: make(chan error, 1)}
	r.client = &http.Client{Transport: &http.Transport{}}
	go func() { r.serve <- s.Serve(ln) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-r.serve; err != nil {
			t.Errorf("serve: %v", err)
		}
		if n := m.Active(); n != 0 {
			t.Errorf("%d requests still run", n)
		}
		if !eventually(func() bool { n, _ := goroutines(); return n <= before }) {
			n, stacks := goroutines()
			t.Errorf("goroutines: %d before, %d after\n%s", before, n, stacks)
		}
	})
	return r
}

func eventually(ok func() bool) bool {
	// Generous: the race detector on a busy machine is slow, and success ends the wait.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return ok()
}

// do sends a request with optional "Header: value" lines.
func (r *rig) do(method, path, body string, headers ...string) *http.Response {
	r.Helper()
	req, err := http.NewRequest(method, "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for _, h := range headers {
		if k, v, ok := strings.Cut(h, ": "); ok {
			req.Header.Set(k, v)
		}
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { resp.Body.Close() })
	return resp
}

// post returns status and body of a POST.
func (r *rig) post(path, body string) (int, []byte) {
	r.Helper()
	resp := r.do("POST", path, body)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, b
}

// choice is a choice of any endpoint, whole or chunk.
type choice struct {
	Index        int
	Text         string
	Message      struct{ Role, Content string }
	Delta        struct{ Role, Content string }
	FinishReason string `json:"finish_reason"`
	StopReason   string `json:"stop_reason"`
	Logprobs     json.RawMessage
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

type answer struct {
	ID, Object, Model string
	Created           int64
	Choices           []choice
	Usage             *usage
	Error             *apiError
}

type apiError struct {
	Message, Type string
	Param, Code   *string
}

// ask posts and decodes an answer that must be a 200.
func (r *rig) ask(path, body string) answer {
	r.Helper()
	status, b := r.post(path, body)
	if status != 200 {
		r.Fatalf("%s %s: %d %s", path, body, status, b)
	}
	var a answer
	if err := json.Unmarshal(b, &a); err != nil {
		r.Fatalf("%v in %s", err, b)
	}
	return a
}

// refuse posts and checks status, param and code of the error; "-" is null.
func (r *rig) refuse(path, body string, status int, param, code string) apiError {
	r.Helper()
	got, b := r.post(path, body)
	var a answer
	if err := json.Unmarshal(b, &a); err != nil || a.Error == nil {
		r.Fatalf("%.200s: %d, not an error: %s", body, got, b)
	}
	str := func(p *string) string {
		if p == nil {
			return "-"
		}
		return *p
	}
	if got != status || str(a.Error.Param) != param || str(a.Error.Code) != code || a.Error.Message == "" || a.Error.Type == "" {
		r.Errorf("%.200s\n got %d %s\nwant %d, param %s, code %s", body, got, b, status, param, code)
	}
	return *a.Error
}

// events reads a stream strictly: every line is data, a comment or empty, and
// every event ends with one empty line. The data of [DONE] is not included, but
// must come last.
func events(t testing.TB, body io.Reader) (data []string, pings int) {
	t.Helper()
	sc := bufio.NewScanner(body)
	sc.Buffer(nil, 1<<20)
	done, open := false, false
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "":
			if !open {
				t.Fatalf("stray empty line after %d events", len(data))
			}
			open = false
			continue
		case open:
			t.Fatalf("event without its empty line before %q", line)
		case done:
			t.Fatalf("%q after [DONE]", line)
		case line == "data: [DONE]":
			done = true
		case strings.HasPrefix(line, "data: {"):
			data = append(data, line[len("data: "):])
		case line == ": ping":
			pings++
		default:
			t.Fatalf("not an event line: %q", line)
		}
		open = true
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	if !done || open {
		t.Fatalf("stream ended badly: done=%v open=%v", done, open)
	}
	return data, pings
}

// stream posts and decodes a stream.
func (r *rig) stream(path, body string) []answer {
	r.Helper()
	resp := r.do("POST", path, body)
	if ct := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || !strings.HasPrefix(ct, "text/event-stream") {
		b, _ := io.ReadAll(resp.Body)
		r.Fatalf("%d %s: %s", resp.StatusCode, ct, b)
	}
	data, _ := events(r, resp.Body)
	out := make([]answer, len(data))
	for i, d := range data {
		if err := json.Unmarshal([]byte(d), &out[i]); err != nil {
			r.Fatalf("%v in %s", err, d)
		}
	}
	return out
}
