package token

import (
	"cmp"
	"slices"
)

// merge is one entry of a merge list before it is in the table.
type merge struct {
	left, right, result int32
	rank                uint32
}

// builder collects a tokenizer from a foreign format. Tokens may come in any
// order; gaps are allowed.
type builder struct {
	config
	pieces []string // by id
	types  []uint8
	merges []merge
	shared bool // several merges share a rank
	added  []addedToken
}

// set defines token id. It refuses absurd ids and redefinition.
func (b *builder) set(id int64, piece string, typ uint8) error {
	if id < 0 || id >= maxVocab {
		return malformed("token %q has id %d", piece, id)
	}
	if int(id) >= len(b.types) {
		n := int(id) + 1
		b.pieces = append(b.pieces, make([]string, n-len(b.pieces))...)
		for len(b.types) < n {
			b.types = append(b.types, typeAbsent)
		}
	}
	if b.types[id]&typeAbsent == 0 {
		if b.pieces[id] != piece {
			return malformed("tokens %q and %q have the same id %d", b.pieces[id], piece, id)
		}
	}
	b.pieces[id], b.types[id] = piece, typ
	return nil
}

// build makes the tokenizer.
func (b *builder) build() (*Tokenizer, error) {
	if len(b.types) == 0 {
		return nil, malformed("the vocabulary is empty")
	}
	if len(b.merges) > maxMerges {
		return nil, malformed("%d merges, more than %d", len(b.merges), maxMerges)
	}
	if len(b.head) > maxAround || len(b.tail) > maxAround {
		return nil, malformed("%d tokens before and %d after the text, more than %d", len(b.head), len(b.tail), maxAround)
	}
	if len(b.added) > len(b.types) {
		return nil, malformed("%d added tokens in a vocabulary of %d", len(b.added), len(b.types))
	}
	size := 0
	for _, p := range b.pieces {
		size += len(p)
	}
	if size > maxText {
		return nil, malformed("the vocabulary takes %d bytes", size)
	}
	t := &Tokenizer{config: b.config, types: b.types, added: b.added}
	t.blob = make([]byte, 0, size)
	t.offs = make([]uint32, 1, len(b.types)+1)
	for _, p := range b.pieces {
		t.blob = append(t.blob, p...)
		t.offs = append(t.offs, uint32(len(t.blob)))
	}
	if len(b.merges) > 0 {
		t.merges = newMergeTable(len(b.merges), b.shared)
		for _, m := range b.merges {
			t.merges.add(m.left, m.right, m.result, m.rank)
		}
	}
	if err := t.finish(); err != nil {
		return nil, err
	}
	return t, nil
}

// mergesFromScores derives the merges of a SentencePiece BPE model: any two
// neighbours whose concatenation is a piece may merge, the highest score first.
// Pieces of equal score share a rank, which makes the leftmost merge first.
// Looking at every cut takes time quadratic in the length of a piece, so that
// is bounded; trained pieces are of some 16 characters.
func (b *builder) mergesFromScores(scores []float32) error {
	const maxPiece = 1 << 12 // bytes
	ids := make(map[string]int32, len(b.pieces))
	for id := len(b.pieces) - 1; id >= 0; id-- {
		if b.types[id]&(typeAbsent|typeHidden) != 0 {
			continue
		}
		if len(b.pieces[id]) > maxPiece {
			return malformed("token %d is of %d bytes, more than %d", id, len(b.pieces[id]), maxPiece)
		}
		ids[b.pieces[id]] = int32(id)
	}
	order := make([]int32, 0, len(ids))
	for _, id := range ids {
		order = append(order, id)
	}
	slices.SortFunc(order, func(x, y int32) int {
		return cmp.Or(cmp.Compare(scores[y], scores[x]), cmp.Compare(x, y))
	})
	b.shared = true
	rank := uint32(0)
	for i, id := range order {
		if i > 0 && scores[id] != scores[order[i-1]] {
			rank++
		}
		p := b.pieces[id]
		for cut := range p {
			if cut == 0 {
				continue
			}
			left, ok := ids[p[:cut]]
			if !ok {
				continue
			}
			if right, ok := ids[p[cut:]]; ok {
				b.merges = append(b.merges, merge{left, right, id, rank})
			}
		}
	}
	return nil
}

// byteOfRune inverts GPT-2's table that gives every byte a visible character:
// printable Latin-1 stands for itself, the other 68 bytes follow from U+0100.
var byteOfRune = func() (t [324]int16) {
	for i := range t {
		t[i] = -1
	}
	next := 256
	for b := range 256 {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			t[b] = int16(b)
		} else {
			t[next] = int16(b)
			next++
		}
	}
	return t
}()

// unmapBytes turns the spelling of a byte-level token into its bytes. ok is
// false if a character stands for no byte; the reference then takes the text as
// it is.
func unmapBytes(s string) (b string, ok bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if int(r) >= len(byteOfRune) || byteOfRune[r] < 0 {
			return s, false
		}
		out = append(out, byte(byteOfRune[r]))
	}
	return string(out), true
}
