// Package builtin carries the model that the program answers with when it is
// given none: storyteller-22m, a small LLaMA trained on public-domain prose,
// packed to 3 bits a weight, calibrated and tuned on text that it wrote itself.
// scripts/builtin.sh makes the file again.
package builtin

import (
	_ "embed"
	"io"
	"strings"
)

//go:embed storyteller-22m.lamina
var storyteller string

// Name is the model's name.
const Name = "storyteller-22m"

// Model returns the embedded .lamina file. The reader reads the program's own
// image and is safe for concurrent use.
func Model() (r io.ReaderAt, size int64, name string) {
	return strings.NewReader(storyteller), int64(len(storyteller)), Name
}
