package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/internal/builtin"
	"github.com/lamina-llm/lamina/internal/engine"
)

// TestServeTruncated truncates the file of a server that streams from it: the
// client gets a 500 that tells nothing, the log says why, and once the file is whole
// again so is the server.
func TestServeTruncated(t *testing.T) {
	r, size, _ := builtin.Model()
	data := make([]byte, size)
	if _, err := r.ReadAt(data, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "story.lamina")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveLeast(t, path, "--context", "256", "--parallel", "1", "--kv", "q16", "--no-prefix-cache")
	if !strings.Contains(s.out.String(), "regime C") {
		t.Fatalf("nothing is streamed:\n%s", s.out.String())
	}
	answer := func() (status int, text, message string) {
		status, body := s.curl(t)
		var a struct {
			Choices []struct{ Message struct{ Content string } }
			Error   struct{ Message string }
		}
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatalf("%v in %s", err, body)
		}
		for _, c := range a.Choices {
			text = c.Message.Content
		}
		return status, text, a.Error.Message
	}
	if status, _, message := answer(); status != 200 {
		t.Fatalf("status %d: %s", status, message)
	}
	if err := os.Truncate(path, size/3); err != nil {
		t.Fatal(err)
	}
	if status, _, message := answer(); status != 500 || message == "" || strings.Contains(message, path) {
		t.Errorf("truncated: status %d, %q", status, message)
	}
	if log := s.err.String(); !strings.Contains(log, path) || !strings.Contains(log, "changed") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, message := answer(); status != 200 {
		t.Errorf("mended: status %d: %s", status, message)
	}
	s.signals <- os.Interrupt
	if status := <-s.status; status != 0 {
		t.Errorf("status %d: %s", status, s.err.String())
	}
}

// TestServeMemory lets a server's cache have no page left: the client gets a 503
// that says what to do, health stays good, and the next request is answered.
func TestServeMemory(t *testing.T) {
	o := engine.Options{RAM: 400 << 20, Context: 256, Parallel: 1, KV: engine.KVQ16, Serve: true, NoPrefixCache: true}
	m, err := openModel(t.Context(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	e := engine.Start(m, o)
	defer e.Close(t.Context())
	c := serveCmd{Model: "story", RequestTimeout: time.Minute}
	srv, err := c.server(&app{}, m, e)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	root := "http://" + ln.Addr().String()
	ask := func() (int, string) {
		resp, err := http.Post(root+"/v1/completions", "application/json", strings.NewReader(`{"model":"story","prompt":"Once","max_tokens":4}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	if status, body := ask(); status != 200 {
		t.Fatalf("status %d: %s", status, body)
	}
	all, err := m.NewSeq(m.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if status, body := ask(); status != 503 || !strings.Contains(body, "memory_budget_exceeded") {
			t.Errorf("status %d: %s", status, body)
		}
	}
	if resp, err := http.Get(root + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Errorf("health: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	all.Close()
	if status, body := ask(); status != 200 {
		t.Errorf("afterwards: status %d: %s", status, body)
	}
	if err := errors.Join(srv.Shutdown(t.Context()), <-served); err != nil {
		t.Error(err)
	}
}

// serveLeast starts a server in the budget that a refusal named, or less if the
// process, which is a part of it, has become smaller since.
func serveLeast(t *testing.T, args ...string) *serving {
	t.Helper()
	named := regexp.MustCompile(`cannot hold this model: at least (\d+) MiB are needed`)
	table := regexp.MustCompile(`least budget +(\d+) MiB`)
	ram := 8
	for range 12 {
		s, status := tryServe(append(args, "--ram", fmt.Sprint(ram)+"MiB")...)
		m := table.FindStringSubmatch(s.out.String())
		if status != 0 {
			m = named.FindStringSubmatch(s.err.String())
		}
		if m == nil {
			t.Fatalf("status %d: %s%s", status, s.out.String(), s.err.String())
		}
		least, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		if status == 0 && ram <= least+1 {
			return s
		}
		if status == 0 {
			s.signals <- os.Interrupt
			<-s.status
		}
		ram = least
	}
	t.Fatalf("%d MiB, named before, are refused or too much", ram)
	return nil
}

func TestServeLeast(t *testing.T) {
	s := serveLeast(t)
	s.planned(t)
	if status, body := s.curl(t); status != 200 {
		t.Errorf("status %d: %s", status, body)
	}
	s.signals <- os.Interrupt
	if status := <-s.status; status != 0 {
		t.Errorf("status %d: %s", status, s.err.String())
	}
}
