package token

import (
	"encoding/binary"
)

// The binary form, version 1. Numbers are unsigned varints (LEB128) unless
// stated; "id+1" stores -1 as 0.
//
//	4 bytes   magic "LTOK"
//	1 byte    version, 1
//	1 byte    kind: 0 byte-level, 1 SentencePiece
//	1 byte    space mode: 0 early none, 1 early always, 2 late none,
//	          3 late if missing, 4 late first
//	1 byte    flags: 1 ignore merges, 2 fuse unk, 4 byte fallback,
//	          8 merges carry ranks
//	1 byte    leading spaces that decoding removes, 0 or 1
//	1 byte    number of pre-tokenizer stages, at most 8
//	stages    1 byte each: 1 GPT-2, 2 Llama 3, 3 single digits, 4 digit runs,
//	          5 punctuation, 6 digit triples, 7 space in front
//	bos, eos, unk            id+1 each
//	head, tail               count (at most 16), then ids
//	vocab                    count, at most 2^21-1
//	lengths                  one per token, bytes
//	pieces                   the bytes, one token after another
//	types                    count, then pairs: distance from the token before
//	                         (the first: from 0), type byte (1 special, 2 byte
//	                         token, 4 absent, 8 not for ordinary text); tokens
//	                         not listed have type 0
//	merges                   count, at most 2^22-1, then in order of rank:
//	                         left, right, result - previous result - 1 as
//	                         zigzag; with ranks, the rank less that before
//	added tokens             count, then each: id, flag byte (1 special,
//	                         2 normalized, 4 lstrip, 8 rstrip, 16 single word),
//	                         length and bytes of the text to look for
//
// Nothing follows. Integrity is the business of the file around it.
const (
	binaryMagic   = "LTOK"
	binaryVersion = 1
	maxStages     = 8
	maxAround     = 16

	flagIgnoreMerges = 1
	flagFuseUnk      = 2
	flagByteFallback = 4
	flagRanks        = 8
)

// MarshalBinary returns the binary form of t, which [Unmarshal] reads. Equal
// tokenizers give equal bytes. The error is always nil.
func (t *Tokenizer) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, len(t.blob)+len(t.types)+6*len(t.merges.results)+1024)
	b = append(b, binaryMagic...)
	flags := byte(0)
	for _, f := range []struct {
		on  bool
		bit byte
	}{{t.ignoreMerges, flagIgnoreMerges}, {t.fuseUnk, flagFuseUnk}, {t.byteFallback, flagByteFallback}, {t.merges.ranks != nil, flagRanks}} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, binaryVersion, byte(t.kind), byte(t.space), flags, t.strip, byte(len(t.stages)))
	for _, s := range t.stages {
		b = append(b, byte(s))
	}
	put := func(v int) { b = binary.AppendUvarint(b, uint64(v)) }
	for _, id := range []int32{t.bos, t.eos, t.unk} {
		put(int(id) + 1)
	}
	for _, ids := range [][]int32{t.head, t.tail} {
		put(len(ids))
		for _, id := range ids {
			put(int(id))
		}
	}
	put(len(t.types))
	for i := range t.types {
		put(int(t.offs[i+1] - t.offs[i]))
	}
	b = append(b, t.blob...)
	odd := 0
	for _, k := range t.types {
		if k != 0 {
			odd++
		}
	}
	put(odd)
	last := 0
	for id, k := range t.types {
		if k != 0 {
			put(id - last)
			b = append(b, k)
			last = id
		}
	}
	count := 0
	t.merges.each(func(_, _, _ int32, _ uint32) { count++ })
	put(count)
	prev, prevRank := int32(-1), uint32(0)
	t.merges.each(func(left, right, result int32, rank uint32) {
		put(int(left))
		put(int(right))
		b = binary.AppendVarint(b, int64(result-prev-1))
		prev = result
		if t.merges.ranks != nil {
			put(int(rank - prevRank))
			prevRank = rank
		}
	})
	put(len(t.added))
	for _, a := range t.added {
		put(int(a.id))
		b = append(b, a.flags)
		put(len(a.match))
		b = append(b, a.match...)
	}
	return b, nil
}

