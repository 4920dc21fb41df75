package vvc

import "slices"

// Segments cuts the Annex B byte stream data into streams that decode on their own, in output order: each begins with
// the parameter sets in force and a random access point after which nothing refers to earlier pictures. Decoding them
// apart, at the same time if wanted, gives the pictures that decoding data as a whole gives; only Frame.POC may differ.
// A stream that cannot be cut comes back as one segment, which is data itself. Otherwise segments are copies, together
// at most eight times as long as data and a megabyte. The error wraps [ErrInvalid].
func Segments(data []byte) ([][]byte, error) {
	var s segmenter
	for rest := data; ; {
		nal, next, ok, err := nextNAL(rest)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		s.add(nal, rest[:len(rest)-len(next)])
		if s.whole || s.copied > 8*len(data)+1<<20 {
			return [][]byte{data}, nil
		}
		rest = next
	}
	if len(s.done) == 0 {
		return [][]byte{data}, nil
	}
	s.flush()
	return append(s.done, s.now), nil
}

// segmenter collects NAL units, start codes included.
type segmenter struct {
	done  [][]byte
	now   []byte
	sets  []parameterSet // in force, in order of arrival
	ahead [][]byte       // that precede a picture still unknown
	slice bool           // the segment has one
	ph    bool           // a picture header has announced the picture of the next slices
	whole bool           // some picture refers to others

	copied int // bytes of repeated parameter sets
}

// parameterSet is one NAL unit that later ones refer to by its key.
type parameterSet struct {
	key  [2]byte
	unit []byte
}

func (s *segmenter) add(nal nalUnit, unit []byte) {
	slice := nal.kind <= nalGDR
	if nal.layer > 0 {
		return
	}
	if nal.kind == nalRADL || nal.kind == nalRASL || nal.kind == nalGDR { // tied to pictures of two segments
		s.whole = true
	}
	if !slice {
		s.ph = s.ph || nal.kind == nalPH
		s.ahead = append(s.ahead, unit)
		if nal.kind == nalSuffixAPS || nal.kind == nalSuffixSEI {
			s.flush() // belongs to the picture before
		}
		return
	}
	if s.ph || len(nal.payload) > 0 && nal.payload[0]&0x80 != 0 { // or a picture header in the slice header
		s.ph = false
		if nal.kind >= nalIDRRadl && nal.kind <= nalCRA && s.slice {
			s.cut()
		}
	}
	s.flush()
	s.now = append(s.now, unit...)
	s.slice = true
}

// cut begins a new segment with the parameter sets in force that do not come anew.
func (s *segmenter) cut() {
	s.done = append(s.done, s.now)
	s.now, s.slice = nil, false
	for _, p := range s.sets {
		if !slices.ContainsFunc(s.ahead, func(unit []byte) bool { key, ok := setKey(unit); return ok && key == p.key }) {
			s.now = append(s.now, p.unit...)
			s.copied += len(p.unit)
		}
	}
}

// flush moves the units that wait to the segment and remembers parameter sets.
func (s *segmenter) flush() {
	for _, unit := range s.ahead {
		s.now = append(s.now, unit...)
		if key, ok := setKey(unit); ok {
			s.sets = remember(s.sets, parameterSet{key, unit})
		}
	}
	s.ahead = s.ahead[:0]
}

// setKey returns the kind and number of a parameter set.
func setKey(unit []byte) (key [2]byte, ok bool) {
	nal, _, found, err := nextNAL(unit)
	if err != nil || !found || len(nal.payload) == 0 {
		return key, false
	}
	key = [2]byte{byte(nal.kind), nal.payload[0]}
	switch nal.kind {
	case nalVPS, nalSPS: // u(4)
		key[1] >>= 4
	case nalPPS: // u(6)
		key[1] >>= 2
	case nalPrefixAPS, nalSuffixAPS: // type u(3) and number u(5)
		key[0] = nalPrefixAPS
	default:
		return key, false
	}
	return key, true
}

// remember puts p behind the others, in place of the one with its key.
func remember(sets []parameterSet, p parameterSet) []parameterSet {
	for i := range sets {
		if sets[i].key == p.key {
			sets = append(sets[:i], sets[i+1:]...)
			break
		}
	}
	return append(sets, p)
}
