package token

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// finish checks what the loaders filled in and builds the derived tables.
func (t *Tokenizer) finish() error {
	n := int32(len(t.types))
	for _, id := range []int32{t.bos, t.eos, t.unk} {
		if id < -1 || id >= n {
			return malformed("special token id %d is outside the vocabulary of %d", id, n)
		}
	}
	for _, ids := range [][]int32{t.head, t.tail} {
		for _, id := range ids {
			if !t.valid(id) {
				return malformed("post-processor token id %d is outside the vocabulary of %d", id, n)
			}
		}
	}
	for b := range t.byteIDs {
		t.byteIDs[b] = -1
	}
	for id := n - 1; id >= 0; id-- { // the lowest id wins
		p := t.piece(id)
		switch {
		case t.kind == byteLevel && len(p) == 1 && t.types[id]&(typeAbsent|typeHidden) == 0:
			t.byteIDs[p[0]] = id
		case t.kind == sentencePiece && t.types[id]&typeByte != 0:
			b, ok := byteToken(string(p))
			if !ok {
				return malformed("byte token %d is called %q", id, p)
			}
			t.byteIDs[b] = id
		}
	}
	if t.byteFallback {
		for b, id := range t.byteIDs {
			if id < 0 {
				return unsupported("byte fallback without a token for byte 0x%02X", b)
			}
		}
	}
	if t.ignoreMerges || t.kind == sentencePiece {
		t.indexPieces()
	}
	if t.kind == sentencePiece {
		_, ok := t.lookup(metaspace)
		t.splitSpaces = ok && !t.mergesCrossSpaces()
	}
	return t.indexAdded()
}

func (t *Tokenizer) indexPieces() {
	count := 0
	for _, k := range t.types {
		if k&(typeAbsent|typeHidden) == 0 {
			count++
		}
	}
	t.seed = maphash.MakeSeed()
	t.pieces = make([]uint32, tableSize(count))
	mask := uint64(len(t.pieces) - 1)
next:
	for id, k := range t.types {
		if k&(typeAbsent|typeHidden) != 0 {
			continue
		}
		p := t.piece(int32(id))
		h := maphash.Bytes(t.seed, p) & mask
		for ; t.pieces[h] != 0; h = (h + 1) & mask {
			if string(t.piece(int32(t.pieces[h]-1))) == string(p) {
				continue next // a duplicate: the lowest id wins
			}
		}
		t.pieces[h] = uint32(id) + 1
	}
}

// tableSize returns a power of two that n entries fill to at most three quarters.
func tableSize(n int) int {
	return 1 << bits.Len(uint(n+n/3+1))
}

// mergesCrossSpaces tells whether some merge makes a piece that holds a
// U+2581 behind another character.
func (t *Tokenizer) mergesCrossSpaces() bool {
	for _, id := range t.merges.results {
		p := string(t.piece(id))
		if strings.Contains(strings.TrimLeft(p, metaspace), metaspace) {
			return true
		}
	}
	return false
}
