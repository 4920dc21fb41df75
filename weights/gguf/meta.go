package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Keys lists the metadata keys in the order of the file. The slice belongs to
// the File and must not be changed.
func (f *File) Keys() []string { return f.keys }

// Has reports whether the key is present, whatever its type.
func (f *File) Has(key string) bool {
	_, ok := f.entries[key]
	return ok
}

// Int returns an integer of any width. ok is false if the key is absent, holds
// something else, or a number beyond the range of int64.
func (f *File) Int(key string) (v int64, ok bool) {
	switch n := f.entries[key].value.(type) {
	case uint8:
		return int64(n), true
	case int8:
		return int64(n), true
	case uint16:
		return int64(n), true
	case int16:
		return int64(n), true
	case uint32:
		return int64(n), true
	case int32:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	}
	return 0, false
}

// Float returns a floating-point number or an integer. ok is false if the key
// is absent or holds something else.
func (f *File) Float(key string) (v float64, ok bool) {
	switch n := f.entries[key].value.(type) {
	case float32:
		return float64(n), true
	case float64:
		return n, true
	}
	n, ok := f.Int(key)
	return float64(n), ok
}

// Bool returns a boolean. ok is false if the key is absent or holds something else.
func (f *File) Bool(key string) (v, ok bool) {
	v, ok = f.entries[key].value.(bool)
	return v, ok
}

// String reads a string, byte for byte. It is empty, without error, if the key
// is absent; any other type, or a failing read, is an error.
func (f *File) String(key string) (string, error) {
	e, ok := f.entries[key]
	if !ok {
		return "", nil
	}
	if e.typ != tString {
		return "", fmt.Errorf("gguf: %s: key %q: %w: not a string", f.name, key, ErrFormat)
	}
	b, err := f.content(e)
	return string(b), err
}

// Strings reads an array of strings, byte for byte; the strings share one
// allocation. It is nil, without error, if the key is absent; any other type,
// or a failing read, is an error.
func (f *File) Strings(key string) ([]string, error) {
	e, b, err := f.array(key, tString)
	if err != nil || b == nil {
		return nil, err
	}
	all := string(b)
	list := make([]string, 0, e.count)
	for range e.count {
		// The scan went the same way, but the file may have changed since.
		if len(b) < 8 || binary.LittleEndian.Uint64(b) > uint64(len(b)-8) {
			return nil, fmt.Errorf("gguf: %s: key %q: %w: changed while open", f.name, key, ErrFormat)
		}
		n := int(binary.LittleEndian.Uint64(b))
		start := len(all) - len(b) + 8
		list = append(list, all[start:start+n])
		b = b[8+n:]
	}
	return list, nil
}

// Floats reads an array of float32. It is nil, without error, if the key is
// absent; any other type, or a failing read, is an error.
func (f *File) Floats(key string) ([]float32, error) {
	e, b, err := f.array(key, tFloat32)
	if err != nil || b == nil {
		return nil, err
	}
	list := make([]float32, e.count)
	decodeF32(list, b)
	return list, nil
}

// Ints reads an array of integers of up to 32 bits. It is nil, without error,
// if the key is absent; any other type, or a failing read, is an error.
func (f *File) Ints(key string) ([]int64, error) {
	e, b, err := f.array(key, tUint8, tInt8, tUint16, tInt16, tUint32, tInt32)
	if err != nil || b == nil {
		return nil, err
	}
	list := make([]int64, e.count)
	for i := range list {
		switch e.elem {
		case tUint8:
			list[i] = int64(b[i])
		case tInt8:
			list[i] = int64(int8(b[i]))
		case tUint16:
			list[i] = int64(binary.LittleEndian.Uint16(b[2*i:]))
		case tInt16:
			list[i] = int64(int16(binary.LittleEndian.Uint16(b[2*i:])))
		case tUint32:
			list[i] = int64(binary.LittleEndian.Uint32(b[4*i:]))
		case tInt32:
			list[i] = int64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
	}
	return list, nil
}

// array reads the elements of an array of one of the given types; nil if the
// key is absent.
func (f *File) array(key string, types ...valueType) (entry, []byte, error) {
	e, ok := f.entries[key]
	if !ok {
		return e, nil, nil
	}
	if e.typ != tArray || !slices.Contains(types, e.elem) {
		return e, nil, fmt.Errorf("gguf: %s: key %q: %w: not an array of the type wanted", f.name, key, ErrFormat)
	}
	b, err := f.content(e)
	return e, b, err
}

// content reads [e.off, e.end), which the scan has bounded.
func (f *File) content(e entry) ([]byte, error) {
	b := make([]byte, e.end-e.off)
	if n, err := f.r.ReadAt(b, e.off); n < len(b) {
		return nil, fmt.Errorf("gguf: %s: key %q: read %d bytes at offset %d: %w", f.name, e.key, len(b), e.off, err)
	}
	return b, nil
}
