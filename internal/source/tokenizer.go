package source

import "github.com/lamina-llm/lamina/weights/gguf"

// tokenizerInput says where the tokenizer is: in files of a directory, or in
// the metadata of a GGUF file.
type tokenizerInput struct {
	dir  string
	gguf *gguf.File
}
