package server_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

// TestEncodings sends bodies that are not plain JSON in UTF-8.
func TestEncodings(t *testing.T) {
	r := start(t, &servertest.Model{})
	const body = `{"prompt":"x","max_tokens":2}`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	fmt.Fprint(z, body)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		body, header string
		status       int
		code         string
	}{
		{zipped.String(), "Content-Encoding: gzip", 415, "unsupported_encoding"},
		{body, "Content-Encoding: br", 415, "unsupported_encoding"},
		{body, "Content-Encoding: Identity", 200, ""},
		{body, "Content-Type: text/plain", 200, ""},
		{"\ufeff" + body, "", 200, ""},
		{"\xff\xfe" + body, "", 400, "invalid_json"},
	} {
		resp := r.do("POST", completions, c.body, c.header)
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.status || !strings.Contains(string(b), c.code) {
			t.Errorf("%q %.10q: %d %s", c.header, c.body, resp.StatusCode, b)
		}
	}
}

// TestHTTP10 streams to a client that knows no chunks: the connection's end is
// the body's.
func TestHTTP10(t *testing.T) {
	r := start(t, &servertest.Model{})
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const body = `{"prompt":"x","max_tokens":5,"stream":true}`
	fmt.Fprintf(c, "POST %s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", completions, len(body), body)
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(all), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200") || strings.Contains(head, "Transfer-Encoding") || strings.Contains(head, "Content-Length") ||
		!strings.Contains(head, "Connection: close") || !strings.Contains(head, "X-Request-Id: ") {
		t.Errorf("head: %s", head)
	}
	if data, _ := events(t, strings.NewReader(rest)); len(data) < 2 {
		t.Errorf("events: %q", rest)
	}
	// A client that goes away ends it, too; start looks for what is left.
	if c, err = net.Dial("tcp", r.addr); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", completions, len(body), body)
	c.Close()
}

// TestAnswersBounded asks for whole answers that are more than may be kept: they end
// with an error that says what to do, streams are free, and room is given back.
func TestAnswersBounded(t *testing.T) {
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.MaxAnswers = 4 << 10 })
	big := `{"prompt":"x","n":3,"max_tokens":200,"ignore_eos":true,"logprobs":5%s}`
	for range 3 {
		e := r.refuse(completions, fmt.Sprintf(big, ""), 503, "-", "memory_budget_exceeded")
		if !strings.Contains(e.Message, "stream") {
			t.Errorf("message %q", e.Message)
		}
		if a := r.ask(completions, `{"prompt":"x","n":3,"max_tokens":20,"logprobs":1}`); len(a.Choices) != 3 {
			t.Errorf("%d choices", len(a.Choices))
		}
	}
	if data, _ := events(t, r.do("POST", completions, fmt.Sprintf(big, `,"stream":true`)).Body); len(data) < 400 {
		t.Errorf("%d events", len(data))
	}
	if resp := r.do("POST", completions, fmt.Sprintf(big, "")); resp.Header.Get("x-should-retry") != "false" {
		t.Errorf("%v", resp.Header)
	}
}

// TestConnections opens more connections than there may be: those get an error
// that says so, and places that become free are taken again.
func TestConnections(t *testing.T) {
	const most = 3
	r := start(t, &servertest.Model{}, func(o *server.Options) { o.MaxConns = most })
	get := func(c net.Conn) (*http.Response, error) {
		fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		return http.ReadResponse(bufio.NewReader(c), nil)
	}
	var open []net.Conn
	for range most {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if resp, err := get(c); err != nil || resp.StatusCode != 200 {
			t.Fatalf("connection %d: %v, %v", len(open), resp, err)
		}
		open = append(open, c)
	}
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil) // it need not ask
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	b, err := io.ReadAll(resp.Body)
	if err != nil || json.Unmarshal(b, &a) != nil || a.Error == nil {
		t.Fatalf("%v, %s", err, b)
	}
	if resp.StatusCode != 503 || *a.Error.Code != "too_many_connections" || resp.Header.Get("Retry-After") == "" || resp.Header.Get("X-Request-Id") == "" || !resp.Close {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, b)
	}
	open[0].Close()
	if !eventually(func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		resp, err := get(c)
		return err == nil && resp.StatusCode == 200
	}) {
		t.Error("no place became free")
	}
}
