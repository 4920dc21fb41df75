package server_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

// log is a buffer that several goroutines may write.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestAnswered: every answer of a connection is logged once, with its request.
func TestAnswered(t *testing.T) {
	var l log
	r := start(t, &servertest.Model{}, func(o *server.Options) {
		o.Logger = slog.New(slog.NewTextHandler(&l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	for _, path := range []string{"/healthz", "/metrics", "/healthz"} {
		r.get(path)
	}
	r.stream(completions, `{"prompt":"x","max_tokens":5,"stream":true}`)
	r.client.CloseIdleConnections()
	for request, times := range map[string]int{"GET /healthz": 2, "GET /metrics": 1, "POST " + completions: 1} {
		line := `msg=answered request="` + request + `" took=`
		if !eventually(func() bool { return strings.Count(l.String(), line) == times }) {
			t.Errorf("%d lines of %s, want %d\n%s", strings.Count(l.String(), line), request, times, l.String())
		}
	}
}
