package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// Limits of a header. Real ones stay under 1 MiB; the reference implementation
// stops at 100 MB.
const (
	maxHeader  = 32 << 20
	maxTensors = 1 << 16
	maxDims    = 8
)

// readHeader parses and checks the header of a file of size bytes. The result
// is in the order of the data.
func readHeader(r io.ReaderAt, size int64) ([]Info, error) {
	var prefix [8]byte
	if n, err := r.ReadAt(prefix[:], 0); n < len(prefix) {
		return nil, fmt.Errorf("%w: no header length: %w", ErrFormat, err)
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n < 2 || n > maxHeader || int64(n) > size-8 {
		return nil, fmt.Errorf("%w: header length %d in a file of %d bytes (limit %d)", ErrFormat, n, size, maxHeader)
	}
	head := make([]byte, n)
	if got, err := r.ReadAt(head, 8); got < len(head) {
		return nil, fmt.Errorf("%w: header cut short: %w", ErrFormat, err)
	}
	data := 8 + int64(n)
	tensors, err := parseHeader(head, size-data)
	if err != nil {
		return nil, err
	}
	for i := range tensors {
		tensors[i].off += data
	}
	return tensors, nil
}

// parseHeader parses the JSON header of a file with dataSize bytes of data.
// Offsets are relative to the data.
func parseHeader(head []byte, dataSize int64) ([]Info, error) {
	// Token by token, because unmarshalling into a map would let the last of
	// two tensors with one name win.
	dec := json.NewDecoder(bytes.NewReader(head))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, fmt.Errorf("%w: the header is not a JSON object", ErrFormat)
	}
	type span struct {
		Info
		end int64
	}
	var spans []span
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
		}
		name := tok.(string) // an object's keys are strings, or Token fails
		if seen[name] {
			return nil, fmt.Errorf("%w: two entries for %q", ErrFormat, name)
		}
		seen[name] = true
		if name == "__metadata__" {
			var free map[string]string
			if err := dec.Decode(&free); err != nil {
				return nil, fmt.Errorf("%w: __metadata__: %w", ErrFormat, err)
			}
			continue
		}
		if len(spans) == maxTensors {
			return nil, fmt.Errorf("%w: more than %d tensors", ErrFormat, maxTensors)
		}
		var e struct {
			DType   DType   `json:"dtype"`
			Shape   []int64 `json:"shape"`
			Offsets []int64 `json:"data_offsets"`
		}
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("%w: tensor %q: %w", ErrFormat, name, err)
		}
		if len(e.Offsets) != 2 || e.Offsets[0] < 0 || e.Offsets[1] < e.Offsets[0] || e.Offsets[1] > dataSize {
			return nil, fmt.Errorf("%w: tensor %q: data_offsets %v, want a range within %d bytes of data", ErrFormat, name, e.Offsets, dataSize)
		}
		if e.DType == "" || len(e.DType) > 16 {
			return nil, fmt.Errorf("%w: tensor %q: no sensible dtype", ErrFormat, name)
		}
		shape, count, err := checkShape(e.Shape)
		if err != nil {
			return nil, fmt.Errorf("%w: tensor %q: %w", ErrFormat, name, err)
		}
		have := e.Offsets[1] - e.Offsets[0]
		if s := e.DType.size(); s > 0 && (count > math.MaxInt64/s || count*s != have) {
			return nil, fmt.Errorf("%w: tensor %q: shape %v of %s does not fill %d bytes", ErrFormat, name, shape, e.DType, have)
		}
		spans = append(spans, span{Info{Name: name, DType: e.DType, Shape: shape, off: e.Offsets[0]}, e.Offsets[1]})
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.end, b.end))
	})
	tensors := make([]Info, len(spans))
	for i, s := range spans {
		if i > 0 && s.off < spans[i-1].end {
			return nil, fmt.Errorf("%w: tensors %q and %q overlap", ErrFormat, spans[i-1].Name, s.Name)
		}
		tensors[i] = s.Info
	}
	return tensors, nil
}

// checkShape returns the shape and the number of elements, which is bounded so
// that a count of bytes cannot overflow.
func checkShape(dims []int64) ([]int, int64, error) {
	if len(dims) > maxDims {
		return nil, 0, fmt.Errorf("%d dimensions, want at most %d", len(dims), maxDims)
	}
	const limit = math.MaxInt >> 4
	shape, n := make([]int, len(dims)), int64(1)
	for i, d := range dims {
		// A zero must not hide an absurd dimension beside it.
		if d < 0 || d > limit/max(n, 1) {
			return nil, 0, fmt.Errorf("shape %v is impossible", dims)
		}
		shape[i] = int(d)
		n *= max(d, 1)
	}
	if slices.Contains(dims, 0) {
		n = 0
	}
	return shape, n, nil
}
