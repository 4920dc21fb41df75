package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"iter"
	"net"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

// raw sends a request on a connection of its own.
func (r *rig) raw(path, body string) net.Conn {
	r.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.Fatal(err)
	}
	req := "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
	if _, err := io.WriteString(c, req+strconv.Itoa(len(body))+"\r\n\r\n"+body); err != nil {
		r.Fatal(err)
	}
	return c
}

// TestDisconnect closes the client's side in each phase and wants the
// generator gone, although the request would take far longer than eventually waits.
func TestDisconnect(t *testing.T) {
	for name, c := range map[string]struct {
		model *servertest.Model
		body  string
		sees  string // what the line that it leaves after begins with
	}{
		"prefill":          {&servertest.Model{Prefill: time.Minute}, `{"prompt":"x"}`, ""},
		"prefill, stream":  {&servertest.Model{Prefill: time.Minute}, `{"prompt":"x","stream":true}`, ": ping"},
		"decoding":         {&servertest.Model{Step: time.Minute}, `{"prompt":"x"}`, ""},
		"decoding, stream": {&servertest.Model{Step: 200 * time.Millisecond}, `{"prompt":"x","max_tokens":250,"stream":true}`, "data: {"},
		"many, stream":     {&servertest.Model{Step: 200 * time.Millisecond}, `{"prompt":["x","y"],"n":8,"max_tokens":250,"stream":true}`, "data: {"},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, c.model, func(o *server.Options) { o.PingInterval = 100 * time.Millisecond })
			conn := r.raw(completions, c.body)
			if !eventually(func() bool { return r.model.Active() > 0 }) {
				t.Fatal("never ran")
			}
			if c.sees != "" {
				for br := bufio.NewReader(conn); ; {
					line, err := br.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(line, c.sees) {
						break
					}
				}
			}
			closed := time.Now()
			conn.Close()
			if !eventually(func() bool { return r.model.Active() == 0 }) {
				t.Errorf("still %d running %v after the client left", r.model.Active(), time.Since(closed))
			}
			if _, body, _ := r.get("/metrics"); !strings.Contains(body, "lamina_clients_gone_total 1\n") && !eventually(func() bool {
				_, body, _ := r.get("/metrics")
				return strings.Contains(body, "lamina_clients_gone_total 1\n")
			}) {
				t.Error("not counted")
			}
		})
	}
}

// TestTLSDisconnect: the close alert of TLS lies unread before the end of the
// stream and must not hide it.
func TestTLSDisconnect(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("an end behind unread input is seen on Linux only")
	}
	r := start(t, &servertest.Model{Prefill: time.Minute})
	s, err := server.New(r.model, servertest.Text{}, nil, server.Options{Models: []string{"m"}, Context: 100})
	if err != nil {
		t.Fatal(err)
	}
	certs := httptest.NewUnstartedServer(nil) // for its key pair
	certs.StartTLS()
	pair := certs.TLS.Certificates
	certs.Close()
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(tls.NewListener(ln, &tls.Config{Certificates: pair})) }()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"x\"}")
	if !eventually(func() bool { return r.model.Active() == 1 }) {
		t.Fatal("never ran")
	}
	c.Close()
	if !eventually(func() bool { return r.model.Active() == 0 }) {
		t.Error("the request outlived its client")
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-done
}

// TestPipelined: a second request waiting in the socket is no disconnect.
func TestPipelined(t *testing.T) {
	r := start(t, &servertest.Model{Step: 40 * time.Millisecond})
	c := r.raw(completions, `{"prompt":"x","max_tokens":12}`)
	defer c.Close()
	io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	b, _ := io.ReadAll(c)
	if got := string(b); strings.Count(got, "HTTP/1.1 200 OK") != 2 || !strings.Contains(got, `"completion_tokens":12`) {
		t.Errorf("%s", got)
	}
}

