package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// syncBuffer is an output that a test reads while the program writes.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// serving is a server that a test started.
type serving struct {
	out, err syncBuffer
	signals  chan os.Signal
	status   chan int
}

func serve(t *testing.T, args ...string) *serving {
	t.Helper()
	s, status := tryServe(args...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, s.err.String())
	}
	return s
}

// tryServe is serve for servers that may refuse to start, with a status other than 0.
func tryServe(args ...string) (*serving, int) {
	s := &serving{signals: make(chan os.Signal, 2), status: make(chan int, 1)}
	go func() {
		s.status <- execute(append([]string{"serve", "--addr", "127.0.0.1:0"}, args...),
			&app{in: strings.NewReader(""), out: &s.out, err: &s.err, signals: s.signals})
	}()
	for !strings.Contains(s.out.String(), "curl ") || !strings.HasSuffix(s.out.String(), "\n") {
		select {
		case status := <-s.status:
			return s, status
		case <-time.After(5 * time.Millisecond):
		}
	}
	return s, 0
}

// curl does what the printed curl line does.
func (s *serving) curl(t *testing.T) (status int, body []byte) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  curl (http://\S+) -H 'Content-Type: application/json'( -H 'Authorization: Bearer \S+')? -d '(.*)'$`).FindStringSubmatch(s.out.String())
	if m == nil {
		t.Fatalf("no curl line in\n%s", s.out.String())
	}
	resp, err := http.Post(m[1], "application/json", strings.NewReader(m[3]))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// planned compares the plan that the server shows with the table it printed.
func (s *serving) planned(t *testing.T) {
	t.Helper()
	root := regexp.MustCompile(`listening on (http://\S+)`).FindStringSubmatch(s.out.String())[1]
	resp, err := http.Get(root + "/v1/lamina/plan")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	// The server's metrics and the engine's must not clash, which is logged.
	metrics, err := http.Get(root + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Body.Close()
	text, err := io.ReadAll(metrics.Body)
	if err != nil || strings.Contains(s.err.String(), "gathered") || !strings.Contains(string(text), "\nvllm:num_requests_running 0\n") {
		t.Errorf("metrics: %v, log %s, %s", err, s.err.String(), text)
	}
	var p struct {
		Title  string `json:"title"`
		Budget int64  `json:"budget_bytes"`
		Min    int64  `json:"min_budget_bytes"`
		Memory []struct {
			Purpose string `json:"purpose"`
			Planned int64  `json:"planned_bytes"`
		} `json:"memory"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil || resp.StatusCode != 200 {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	if !strings.Contains(s.out.String(), p.Title+"\n") || p.Min < 1<<20 || p.Min > p.Budget || len(p.Memory) < 4 {
		t.Errorf("plan %+v does not go with\n%s", p, s.out.String())
	}
}

func TestServe(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"storyteller-22m: 12 layers, vocabulary 8192, context ", "/v1/completions ", `"model":"storyteller-22m"`}},
		{[]string{fixture(t, "tiny.lamina"), "--model-name", "it's", "--ram", "1GiB", "--context", "100"},
			[]string{"it's: 2 layers, vocabulary 264, context 100, cache q16\n", "/v1/chat/completions ", "budget                      1 GiB"}},
	} {
		s := serve(t, c.args...)
		for _, want := range append(c.want, "regime ", "least budget", "listening on http://127.0.0.1:") {
			if !strings.Contains(s.out.String(), want) {
				t.Errorf("no %q in\n%s", want, s.out.String())
			}
		}
		if len(c.args) == 0 {
			var answer struct {
				Choices []struct{ Text string }
			}
			status, body := s.curl(t)
			if err := json.Unmarshal(body, &answer); err != nil || status != 200 || len(answer.Choices) != 1 || len(answer.Choices[0].Text) < 40 {
				t.Errorf("status %d, %s", status, body)
			}
			s.planned(t)
		}
		s.signals <- os.Interrupt
		if status := <-s.status; status != 0 || strings.Contains(s.err.String(), "lamina: ") {
			t.Errorf("status %d, %s", status, s.err.String())
		}
	}
}

func TestServeKeys(t *testing.T) {
	s := serve(t, fixture(t, "tiny.lamina"), "--api-key", "secret", "--log-format", "json")
	if status, body := s.curl(t); status != 401 {
		t.Errorf("status %d, %s", status, body)
	}
	if !strings.Contains(s.out.String(), "-H 'Authorization: Bearer YOUR_KEY'") || strings.Contains(s.out.String()+s.err.String(), "secret") {
		t.Error(s.out.String(), s.err.String())
	}
	s.signals <- os.Interrupt
	if status := <-s.status; status != 0 {
		t.Error(s.err.String())
	}
	for line := range strings.Lines(s.err.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("the log is no JSON: %s", line)
		}
	}
}

// A second signal ends what the first one let finish.
func TestServeAborts(t *testing.T) {
	s := serve(t, "--drain-timeout", "1h")
	base := regexp.MustCompile(`listening on (\S+)`).FindStringSubmatch(s.out.String())[1]
	resp, err := http.Post(base+"/v1/completions", "application/json",
		strings.NewReader(`{"prompt":"Once","max_tokens":900,"ignore_eos":true,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err != nil { // it runs
		t.Fatal(err)
	}
	s.signals <- os.Interrupt
	s.signals <- os.Interrupt
	if status := <-s.status; status != 1 || !strings.Contains(s.err.String(), "lamina: serve: running requests were cut off: a second signal came\n") {
		t.Errorf("status %d, %s", status, s.err.String())
	}
}

func TestServeRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	empty := t.TempDir()
	for _, c := range [][2]string{
		{"serve --addr " + taken.Addr().String(), "lamina: serve: listen tcp " + taken.Addr().String() + ": bind: address already in use (--addr takes "},
		{"serve --addr 127.0.0.1:0 " + empty, "lamina: " + empty + " is a folder without a checkpoint: give a .lamina file\n"},
		{"serve --addr 127.0.0.1:0 --ram 4MiB", "lamina: plan: 4 MiB cannot hold this model: at least "},
		{"serve --addr 127.0.0.1:0 none.lamina", "lamina: weights: open none.lamina: no such file or directory (check the path)\n"},
		{"serve --addr 127.0.0.1:0 --context 100000", "lamina: context of 100000 tokens: the model was trained for 1024\n"},
	} {
		status, out, errs := run(t, strings.Fields(c[0])...)
		if status != 1 || out != "" || !strings.HasPrefix(errs, c[1]) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina %s: status %d, %q, want %q", c[0], status, errs, c[1])
		}
	}
}

func TestBaseURL(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:80": "http://127.0.0.1:80", "0.0.0.0:8080": "http://127.0.0.1:8080", "[::]:8080": "http://127.0.0.1:8080", "[::1]:9": "http://[::1]:9", "10.1.2.3:4": "http://10.1.2.3:4",
	} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := baseURL(a); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestConnections checks that bodies and buffers of all connections fit.
func TestConnections(t *testing.T) {
	for _, c := range []struct {
		bytes       int64
		context     int
		conns, body int
	}{
		{128 << 20, 8192, 128, 1<<20 - 32<<10},
		{256 << 20, 8192, 128, 1 << 20},
		{2 << 20, 1024, 16, 96 << 10},
		{2 << 20, 256, 19, 77608}, // what is left over goes to the bodies
		{2 << 20, 1 << 20, 8, 1 << 20},
	} {
		conns, body := connections(c.bytes, c.context)
		if conns != c.conns || body != c.body {
			t.Errorf("%+v: %d connections, bodies of %d", c, conns, body)
		}
		if all := int64(conns) * int64(body+32<<10); all > c.bytes && conns > 8 {
			t.Errorf("%+v: %d bytes in all", c, all)
		}
	}
}