// Unmarshal builds a Tokenizer from its binary form and keeps no reference to
// data. Any input is safe: sizes are checked against the bytes that are there
// before anything is allocated.
func Unmarshal(data []byte) (*Tokenizer, error) {
	r := &reader{data: data}
	if string(r.bytes(4)) != binaryMagic {
		return nil, malformed("no tokenizer: the magic bytes are missing")
	}
	if v := r.byte(); v != binaryVersion {
		return nil, malformed("version %d; this program reads version %d", v, binaryVersion)
	}
	t := &Tokenizer{}
	t.kind, t.space = kind(r.byte()), spaceMode(r.byte())
	flags := r.byte()
	t.ignoreMerges, t.fuseUnk, t.byteFallback = flags&flagIgnoreMerges != 0, flags&flagFuseUnk != 0, flags&flagByteFallback != 0
	t.strip = r.byte()
	stages := r.bytes(int(min(r.byte(), maxStages+1)))
	if t.kind >= numKinds || t.space >= numSpaceModes || flags > 15 || t.strip > 1 || len(stages) > maxStages {
		return nil, malformed("unknown kind, mode or flags in the header")
	}
	for _, s := range stages {
		if s == 0 || stage(s) >= numStages {
			return nil, malformed("unknown pre-tokenizer stage %d", s)
		}
		t.stages = append(t.stages, stage(s))
	}
	t.bos, t.eos, t.unk = r.id(maxVocab)-1, r.id(maxVocab)-1, r.id(maxVocab)-1
	for _, ids := range []*[]int32{&t.head, &t.tail} {
		for range r.count(maxAround, 1) {
			*ids = append(*ids, r.id(maxVocab))
		}
	}
	r.vocab(t)
	r.mergeList(t, flags&flagRanks != 0)
	for range r.count(len(t.types), 3) {
		a := addedToken{id: r.id(len(t.types)), flags: r.byte()}
		if a.flags > addedFlags {
			return nil, malformed("added token %d has the unknown flags %d", a.id, a.flags)
		}
		a.match = string(r.bytes(r.count(maxAdded, 1)))
		t.added = append(t.added, a)
	}
	switch {
	case r.bad:
		return nil, malformed("damaged at byte %d of %d", r.at, len(data))
	case r.at != len(data):
		return nil, malformed("%d bytes too many", len(data)-r.at)
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

// reader reads the binary form. After the first error bad stays set and every
// value is zero.
type reader struct {
	data []byte
	at   int
	bad  bool
}

func (r *reader) fail() { r.bad = true }

func (r *reader) bytes(n int) []byte {
	if r.bad || n < 0 || n > len(r.data)-r.at {
		r.fail()
		return nil
	}
	b := r.data[r.at : r.at+n]
	r.at += n
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	if r.bad {
		return 0
	}
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 {
		r.fail()
		return 0
	}
	r.at += n
	return v
}

// id reads a number below limit.
func (r *reader) id(limit int) int32 {
	v := r.uvarint()
	if v >= uint64(limit) {
		r.fail()
		return 0
	}
	return int32(v)
}

// count reads the length of a list of at most limit elements of at least size
// bytes each.
func (r *reader) count(limit, size int) int {
	v := r.uvarint()
	if v > uint64(limit) || v > uint64((len(r.data)-r.at)/size) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) vocab(t *Tokenizer) {
	n := r.count(maxVocab, 1)
	t.offs = make([]uint32, n+1)
	size := 0
	for i := range n {
		size += int(r.id(maxText))
		if size > len(r.data) {
			r.fail()
			return
		}
		t.offs[i+1] = uint32(size)
	}
	t.blob = append([]byte(nil), r.bytes(size)...)
	if r.bad {
		return
	}
	t.types = make([]uint8, n)
	id := 0
	for range r.count(n, 2) {
		id += int(r.id(maxVocab))
		k := r.byte()
		if id >= n || k > typeSpecial|typeByte|typeAbsent|typeHidden {
			r.fail()
			return
		}
		t.types[id] = k
	}
}

func (r *reader) mergeList(t *Tokenizer, ranks bool) {
	n := len(t.types)
	count := r.count(maxMerges, 3)
	if count == 0 {
		return
	}
	t.merges = newMergeTable(count, ranks)
	prev, rank := int64(-1), uint64(0)
	for range count {
		left, right := r.id(n), r.id(n)
		d := r.uvarint()
		prev += int64(d>>1) ^ -int64(d&1) + 1
		if ranks {
			rank += uint64(r.id(maxMerges))
		}
		if r.bad || prev < 0 || prev >= int64(n) || rank >= uint64(noMerge) {
			r.fail()
			return
		}
		t.merges.add(left, right, int32(prev), uint32(rank))
	}
}