// TestPing: a generator that says nothing until two pings have come shows that
// headers and pings do not wait for it.
func TestPing(t *testing.T) {
	heard := make(chan struct{})
	r := scripted(t, func(ctx context.Context, yield func(model.Event, error) bool) {
		select {
		case <-heard:
		case <-ctx.Done():
			return
		}
		for range 3 {
			yield(model.Event{Text: "a", Tokens: []model.TokenInfo{{ID: 'a', Bytes: []byte("a")}}}, nil)
		}
		yield(model.Event{Finish: model.FinishLength, Usage: &model.Usage{PromptTokens: 1, CompletionTokens: 3}}, nil)
	}, func(o *server.Options) { o.PingInterval = 20 * time.Millisecond })
	resp := r.do("POST", chat, `{"messages":[{"role":"user","content":"x"}],"max_tokens":4,"stream":true}`)
	early, late := io.Pipe()
	go func() { // passes the answer on, and counts
		lines, pings := bufio.NewReader(resp.Body), 0
		for {
			line, err := lines.ReadString('\n')
			io.WriteString(late, line)
			if line == ": ping\n" {
				if pings++; pings == 2 {
					close(heard)
				}
			}
			if err != nil {
				late.CloseWithError(err)
				return
			}
		}
	}()
	data, pings := events(t, early)
	if pings < 2 || len(data) != 5 || !strings.Contains(data[0], `"role":"assistant"`) {
		t.Errorf("%d pings, %d events", pings, len(data))
	}
}

// TestSlowClient stops reading: the write deadline ends the request.
func TestSlowClient(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) {
		o.WriteTimeout = 200 * time.Millisecond
		o.Context = 1 << 22
	})
	c := r.raw(completions, `{"prompt":"x","max_tokens":1000000,"ignore_eos":true,"stream":true,"logprobs":5}`)
	defer c.Close()
	c.(*net.TCPConn).SetReadBuffer(4096)
	if !eventually(func() bool { return r.model.Active() > 0 }) {
		t.Fatal("never ran")
	}
	if !eventually(func() bool { return r.model.Active() == 0 }) {
		t.Error("a client that does not read holds its request")
	}
	if r.model.Steps() > 900000 {
		t.Error("the generator ran ahead of the client")
	}
}

// script yields what it is told.
type script func(ctx context.Context, yield func(model.Event, error) bool)

func (f script) Generate(ctx context.Context, _ model.Request) iter.Seq2[model.Event, error] {
	return func(yield func(model.Event, error) bool) { f(ctx, yield) }
}

// scripted starts a server around a script, beside a rig for its helpers.
func scripted(t *testing.T, f script, change ...func(*server.Options)) *rig {
	r := start(t, &servertest.Model{})
	o := server.Options{Models: []string{"m"}, Context: 100}
	for _, c := range change {
		c(&o)
	}
	s, err := server.New(f, servertest.Text{}, servertest.Template{}, o)
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		s.Shutdown(context.Background())
		<-done
	})
	r.addr = ln.Addr().String()
	return r
}

// TestGeneratorErrors: before the first token an HTTP status, after it an event.
func TestGeneratorErrors(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   string
	}{
		{model.ErrContextLength, 400, "context_length_exceeded"},
		{model.ErrInvalid, 400, "-"},
		{model.ErrBusy, 429, "server_busy"},
		{model.ErrMemory, 503, "memory_budget_exceeded"},
		{model.ErrClosed, 503, "shutting_down"},
		{errors.New("disk on fire at /secret"), 500, "internal_error"},
	} {
		after := 0
		r := scripted(t, func(_ context.Context, yield func(model.Event, error) bool) {
			for range after {
				yield(model.Event{Text: "a", Tokens: []model.TokenInfo{{ID: 'a', Bytes: []byte("a")}}}, nil)
			}
			yield(model.Event{}, c.err)
		})
		for _, body := range []string{`{"prompt":"x"}`, `{"prompt":"x","stream":true}`, `{"prompt":["x","y"],"n":3,"stream":true}`} {
			if e := r.refuse(completions, body, c.status, "-", c.code); strings.Contains(e.Message, "secret") {
				t.Errorf("leaks: %s", e.Message)
			}
		}
		after = 2
		r.refuse(completions, `{"prompt":"x"}`, c.status, "-", c.code)
		got := r.stream(completions, `{"prompt":"x","stream":true}`)
		if len(got) != 3 || got[1].Choices[0].Text != "a" || got[2].Error == nil || got[2].Error.Message == "" {
			t.Errorf("%v in a stream: %+v", c.err, got)
		}
	}
}

func TestGeneratorPanics(t *testing.T) {
	r := scripted(t, func(context.Context, func(model.Event, error) bool) { panic("boom") })
	r.refuse(completions, `{"prompt":"x"}`, 500, "-", "internal_error")
	r.refuse(completions, `{"prompt":"x","stream":true}`, 500, "-", "internal_error")
	if _, body, _ := r.get("/metrics"); !strings.Contains(body, "lamina_panics_total 2\n") {
		t.Error("panics not counted")
	}
	r = scripted(t, func(context.Context, func(model.Event, error) bool) {})
	r.refuse(completions, `{"prompt":"x"}`, 500, "-", "internal_error") // no finish reason
}

