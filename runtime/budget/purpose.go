package budget

import "fmt"

// Purpose says what leased memory is for.
type Purpose uint8

// The purposes, in the order in which tables show them.
const (
	Coded       Purpose = iota // coded weights that stay in memory
	Unpacked                   // weights decoded once and kept
	Slots                      // buffers that streamed weights pass through, and staging while loading
	KV                         // key-value cache
	Activations                // activations, logits and scratch of the workers
	Tokenizer                  // vocabulary, merges and templates
	HTTP                       // connections, requests and responses
	GoHeap                     // garbage-collected memory not counted elsewhere
	Binary                     // program text, read-only data and thread stacks
	Other                      // anything else
	numPurposes
)

var purposeNames = [numPurposes]string{
	"coded", "unpacked", "slots", "kv", "activations", "tokenizer", "http", "go_heap", "binary", "other",
}

// String returns the lower-case name that metrics and JSON use.
func (p Purpose) String() string {
	if p < numPurposes {
		return purposeNames[p]
	}
	return fmt.Sprintf("purpose(%d)", uint8(p))
}

// MarshalText writes the name. It never fails.
func (p Purpose) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a name that String returns.
func (p *Purpose) UnmarshalText(text []byte) error {
	for i, name := range purposeNames {
		if name == string(text) {
			*p = Purpose(i)
			return nil
		}
	}
	return fmt.Errorf("budget: unknown purpose %q", text)
}
