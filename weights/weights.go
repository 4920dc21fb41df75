// Package weights reads and writes the .lamina container: one file that holds
// a whole model as checksummed spans of bytes and a directory that names them.
//
// It knows names, shapes and spans. It does not know what the bytes mean: a
// codec id is a string that it stores and hands back. docs/FORMAT.md is the
// normative description of every byte; a reader of this package opens every
// version of the format that was ever released.
//
// Layout. The first page holds the header. Entries follow in the order in
// which they were written: sections (small named blobs: configuration,
// tokenizer, provenance) and units (tensors that are read together, in the
// order in which a forward pass visits them; each starts on a 4096-byte
// boundary, so that a unit is one large aligned read). The directory ends the
// file. Positions are not stored: they follow from the lengths, so spans can
// neither overlap nor leave an unaccounted gap.
//
// Ownership and concurrency. A [File] is safe for concurrent use and reads
// with pread semantics only: a file that is truncated while in use gives an
// error, never a fault. Slices that its methods return are shared and must not
// be modified. A [Writer] belongs to one goroutine.
package weights

// Limits and alignments of format version 1.
const (
	// Version is the format version that Writer writes.
	Version = 1
	// UnitAlign is the boundary on which every unit starts, in bytes.
	UnitAlign = 4096
	// SpanAlign is the boundary on which every span and section starts, in
	// bytes, relative to the file and so to its unit too.
	SpanAlign = 64
	// MaxSpan is the longest span or section, in bytes (1 GiB).
	MaxSpan = 1 << 30
	// MaxDirectory is the longest directory, in bytes (16 MiB).
	MaxDirectory = 16 << 20
	// MaxName is the longest name, role or codec id, in bytes.
	MaxName = 255
	// MaxDim is the largest number of rows or columns of a tensor.
	MaxDim = 1<<31 - 1
)

// Names of the sections that Lamina gives a meaning to. A file may hold others.
const (
	SectionConfig       = "config"        // config.json of the model, Hugging Face keys
	SectionTokenizer    = "tokenizer"     // tokenizer, in the form that its reader expects
	SectionChatTemplate = "chat_template" // Jinja source
	SectionGeneration   = "generation"    // sampling defaults, JSON
	SectionProvenance   = "provenance"    // JSON: source, hashes, how it was made
)

// Span is a run of bytes in the file with its checksum.
type Span struct {
	Off int64  // from the start of the file; a multiple of SpanAlign
	Len int    // in bytes, 0 to MaxSpan
	CRC uint32 // CRC-32C (Castagnoli) of the bytes
}

// End returns the offset just after the span.
func (s Span) End() int64 { return s.Off + int64(s.Len) }

// TensorInfo describes a tensor to [Writer.BeginTensor].
type TensorInfo struct {
	Name    string // unique in the file, 1 to MaxName printable ASCII bytes
	Role    string // what it is for ("norm", "linear", "embedding"); may be empty
	Codec   string // how its spans are coded ("f32", "rans1"), 1 to MaxName bytes
	Rows    int    // outputs, 1 to MaxDim
	Cols    int    // inputs, 1 to MaxDim
	Weights int64  // weights of the source model it stands for, 0 to Rows*Cols; 0 for auxiliary data
}

// Tensor is one tensor of a file. What its spans hold, in which order, is its
// codec's business; by convention side information (scales, tables) comes
// first and coded panels follow.
type Tensor struct {
	TensorInfo
	Unit  int    // index into Units of the unit that it belongs to
	Spans []Span // at least one, ascending
}

// Bytes returns the length of the tensor's spans, without alignment padding.
func (t *Tensor) Bytes() int64 {
	var n int64
	for _, s := range t.Spans {
		n += int64(s.Len)
	}
	return n
}

// Unit is a run of tensors that are read together, such as a transformer
// layer. File.Tensors()[First : First+Count] are its tensors.
type Unit struct {
	Name  string
	First int   // index of its first tensor
	Count int   // number of tensors, at least one
	Off   int64 // a multiple of UnitAlign
	Len   int64 // from Off to the end of its last span
}

// Section is a named blob.
type Section struct {
	Name string
	Span Span
}

// align rounds n up to a multiple of a, a power of two.
func align(n, a int64) int64 { return (n + a - 1) &^ (a - 1) }

// validName reports whether s is 1 to MaxName bytes of printable ASCII
// without spaces.
func validName(s string) bool {
	if len(s) < 1 || len(s) > MaxName {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// check reports what is wrong with the description, or "".
func (t *TensorInfo) check() string {
	switch {
	case !validName(t.Name):
		return "tensor name is not 1 to 255 printable ASCII bytes"
	case t.Role != "" && !validName(t.Role):
		return "role is not printable ASCII"
	case !validName(t.Codec):
		return "codec id is not 1 to 255 printable ASCII bytes"
	case t.Rows < 1 || t.Rows > MaxDim || t.Cols < 1 || t.Cols > MaxDim:
		return "rows and columns must be 1 to 2147483647"
	case t.Weights < 0 || t.Weights > int64(t.Rows)*int64(t.Cols):
		return "weight count is not within 0 and rows x columns"
	}
	return ""
}
