package vvc

import "bytes"

// NAL unit types (table 5).
const (
	nalRADL      = 2
	nalRASL      = 3 // the last type of slices of pictures that are not random access points
	nalIDRRadl   = 7
	nalIDRNoLP   = 8
	nalCRA       = 9
	nalGDR       = 10
	nalVPS       = 14
	nalSPS       = 15
	nalPPS       = 16
	nalPrefixAPS = 17
	nalSuffixAPS = 18
	nalPH        = 19
	nalAUD       = 20
	nalEOS       = 21
	nalEOB       = 22
	nalSuffixSEI = 24
)

type nalUnit struct {
	kind       int
	layer      int
	temporalID int
	payload    []byte // escaped, without the two header bytes
}

// nextNAL cuts the first NAL unit off an Annex B byte stream. ok is false at the end of the stream.
func nextNAL(stream []byte) (nal nalUnit, rest []byte, ok bool, err error) {
	start := bytes.Index(stream, startCode)
	if start < 0 {
		return nal, nil, false, nil
	}
	body := stream[start+3:]
	end := len(body)
	for i := 0; ; {
		k := bytes.Index(body[i:], startCode[:2])
		if k < 0 {
			break
		}
		i += k
		if i+2 >= len(body) || body[i+2] <= 1 { // 000000, 000001 or the end
			end = i
			break
		}
		i += 2
	}
	unit := body[:end]
	if len(unit) < 2 {
		return nal, nil, false, invalidf("NAL unit of %d bytes", len(unit))
	}
	if unit[0]&0x80 != 0 {
		return nal, nil, false, invalidf("forbidden_zero_bit is set")
	}
	nal = nalUnit{
		kind:       int(unit[1] >> 3),
		layer:      int(unit[0] & 63),
		temporalID: int(unit[1]&7) - 1,
		payload:    unit[2:],
	}
	if nal.temporalID < 0 {
		return nal, nil, false, invalidf("nuh_temporal_id_plus1 is zero")
	}
	return nal, body[end:], true, nil
}

var startCode = []byte{0, 0, 1}

// unescape appends payload to dst without its emulation prevention bytes.
func unescape(dst, payload []byte) []byte {
	zeros := 0
	from := 0
	for i, b := range payload {
		if zeros >= 2 && b == 3 {
			dst = append(dst, payload[from:i]...)
			from = i + 1
			zeros = 0
			continue
		}
		if b == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return append(dst, payload[from:]...)
}
