// Package token turns text into token ids and back: byte-level BPE (GPT-2,
// Llama 3, SmolLM) and SentencePiece BPE with byte fallback (Llama 2,
// TinyLlama, Mistral). Ids equal those of Hugging Face tokenizers and of
// SentencePiece, which the golden files in testdata record.
//
// A [Tokenizer] comes from a tokenizer.json ([FromHF]), from a tokenizer.model
// ([FromSentencePiece]), from the metadata of a GGUF file ([FromVocab]) or
// from its own binary form ([Unmarshal]), which loads without parsing JSON and
// is what a model file stores. Unigram, WordPiece and Unicode normalisation are
// not supported; a tokenizer that needs them is refused with
// [ErrUnsupported], never approximated.
//
// The vocabulary is one byte blob with offsets, merges and pieces are
// open-addressing tables of integers: a vocabulary of 128k tokens costs about
// 8 MB and no per-token garbage. A Tokenizer is immutable and safe for
// concurrent use; it keeps no reference to the input that it was made from.
// A [Stream] belongs to one goroutine.
package token
