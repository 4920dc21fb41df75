package token

import (
	"encoding/binary"
	"errors"
	"math"
	"unicode/utf8"
)

// Piece types of a SentencePiece model.
const (
	spNormal = iota + 1
	spUnknown
	spControl
	spUserDefined
	spUnused
	spByte
)

// FromSentencePiece builds the tokenizer of a SentencePiece BPE model
// (tokenizer.model, the ModelProto message of sentencepiece_model.proto). As
// LLaMA does, EncodeOptions.AddSpecial puts the beginning-of-sequence token in
// front. Pieces marked unused are never produced.
func FromSentencePiece(model []byte) (*Tokenizer, error) {
	b := &builder{config: config{kind: sentencePiece, fuseUnk: true, bos: 1, eos: 2, unk: 0}}
	var scores []float32
	modelType, unk, bos, eos := uint64(1), int32(0), int32(1), int32(2)
	dummyPrefix, extraSpaces := true, true
	err := fields(model, func(num int, v uint64, data []byte) error {
		switch num {
		case 1:
			score, err := b.setSentencePiece(data)
			scores = append(scores, score)
			return err
		case 2: // TrainerSpec
			return fields(data, func(num int, v uint64, _ []byte) error {
				switch num {
				case 3:
					modelType = v
				case 24:
					if v != 0 {
						return unsupported("SentencePiece model with white space as suffix")
					}
				case 40:
					unk = int32(v)
				case 41:
					bos = int32(v)
				case 42:
					eos = int32(v)
				}
				return nil
			})
		case 3: // NormalizerSpec
			return fields(data, func(num int, v uint64, data []byte) error {
				switch num {
				case 2:
					if len(data) > 0 {
						return unsupported("SentencePiece model with a character map for normalisation")
					}
				case 3:
					dummyPrefix = v != 0
				case 4:
					extraSpaces = v != 0
				case 5:
					if v == 0 {
						return unsupported("SentencePiece model without escaped white space")
					}
				}
				return nil
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(b.types) == 0:
		return nil, malformed("SentencePiece model without pieces")
	case modelType != 2:
		return nil, unsupported("SentencePiece model type %d; only BPE (2) is supported", modelType)
	case extraSpaces:
		return nil, unsupported("SentencePiece model that removes extra white space")
	}
	b.unk, b.bos, b.eos = max(unk, -1), max(bos, -1), max(eos, -1)
	if b.bos >= 0 {
		b.head = []int32{b.bos}
	}
	if dummyPrefix {
		b.space, b.strip = earlyAlways, 1
	}
	if err := b.mergesFromScores(scores); err != nil {
		return nil, err
	}
	return b.build()
}

// setSentencePiece adds one SentencePiece message.
func (b *builder) setSentencePiece(msg []byte) (score float32, err error) {
	piece, typ := "", uint64(spNormal)
	err = fields(msg, func(num int, v uint64, data []byte) error {
		switch num {
		case 1:
			piece = string(data)
		case 2:
			score = math.Float32frombits(uint32(v))
		case 3:
			typ = v
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	id := int32(len(b.types))
	if !utf8.ValidString(piece) || score != score {
		return 0, malformed("SentencePiece piece %d: %q with score %v", id, piece, score)
	}
	flags := uint8(0)
	switch typ {
	case spNormal:
	case spUnknown, spControl:
		flags = typeSpecial | typeHidden
		b.added = append(b.added, addedToken{id, addedSpecial, piece})
	case spUserDefined:
		flags = typeHidden
		b.added = append(b.added, addedToken{id, addedNormalized, piece})
	case spUnused:
		flags = typeHidden
	case spByte:
		flags = typeHidden | typeByte
		b.byteFallback = true
	default:
		return 0, malformed("SentencePiece piece %d has the unknown type %d", id, typ)
	}
	return score, b.set(int64(id), piece, flags)
}

var errProto = errors.New("protocol buffer is damaged")

// fields calls f for every field of a protocol buffer message: v holds varints
// and fixed-width numbers, data (a part of msg) length-delimited values.
func fields(msg []byte, f func(num int, v uint64, data []byte) error) error {
	for at := 0; at < len(msg); {
		tag, n := binary.Uvarint(msg[at:])
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29 {
			return malformed("%v at byte %d", errProto, at)
		}
		at += n
		var v uint64
		var data []byte
		rest := msg[at:]
		switch tag & 7 {
		case 0:
			if v, n = binary.Uvarint(rest); n <= 0 {
				return malformed("%v at byte %d", errProto, at)
			}
		case 1:
			if n = 8; len(rest) < n {
				return malformed("%v at byte %d", errProto, at)
			}
			v = binary.LittleEndian.Uint64(rest)
		case 2:
			size, k := binary.Uvarint(rest)
			if k <= 0 || size > uint64(len(rest)-k) {
				return malformed("%v at byte %d", errProto, at)
			}
			n = k + int(size)
			data = rest[k:n]
		case 5:
			if n = 4; len(rest) < n {
				return malformed("%v at byte %d", errProto, at)
			}
			v = uint64(binary.LittleEndian.Uint32(rest))
		default:
			return malformed("%v: wire type %d at byte %d", errProto, tag&7, at)
		}
		at += n
		if err := f(int(tag>>3), v, data); err != nil {
			return err
		}
	}
	return nil
}
