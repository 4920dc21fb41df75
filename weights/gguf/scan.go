package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Limits of a header. Vocabularies of 256k tokens with merges need about 20 MB.
const (
	maxHeader  = 128 << 20 // bytes before the tensor data
	maxEntries = 1 << 14   // metadata keys
	maxTensors = 1 << 16
	maxName    = 1 << 10 // bytes of a key or tensor name
	maxString  = 16 << 20
	maxArray   = 1 << 23 // elements
	maxDims    = 4
)

// valueType is the type of a metadata value, as the format numbers it.
type valueType uint32

const (
	tUint8 valueType = iota
	tInt8
	tUint16
	tInt16
	tUint32
	tInt32
	tFloat32
	tBool
	tString
	tArray
	tUint64
	tInt64
	tFloat64
)

// width returns the bytes of a fixed-size value, 0 for the others.
func (t valueType) width() int64 {
	switch t {
	case tUint8, tInt8, tBool:
		return 1
	case tUint16, tInt16:
		return 2
	case tUint32, tInt32, tFloat32:
		return 4
	case tUint64, tInt64, tFloat64:
		return 8
	}
	return 0
}

// entry says where the value of a metadata key is. For a string or an array,
// [off, end) is its content: the characters, or the elements as stored.
type entry struct {
	key      string
	typ      valueType
	elem     valueType // of an array
	count    int       // elements of an array
	off, end int64
	value    any // of a number or bool
}

// layout is what a scan of the header finds.
type layout struct {
	entries []entry
	tensors int
	data    int64 // offset of the tensor data
}

// scanner reads the header once, forwards, in bounded memory. After an error
// it yields zeros; the caller checks err at the points that matter.
type scanner struct {
	r    *bufio.Reader
	pos  int64
	size int64 // of the file, at most maxHeader
	err  error
}

// scan walks the header of a file of size bytes and checks every count and
// length in it, so that a second reader need not fear them.
func scan(r io.ReaderAt, size int64) (*layout, error) {
	s := &scanner{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10), size: min(size, maxHeader)}
	if m := s.u32(); s.err == nil && m != 0x46554747 {
		return nil, fmt.Errorf("%w: no GGUF magic at the start", ErrFormat)
	}
	switch v := s.u32(); {
	case s.err != nil:
	case v == 2 || v == 3:
	case v&0xffff == 0:
		return nil, fmt.Errorf("%w: big-endian", ErrUnsupported)
	default:
		return nil, fmt.Errorf("%w: version %d (supported: 2, 3)", ErrUnsupported, v)
	}
	tensors, entries := s.u64(), s.u64()
	if tensors > maxTensors || entries > maxEntries {
		return nil, fmt.Errorf("%w: %d tensors and %d keys, want at most %d and %d", ErrFormat, tensors, entries, maxTensors, maxEntries)
	}
	l := &layout{tensors: int(tensors)}
	align := uint32(32)
	for range entries {
		e, n := s.entry()
		if s.err != nil {
			return nil, fmt.Errorf("%w: key %d %q: %w", ErrFormat, len(l.entries), e.key, s.err)
		}
		switch e.key {
		case "general.alignment":
			if e.typ != tUint32 || n == 0 || n&(n-1) != 0 || n > 1<<20 {
				return nil, fmt.Errorf("%w: general.alignment is no power of two", ErrFormat)
			}
			align = uint32(n)
		case "split.no", "split.count", "split.tensors.count":
			// gguf-parser-go allocates by these. A whole file has no use for them.
			if e.key != "split.count" || n > 1 {
				return nil, fmt.Errorf("%w: one part of a split file (merge the parts with llama-gguf-split)", ErrUnsupported)
			}
		}
		l.entries = append(l.entries, e)
	}
	for i := range tensors {
		name := s.name()
		dims := s.u32()
		if dims < 1 || dims > maxDims {
			s.fail("%d dimensions, want 1 to %d", dims, maxDims)
		}
		if s.err == nil {
			s.skip(8 * int64(dims))
		}
		s.skip(4 + 8) // type, offset
		if s.err != nil {
			return nil, fmt.Errorf("%w: tensor %d %q: %w", ErrFormat, i, name, s.err)
		}
	}
	if s.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, s.err)
	}
	l.data = (s.pos + int64(align) - 1) / int64(align) * int64(align)
	if l.data > size {
		// Without tensors there is nothing to pad for.
		if tensors > 0 {
			return nil, fmt.Errorf("%w: ends before the tensor data, at %d of %d bytes", ErrFormat, size, l.data)
		}
	}
	return l, nil
}

// entry reads a key and steps over its value. n is the value of an unsigned
// integer of up to 32 bits, for the few keys that matter to the scan.
func (s *scanner) entry() (e entry, n uint64) {
	e.key = s.name()
	e.typ = valueType(s.u32())
	e.off = s.pos
	switch {
	case s.err != nil:
	case e.typ == tUint32:
		n = uint64(s.u32())
	case e.typ == tUint16:
		var b [2]byte
		s.read(b[:])
		n = uint64(binary.LittleEndian.Uint16(b[:]))
	case e.typ.width() > 0:
		s.skip(e.typ.width())
	case e.typ == tString:
		e.off += 8
		s.str()
	case e.typ == tArray:
		e.elem = valueType(s.u32())
		count := s.u64()
		e.off = s.pos
		switch w := e.elem.width(); {
		case count > maxArray:
			s.fail("array of %d elements, want at most %d", count, maxArray)
		case e.elem == tString:
			for range count {
				if s.str(); s.err != nil {
					break
				}
			}
		case w > 0:
			s.skip(int64(count) * w)
		default:
			s.fail("array of element type %d", e.elem)
		}
		e.count = int(min(count, maxArray))
	default:
		s.fail("value type %d", e.typ)
	}
	e.end = s.pos
	return e, n
}

func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("at byte %d: %w", s.pos, fmt.Errorf(format, args...))
	}
}

// need reports whether n more bytes of header can follow.
func (s *scanner) need(n int64) bool {
	if s.err == nil && n > s.size-s.pos {
		s.fail("%d bytes where at most %d can follow", n, s.size-s.pos)
	}
	return s.err == nil
}

func (s *scanner) read(b []byte) {
	if s.need(int64(len(b))) {
		if _, err := io.ReadFull(s.r, b); err != nil {
			s.fail("%w", err)
			clear(b)
		}
		s.pos += int64(len(b))
	}
}

func (s *scanner) skip(n int64) {
	if s.need(n) {
		if _, err := s.r.Discard(int(n)); err != nil {
			s.fail("%w", err)
		}
		s.pos += n
	}
}

func (s *scanner) u32() uint32 {
	var b [4]byte
	s.read(b[:])
	return binary.LittleEndian.Uint32(b[:])
}

func (s *scanner) u64() uint64 {
	var b [8]byte
	s.read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// str steps over a string.
func (s *scanner) str() {
	n := s.u64()
	if n > maxString {
		s.fail("string of %d bytes, want at most %d", n, maxString)
		return
	}
	s.skip(int64(n))
}

// name reads a key or a tensor name.
func (s *scanner) name() string {
	n := s.u64()
	if n > maxName {
		s.fail("name of %d bytes, want at most %d", n, maxName)
	}
	if s.err != nil {
		return ""
	}
	b := make([]byte, n)
	s.read(b)
	return string(b)
}
