package engine

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"

	"github.com/lamina-llm/lamina/internal/atomicfile"
	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/model/kv"
)

// A prompt cache file holds pages of the key-value cache, so that a conversation
// goes on after a restart without computing its beginning again. All numbers are
// little-endian:
//
//	magic "LAMINAKV", version uint32
//	identity [32]byte: of the model's coded bytes, the shape and format of the
//	    cache, and the tier of the kernels, whose rounding differs
//	pages uint32, CRC-32C of all of the above
//	per page: parent int32 (an earlier page, -1 for none), PageTokens x int32
//	    token ids, the bytes of the page, CRC-32C of all of these
//
// A page is valid for nothing but the model that made it, so there is no other
// version to read: what does not match is refused.
const (
	promptsMagic   = "LAMINAKV"
	promptsVersion = 1
)

// ErrPromptCache marks a prompt cache file that cannot be used: it belongs to
// another model or other settings, or it is damaged.
var ErrPromptCache = errors.New("unusable prompt cache")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// identity is what the pages of m's cache depend on besides their tokens.
func (m *Model) identity() [sha256.Size]byte {
	h := sha256.New()
	g := m.cache.Geometry()
	fmt.Fprintf(h, "%d %d %d %d %v %v %d\n", g.Layers, g.KVHeads, g.HeadDim, g.PageTokens, g.Format, cpu.Active(), m.file.Size())
	for _, u := range m.file.Units() {
		for _, t := range u.Tensors {
			for _, s := range t.Spans {
				at := binary.LittleEndian.AppendUint64(nil, uint64(s.Off))
				h.Write(binary.LittleEndian.AppendUint64(at, uint64(s.Len)<<32|uint64(s.CRC)))
			}
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// SavePrompts writes the pages of the key-value cache that can be found again
// to a file, by way of a temporary one that only its owner may read, and returns
// how many tokens they hold. No engine may be running on m.
func (m *Model) SavePrompts(path string) (tokens int, err error) {
	if m.file == nil {
		return 0, errors.New("prompt cache: a source checkpoint has none")
	}
	pages := 0
	if err = m.cache.Save(func(kv.Kept) error { pages++; return nil }); err != nil {
		return 0, err
	}
	err = atomicfile.Write(path, 0o600, func(to io.Writer) error {
		tokens, err = m.writePrompts(to, pages)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prompt cache %s: %w", path, err)
	}
	return tokens, nil
}

// writePrompts writes a prompt cache of so many pages, and returns their tokens.
func (m *Model) writePrompts(to io.Writer, pages int) (tokens int, err error) {
	w := &summed{to: to, sum: crc32.New(castagnoli)}
	w.put(append([]byte(promptsMagic), binary.LittleEndian.AppendUint32(nil, promptsVersion)...))
	id := m.identity()
	w.put(id[:])
	w.put(binary.LittleEndian.AppendUint32(nil, uint32(pages)))
	w.seal()
	err = m.cache.Save(func(k kv.Kept) error {
		head := binary.LittleEndian.AppendUint32(nil, uint32(int32(k.Parent)))
		for _, t := range k.Tokens {
			head = binary.LittleEndian.AppendUint32(head, uint32(t))
		}
		w.put(head)
		w.put(k.Data)
		w.seal()
		tokens += len(k.Tokens)
		return w.err
	})
	return tokens, errors.Join(err, w.err)
}

// LoadPrompts reads what SavePrompts wrote, as far as there is room, and returns
// how many tokens need not be computed again. A file that does not exist is an
// error that wraps fs.ErrNotExist; one that does not fit the model, its settings
// or its checksums wraps [ErrPromptCache], and nothing of it is used. No engine
// may be running on m.
func (m *Model) LoadPrompts(path string) (tokens int, err error) {
	if m.file == nil {
		return 0, errors.New("prompt cache: a source checkpoint has none")
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("prompt cache: %w", err)
	}
	defer f.Close()
	fail := func(what string) error {
		return fmt.Errorf("%w %s: %s; delete it or name another", ErrPromptCache, path, what)
	}
	r := &summed{from: bufio.NewReaderSize(f, 64<<10), sum: crc32.New(castagnoli)}
	head := make([]byte, len(promptsMagic)+4+sha256.Size+4)
	r.get(head)
	ours := append([]byte(promptsMagic), binary.LittleEndian.AppendUint32(nil, promptsVersion)...)
	id := m.identity()
	switch {
	case r.err != nil || string(head[:len(promptsMagic)]) != promptsMagic:
		return 0, fail("it is not a prompt cache")
	case string(head[:len(ours)]) != string(ours):
		return 0, fail(fmt.Sprintf("version %d, want %d", binary.LittleEndian.Uint32(head[len(promptsMagic):]), promptsVersion))
	case !r.sealed():
		return 0, fail("its header is damaged")
	case string(head[len(ours):len(ours)+len(id)]) != string(id[:]):
		return 0, fail("it belongs to another model, another --kv format or other processor instructions")
	}
	n := binary.LittleEndian.Uint32(head[len(head)-4:])
	number := make([]byte, 4*(1+m.cache.Geometry().PageTokens))
	tokens, err = m.cache.Restore(int(min(n, 1<<30)), func(k *kv.Kept) error {
		r.get(number)
		r.get(k.Data)
		if !r.sealed() {
			return fail("it is damaged")
		}
		k.Parent = int(int32(binary.LittleEndian.Uint32(number)))
		for i := range k.Tokens {
			k.Tokens[i] = int32(binary.LittleEndian.Uint32(number[4*(i+1):]))
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrPromptCache) {
		err = fail(err.Error())
	}
	return tokens, err
}

// summed writes or reads runs of bytes that a checksum ends. Its first error stays.
type summed struct {
	to   io.Writer
	from io.Reader
	sum  hash.Hash32
	err  error
}

func (s *summed) put(p []byte) {
	if s.err == nil {
		s.sum.Write(p)
		_, s.err = s.to.Write(p)
	}
}

// seal ends a run that was put.
func (s *summed) seal() {
	sum := binary.LittleEndian.AppendUint32(nil, s.sum.Sum32())
	s.put(sum)
	s.sum.Reset()
}

func (s *summed) get(p []byte) {
	if s.err == nil {
		_, s.err = io.ReadFull(s.from, p)
		s.sum.Write(p)
	}
}

// sealed ends a run that was got, and reports whether it is whole.
func (s *summed) sealed() bool {
	want := s.sum.Sum32()
	var sum [4]byte
	s.get(sum[:])
	s.sum.Reset()
	return s.err == nil && binary.LittleEndian.Uint32(sum[:]) == want
}