// panicky is a template with a bug.
type panicky struct{}

func (panicky) Render([]server.Message, server.TemplateOptions) (string, error) { panic("boom") }

func TestHandlerPanics(t *testing.T) {
	r := start(t, &servertest.Model{})
	s, err := server.New(r.model, servertest.Text{}, panicky{}, server.Options{Models: []string{"m"}, Context: 8})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	r.addr = ln.Addr().String()
	for range 2 { // the connection and its place in flight survive
		r.refuse(chat, `{"messages":[{"role":"user","content":"x"}]}`, 500, "-", "internal_error")
	}
	_, body, _ := r.get("/metrics")
	for _, line := range []string{"lamina_panics_total 2\n", "lamina_requests_in_flight 0\n", `lamina_http_requests_total{code="500",route="/v1/chat/completions"} 2` + "\n"} {
		if !strings.Contains(body, line) {
			t.Errorf("no %q", line)
		}
	}
	r.client.CloseIdleConnections()
	if err := s.Shutdown(t.Context()); err != nil { // hangs if a place was lost
		t.Error(err)
	}
	<-done
}

// TestShutdownFirst: a shutdown that comes before Serve ends it.
func TestShutdownFirst(t *testing.T) {
	s, err := server.New(&servertest.Model{}, servertest.Text{}, nil, server.Options{Models: []string{"m"}, Context: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(listen(t)); err != nil {
		t.Error(err)
	}
}

func TestRequestTimeout(t *testing.T) {
	r := scripted(t, hang, func(o *server.Options) { o.RequestTimeout = 100 * time.Millisecond })
	for _, body := range []string{`{"prompt":"x"}`, `{"prompt":"x","stream":true}`} {
		resp := r.do("POST", completions, body)
		io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != 504 || resp.Header.Get("x-should-retry") != "false" {
			t.Errorf("%s: %d %v", body, resp.StatusCode, resp.Header)
		}
	}
}

// TestDrain: at once not ready, running requests finish, new ones are refused.
func TestDrain(t *testing.T) {
	r := start(t, &servertest.Model{Step: 40 * time.Millisecond})
	whole := make(chan answer, 1)
	streamed := make(chan int, 1)
	go func() { whole <- r.ask(completions, `{"prompt":"x","max_tokens":15}`) }()
	go func() { streamed <- len(r.stream(completions, `{"prompt":"x","max_tokens":15,"stream":true}`)) }()
	if !eventually(func() bool { return r.model.Steps() >= 4 }) {
		t.Fatal("never ran")
	}
	down := make(chan error, 1)
	go func() { down <- r.Shutdown(context.Background()) }()
	if !eventually(func() bool { s, _, _ := r.get("/readyz"); return s == 503 }) {
		t.Error("still ready")
	}
	if s, _, _ := r.get("/healthz"); s != 200 {
		t.Errorf("health while draining: %d", s)
	}
	resp := r.do("POST", completions, `{"prompt":"x"}`)
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("new request: %d %v", resp.StatusCode, resp.Header)
	}
	if a := <-whole; a.Usage.CompletionTokens != 15 {
		t.Errorf("running request was cut: %+v", a)
	}
	if n := <-streamed; n != 15 {
		t.Errorf("running stream was cut: %d chunks", n)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("still listening")
	}
}

// TestDrainCut: when patience ends, the rest is told so.
func TestDrainCut(t *testing.T) {
	r := start(t, &servertest.Model{Step: 30 * time.Millisecond})
	c := r.raw(completions, `{"prompt":"x","max_tokens":250,"stream":true}`)
	defer c.Close()
	br := bufio.NewReader(c)
	if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Fatal(line, err)
	}
	status := make(chan int, 1)
	go func() { s, _ := r.post(completions, `{"prompt":"x","max_tokens":250}`); status <- s }()
	if !eventually(func() bool { return r.model.Active() == 2 }) {
		t.Fatal("never ran")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v", err)
	}
	rest, _ := io.ReadAll(br)
	if !strings.Contains(string(rest), `data: {"error":{"message":"The server is shutting down."`) || !strings.Contains(string(rest), "data: [DONE]") {
		t.Errorf("stream ended with %.300s", rest)
	}
	if s := <-status; s != 503 {
		t.Errorf("whole: %d", s)
	}
}
