package main

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/engine"
	"github.com/lamina-llm/lamina/internal/eval"
	"github.com/lamina-llm/lamina/model/token"
)

func TestEvalChoices(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "q.jsonl")
	// "th" and "e" become one token across the border of prompt and option.
	lines := []string{
		`{"prompt":"it rained, ","options":["and then it","42","über"],"answer":1}`,
		`{"prompt":"","options":["then","it "],"answer":"then"}`,
		`{"prompt":"and th","options":["e","en","is"],"answer":0}`,
	}
	write(t, file, []byte(strings.Join(lines, "\n")))
	type report struct {
		Questions    int
		Acc, AccNorm float64 `json:"-"`
		A            float64 `json:"acc"`
		N            float64 `json:"acc_norm"`
		Answers      []eval.Choice
		Bits         float64 `json:"bits_per_weight"`
	}
	var r, src report
	okJSON(t, &r, "eval", fixture(t, "tiny.lamina"), "--choices", file)
	okJSON(t, &src, "eval", fixture(t, "tiny"), "--choices", file, "--round", "q8_0")
	if r.Questions != 3 || len(r.Answers) != 3 || r.Bits < 2 || src.Bits < 8.5 {
		t.Fatalf("%+v, %+v", r, src)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	questions, err := eval.ReadQuestions(f)
	if err != nil {
		t.Fatal(err)
	}
	m, err := engine.Open(context.Background(), fixture(t, "tiny.lamina"), engine.Options{Context: 256, Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	right := 0.0
	for i, q := range questions {
		for k, o := range q.Options {
			// The whole text at once, from a cache of its own.
			tok := m.Tokenizer()
			ids, err := tok.Encode(q.Prompt+o, token.EncodeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			first := len(q.Prompt) // of the option, in bytes
			ids = append([]int32{tok.BOS()}, ids...)
			sum, at := 0.0, 0
			err = scorer{m}.Score(t.Context(), ids[:len(ids)-1], func(i int, logits []float32) error {
				at += len(tok.TokenBytes(ids[i+1]))
				if at <= first {
					return nil
				}
				nll, err := eval.NLL(logits, ids[i+1])
				sum -= nll
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Answers[i].Logprob[k]; math.Abs(got-sum) > 1e-9*math.Abs(sum) {
				t.Errorf("question %d option %d: %v, want %v", i, k, got, sum)
			}
		}
		a := r.Answers[i]
		if a.Chosen == q.Answer {
			right++
		}
		for k := range q.Options {
			if a.Logprob[k] > a.Logprob[a.Chosen] {
				t.Errorf("question %d: %+v", i, a)
			}
		}
	}
	if math.Abs(r.A-right/3) > 1e-12 {
		t.Errorf("acc %v, want %v", r.A, right/3)
	}
	if text := ok(t, "eval", fixture(t, "tiny.lamina"), "--choices", file); !strings.Contains(text, " on 3 questions of ") || !strings.Contains(text, " % ") && !strings.Contains(text, " %,") {
		t.Error(text)
	}
}

func TestEvalChoicesRefuses(t *testing.T) {
	dir, model := t.TempDir(), fixture(t, "tiny.lamina")
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		write(t, path, []byte(text))
		return path
	}
	bad := file("bad.jsonl", "{\"prompt\":\"p\",\"options\":[\"a\",\"b\"],\"answer\":1}\n{\"prompt\":\"p\"}\nx\n")
	long := file("long.jsonl", `{"prompt":"`+strings.Repeat("x", 40)+`","options":["a","b"],"answer":1}`)
	merged := file("merged.jsonl", "\n"+`{"prompt":"the","options":["a","b"],"answer":1}`)
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"--choices " + bad, 1, `lamina: eval: choices ` + bad + `: line 2: 0 "options", want 2 to 256; line 3: not a question in JSON: `},
		{"--choices " + long + " --window 40", 1, "lamina: eval: choices " + long + ": line 1: 42 tokens with option 0, more than --window 40\n"},
		{"--choices " + dir + "/none", 1, "lamina: eval: choices: open " + dir + "/none: no such file or directory\n"},
		{"--choices " + merged + " --tokens 5", 2, "lamina: --reference and --tokens are for texts, not for --choices (see"},
		{"--choices " + merged + " --text " + merged, 2, "lamina: --text and --choices can't be used together (see"},
		{"", 2, "lamina: missing flags: --text=FILE or --choices=FILE (see"},
	} {
		status, _, errs := run(t, append(strings.Fields("eval "+model+" "+c.args), "--progress", "none")...)
		if status != c.status || !strings.HasPrefix(errs, c.want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("lamina eval %s: status %d, %q\nwant %d, %q", c.args, status, errs, c.status, c.want)
		}
	}
}
