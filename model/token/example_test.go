package token_test

import (
	"fmt"
	"log"

	"github.com/lamina-llm/lamina/model/token"
)

// A small byte-level tokenizer, as the metadata of a GGUF file would have it.
func vocabulary() token.Vocab {
	v := token.Vocab{
		Model: "gpt2", Pre: "gpt-2",
		Tokens: []string{"h", "e", "l", "o", "\u0120", "he", "ll", "hell", "hello", "\u00e2", "\u0124", "\u00ac", "<|end|>"}, // U+0120 spells a space
		Types:  []int32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3},
		Merges: []string{"h e", "l l", "he ll", "hell o"},
	}
	v.Defaults()
	v.EOS = 12
	return v
}

func Example() {
	t, err := token.FromVocab(vocabulary())
	if err != nil {
		log.Fatal(err)
	}
	ids, err := t.Encode("hello hell<|end|>", token.EncodeOptions{ParseSpecial: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ids)
	fmt.Println(t.Decode(ids, true))
	// Output:
	// [8 4 7 12]
	// hello hell
}

// A model emits the euro sign as three tokens; the stream gives it out whole.
func ExampleTokenizer_NewStream() {
	t, err := token.FromVocab(vocabulary())
	if err != nil {
		log.Fatal(err)
	}
	s := t.NewStream(token.StreamOptions{SkipSpecial: true})
	for _, id := range []int32{8, 4, 9, 10, 11, 12} {
		fmt.Printf("%q ", s.Push(id))
	}
	fmt.Printf("%q\n", s.Flush())
	// Output: "hello" " " "" "" "€" "" ""
}
