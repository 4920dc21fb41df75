package server

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestAPIDocument compares docs/API.md with the code: every route, every field
// that a request may have, every code of an error.
func TestAPIDocument(t *testing.T) {
	data, err := os.ReadFile("../docs/API.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	want := func(what string) {
		if !strings.Contains(text, "`"+what+"`") {
			t.Errorf("docs/API.md does not have `%s`", what)
		}
	}
	s, err := New(nil, nil, nil, Options{Models: []string{"m"}, Context: 1, Plan: func() any { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	for path, r := range s.routes {
		want(r.method + " " + path)
	}
	for _, m := range regexp.MustCompile("`(GET|POST) (/[^`]*)`").FindAllStringSubmatch(text, -1) {
		if r, ok := s.routes[m[2]]; !ok || r.method != m[1] {
			t.Errorf("docs/API.md has %s %s, the server does not", m[1], m[2])
		}
	}
	for _, v := range []any{common{}, completionRequest{}, chatRequest{}, chatMessage{}} {
		for f := range reflect.TypeOf(v).Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				want(name)
			}
		}
	}
	sources, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`(?:badRequest\([^"\n]*"[^"\n]*", |badRequest\([a-zA-Z]+(?:\+"[^"\n]*")?, |newError\([^"\n]*, )"([a-z_]+)"`)
	found := 0
	for _, e := range sources {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		src, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range code.FindAllSubmatch(src, -1) {
			found++
			if c := string(m[1]); c != "cancelled" { // nobody reads it
				want(c)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d codes found in the sources", found)
	}
}
