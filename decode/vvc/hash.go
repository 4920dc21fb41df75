package vvc

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
)

// Picture hash methods of the decoded picture hash SEI message (H.274 clause 8.8).
const (
	hashMD5 = iota
	hashCRC
	hashChecksum
)

type pictureHash struct {
	method int
	digest [3][]byte
}

// parseSEI looks for a decoded picture hash among the messages of an SEI NAL unit (clause 7.3.6).
func parseSEI(data []byte) *pictureHash {
	const decodedPictureHash = 132
	for len(data) > 2 {
		kind, n := seiNumber(data)
		data = data[n:]
		size, n := seiNumber(data)
		data = data[n:]
		if size > len(data) {
			return nil
		}
		if kind == decodedPictureHash {
			return parseHash(data[:size])
		}
		data = data[size:]
	}
	return nil
}

// seiNumber reads a number coded as bytes of 255 and a last smaller one.
func seiNumber(data []byte) (v, n int) {
	for _, b := range data {
		v += int(b)
		n++
		if b != 255 {
			break
		}
	}
	return v, n
}

func parseHash(data []byte) *pictureHash {
	if len(data) < 2 {
		return nil
	}
	h := &pictureHash{method: int(data[0])}
	comps := 3
	if data[1]&0x80 != 0 {
		comps = 1
	}
	size := [3]int{16, 2, 4}
	if h.method >= len(size) || len(data) < 2+comps*size[h.method] {
		return nil
	}
	for c := range comps {
		from := 2 + c*size[h.method]
		h.digest[c] = bytes.Clone(data[from : from+size[h.method]])
	}
	return h
}

// verify compares the hash with the decoded samples of pic.
func (h *pictureHash) verify(pic *picture, buf []byte) ([]byte, error) {
	for c := range pic.comps {
		if h.digest[c] == nil {
			return buf, invalidf("picture hash lacks component %d", c)
		}
		var got []byte
		p := &pic.planes[c]
		switch h.method {
		case hashMD5:
			sum := md5.New()
			for y := range p.h {
				buf = appendSamples(buf[:0], p.pix[y*p.stride:y*p.stride+p.w], pic.sps.bitDepth)
				sum.Write(buf)
			}
			got = sum.Sum(nil)
		case hashCRC:
			got = binary.BigEndian.AppendUint16(nil, planeCRC(p, pic.sps.bitDepth))
		case hashChecksum:
			got = binary.BigEndian.AppendUint32(nil, planeChecksum(p, pic.sps.bitDepth))
		}
		if !bytes.Equal(got, h.digest[c]) {
			return buf, fmt.Errorf("%w: picture %d, component %d: %x instead of %x", ErrHash, pic.poc, c, got, h.digest[c])
		}
	}
	return buf, nil
}

// planeCRC is the CRC-16 with polynomial 0x1021 over sample bytes, least significant byte first.
func planeCRC(p *plane, bitDepth int) uint16 {
	crc := uint32(0xffff)
	feed := func(v uint32, n int) {
		for i := n - 1; i >= 0; i-- {
			msb := crc >> 15 & 1
			crc = (crc<<1|v>>i&1)&0xffff ^ msb*0x1021
		}
	}
	for y := range p.h {
		for _, v := range p.pix[y*p.stride : y*p.stride+p.w] {
			feed(uint32(v&255), 8)
			if bitDepth > 8 {
				feed(uint32(v>>8), 8)
			}
		}
	}
	feed(0, 16)
	return uint16(crc)
}

// planeChecksum adds sample bytes masked with their position.
func planeChecksum(p *plane, bitDepth int) uint32 {
	sum := uint32(0)
	for y := range p.h {
		for x, v := range p.pix[y*p.stride : y*p.stride+p.w] {
			mask := uint32(x&255 ^ y&255 ^ x>>8 ^ y>>8)
			sum += uint32(v&255) ^ mask
			if bitDepth > 8 {
				sum += uint32(v>>8) ^ mask
			}
		}
	}
	return sum
}
