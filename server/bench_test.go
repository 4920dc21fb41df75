package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/server"
	"github.com/lamina-llm/lamina/server/servertest"
)

func benchServer(b *testing.B) string {
	o := server.Options{Models: []string{"m"}, Context: 1 << 20}
	s, err := server.New(&servertest.Model{}, servertest.Text{}, servertest.Template{}, o)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	b.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Shutdown(b.Context())
		<-done
	})
	return "http://" + ln.Addr().String()
}

// BenchmarkStream is the server's own cost of a token, client included.
func BenchmarkStream(b *testing.B) {
	const tokens = 1000
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprintf("n=%d", n), func(b *testing.B) {
			url := benchServer(b)
			body := fmt.Sprintf(`{"prompt":"x","ignore_eos":true,"stream":true,"temperature":0,"max_tokens":%d,"n":%d}`, tokens, n)
			for b.Loop() {
				resp, err := http.Post(url+completions, "application/json", strings.NewReader(body))
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n*tokens), "us/token")
		})
	}
}

func BenchmarkMetrics(b *testing.B) {
	url := benchServer(b)
	for b.Loop() {
		resp, err := http.Get(url + "/metrics")
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
