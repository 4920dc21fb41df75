package eval_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/lamina-llm/lamina/internal/eval"
)

func TestReadQuestions(t *testing.T) {
	got, err := eval.ReadQuestions(strings.NewReader(`{"prompt":"Two and two are","options":[" four"," five"],"answer":0,"id":"x"}

  {"prompt":"","options":["a","b","ü"],"answer":"ü"}`))
	want := []eval.Question{
		{Line: 1, Prompt: "Two and two are", Options: []string{" four", " five"}},
		{Line: 3, Options: []string{"a", "b", "ü"}, Answer: 2},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := eval.ReadQuestions(strings.NewReader("\n \n")); !errors.Is(err, eval.ErrOptions) {
		t.Error(err)
	}
}

func TestBadQuestions(t *testing.T) {
	good := `{"prompt":"p","options":["a","b"],"answer":1}` + "\n"
	for line, want := range map[string]string{
		`nonsense`:                         "line 2: not a question in JSON: ",
		`{"prompt":"p"`:                    "line 2: not a question in JSON: ",
		`[1]`:                              "line 2: not a question in JSON: ",
		`{"prompt":3}`:                     "line 2: not a question in JSON: ",
		`{"options":["a","b"],"answer":1}`: `line 2: no "prompt"`,
		`{"prompt":"p","options":["a"],"answer":0}`:         `line 2: 1 "options", want 2 to 256`,
		`{"prompt":"p","answer":0}`:                         `line 2: 0 "options", want 2 to 256`,
		`{"prompt":"p","options":["a","b"]}`:                `line 2: no "answer"`,
		`{"prompt":"p","options":["a",""],"answer":0}`:      `line 2: option 1 is empty`,
		`{"prompt":"p","options":["a","b","a"],"answer":0}`: `line 2: options 0 and 2 are equal`,
		`{"prompt":"p","options":["a","b"],"answer":2}`:     `line 2: "answer" 2, want 0 to 1`,
		`{"prompt":"p","options":["a","b"],"answer":-1}`:    `line 2: "answer" -1, want 0 to 1`,
		`{"prompt":"p","options":["a","b"],"answer":0.5}`:   `line 2: "answer" is 0.5, want the index or the text of an option`,
		`{"prompt":"p","options":["a","b"],"answer":null}`:  `line 2: "answer" is null, want`,
		`{"prompt":"p","options":["a","b"],"answer":"c"}`:   `line 2: "answer" "c" is none of the options`,
		strings.Repeat("x", 2<<20):                          `line 2 is longer than 1048576 bytes`,
	} {
		if _, err := eval.ReadQuestions(strings.NewReader(good + line + "\n" + good)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", line, err, want)
		}
	}
	_, err := eval.ReadQuestions(strings.NewReader(strings.Repeat(good+"bad\n", 10)))
	if err == nil || strings.Count(err.Error(), "\n") != 4 || !strings.Contains(err.Error(), "line 10: ") || strings.Contains(err.Error(), "line 12: ") {
		t.Errorf("many bad lines: %v", err)
	}
}

func TestChoose(t *testing.T) {
	q := eval.Question{Line: 7, Options: []string{"yes", "yes indeed", "no"}, Answer: 1}
	got := eval.Choose(q, []float64{-3, -5, -3})
	if got.Line != 7 || got.Answer != 1 || got.Chosen != 0 || got.Norm != 1 {
		t.Errorf("%+v", got)
	}
}

func FuzzReadQuestions(f *testing.F) {
	f.Add([]byte(`{"prompt":"p","options":["a","b"],"answer":1}`))
	f.Add([]byte(`{"prompt":"p","options":["a","b"],"answer":"a"}` + "\n\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := eval.ReadQuestions(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, q := range list {
			if q.Answer < 0 || q.Answer >= len(q.Options) || len(q.Options) < 2 {
				t.Fatalf("%+v", q)
			}
			line, err := json.Marshal(map[string]any{"prompt": q.Prompt, "options": q.Options, "answer": q.Answer})
			if err != nil {
				t.Fatal(err)
			}
			again.Write(append(line, '\n'))
		}
		second, err := eval.ReadQuestions(&again)
		if err != nil || len(second) != len(list) {
			t.Fatalf("%d questions became %d: %v", len(list), len(second), err)
		}
	})
}
