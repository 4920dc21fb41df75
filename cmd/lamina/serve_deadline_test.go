package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestServeDeadlines: requests with a deadline that has passed before they begin
// get an error, beside one that has time, and leave nothing behind.
func TestServeDeadlines(t *testing.T) {
	s := serve(t, "--parallel", "1", "--context", "256", "--request-timeout", "1h", "--default-timeout", "30m")
	root := regexp.MustCompile(`listening on (http://\S+)`).FindStringSubmatch(s.out.String())[1]
	post := func(body string) (int, string) {
		resp, err := http.Post(root+"/v1/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	done := make(chan string, 1)
	go func() {
		status, body := post(`{"prompt":"Once upon a time","max_tokens":200,"ignore_eos":true}`)
		done <- fmt.Sprint(status, strings.Contains(body, `"finish_reason":"length"`), strings.Contains(body, "stop_reason"))
	}()
	for range 3 {
		if status, body := post(`{"prompt":"Once upon a time","max_tokens":200,"timeout":1e-6}`); status != 504 || !strings.Contains(body, `"code":"timeout"`) {
			t.Errorf("status %d, %s", status, body)
		}
	}
	if got := <-done; got != "200 true false" {
		t.Errorf("the request with time: %s", got)
	}
	want := []string{"lamina_deadlines_passed_total 3", "lamina_requests_waiting 0", "lamina_requests_running 0", "lamina_kv_usage_ratio 0", "lamina_requests_in_flight 0"}
	missing := ""
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(root + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		missing = ""
		for _, line := range want {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				missing += line + "\n"
			}
		}
		if missing == "" {
			break
		}
	}
	if missing != "" {
		t.Errorf("metrics do not have\n%s", missing)
	}
	s.signals <- os.Interrupt
	if status := <-s.status; status != 0 {
		t.Error(s.err.String())
	}
}
