package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// complete asks for the likeliest continuation of a prompt.
func (s *serving) complete(t *testing.T, prompt string) string {
	t.Helper()
	root := regexp.MustCompile(`listening on (http://\S+)`).FindStringSubmatch(s.out.String())[1]
	body := fmt.Sprintf(`{"model":"m","prompt":%q,"max_tokens":20,"temperature":0,"ignore_eos":true}`, prompt)
	resp, err := http.Post(root+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Choices []struct{ Text string }
	}
	if err := json.Unmarshal(data, &answer); err != nil || resp.StatusCode != 200 || len(answer.Choices) != 1 {
		t.Fatalf("status %d, %v, %s", resp.StatusCode, err, data)
	}
	return answer.Choices[0].Text
}

// TestServeVVC serves a file of H.266 pictures with ample memory and with about
// the least that will do, where most matrices are decoded on every use: the texts are
// the same.
func TestServeVVC(t *testing.T) {
	dir := t.TempDir()
	src, path := filepath.Join(dir, "wide"), filepath.Join(dir, "wide.lamina")
	writeCheckpointOf(t, src, 6, 1024)
	ok(t, "pack", src, "-o", path, "--codec", "vvc", "--qp", "24")
	args := []string{path, "--model-name", "m", "--context", "128", "--parallel", "1", "--kv", "q16", "--no-prefix-cache"}
	prompts := []string{"the", "it rained, and then", "42 über 42"}
	texts := func(s *serving) (all []string) {
		for _, p := range prompts {
			all = append(all, s.complete(t, p))
		}
		s.signals <- os.Interrupt
		if status := <-s.status; status != 0 {
			t.Errorf("status %d: %s", status, s.err.String())
		}
		return all
	}

	ample := serve(t, append(args, "--ram", "8GiB")...)
	if !strings.Contains(ample.out.String(), "regime A") {
		t.Errorf("not unpacked:\n%s", ample.out.String())
	}
	want := texts(ample)

	tight := serveLeast(t, args...)
	if strings.Contains(tight.out.String(), "regime A") {
		t.Errorf("all is unpacked:\n%s", tight.out.String())
	}
	t.Log(regexp.MustCompile("regime .*").FindString(tight.out.String()))
	for i, got := range texts(tight) {
		if got != want[i] || strings.TrimSpace(got) == "" {
			t.Errorf("after %q with little memory: %q, with ample %q", prompts[i], got, want[i])
		}
	}
}
