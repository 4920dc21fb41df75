package weights

import (
	"encoding/binary"
	"fmt"

	"github.com/lamina-llm/lamina/internal/crc32c"
)

// magic opens every file. A first byte above 127 and a line feed at the end
// expose transfers that strip bit 7 or translate line ends.
const magic = "\x89LAMINA\n"

const (
	headerSize = 64
	minDir     = 16 // its fixed part
	minTensor  = 25 // bytes of the shortest tensor record
	minSpan    = 8
	minEntry   = 7 // bytes of the shortest unit record without tensors
)

// Entry kinds of the directory.
const (
	kindSection = 1
	kindUnit    = 2
)

// header is the decoded fixed header.
type header struct {
	fileLen int64
	dirOff  int64
	dirLen  int64
	dirCRC  uint32
}

func (h header) encode() []byte {
	le := binary.LittleEndian
	p := make([]byte, headerSize)
	copy(p, magic)
	le.PutUint32(p[8:], Version)
	le.PutUint32(p[12:], headerSize)
	le.PutUint64(p[16:], uint64(h.fileLen))
	le.PutUint64(p[24:], uint64(h.dirOff))
	le.PutUint32(p[32:], uint32(h.dirLen))
	le.PutUint32(p[36:], h.dirCRC)
	le.PutUint32(p[60:], crc32c.Checksum(p[:60]))
	return p
}

// decodeHeader checks p, the first headerSize bytes (fewer if the file is
// shorter), of a file of size bytes: magic, version, checksum, size, structure.
func decodeHeader(p []byte, size int64) (header, error) {
	if n := min(len(p), len(magic)); string(p[:n]) != magic[:n] {
		return header{}, ErrMagic
	}
	if len(p) < headerSize {
		return header{}, fmt.Errorf("%w: %d bytes, the header alone has %d", ErrTruncated, size, headerSize)
	}
	le := binary.LittleEndian
	if v := le.Uint32(p[8:]); v != Version {
		return header{}, fmt.Errorf("%w: %d (this program reads %d)", ErrVersion, v, Version)
	}
	if want, got := le.Uint32(p[60:]), crc32c.Checksum(p[:60]); want != got {
		return header{}, fmt.Errorf("header: %w: stored %08x, computed %08x", ErrChecksum, want, got)
	}
	fileLen, dirOff, dirLen := le.Uint64(p[16:]), le.Uint64(p[24:]), le.Uint32(p[32:])
	switch {
	case fileLen > uint64(size):
		return header{}, fmt.Errorf("%w: %d bytes of %d", ErrTruncated, size, fileLen)
	case fileLen != uint64(size):
		return header{}, fmt.Errorf("%w: %d bytes, the header says %d", ErrCorrupt, size, fileLen)
	case le.Uint32(p[12:]) != headerSize:
		return header{}, fmt.Errorf("%w: header length is %d", ErrCorrupt, le.Uint32(p[12:]))
	case !zero(p[40:60]):
		return header{}, fmt.Errorf("%w: reserved header bytes are not zero", ErrCorrupt)
	case dirLen < minDir || dirLen > MaxDirectory:
		return header{}, fmt.Errorf("%w: directory of %d bytes", ErrCorrupt, dirLen)
	case dirOff < UnitAlign || dirOff%SpanAlign != 0 || dirOff > fileLen || fileLen-dirOff != uint64(dirLen):
		return header{}, fmt.Errorf("%w: directory of %d bytes at offset %d does not end the file", ErrCorrupt, dirLen, dirOff)
	}
	return header{int64(fileLen), int64(dirOff), int64(dirLen), le.Uint32(p[36:])}, nil
}

// zero reports whether p holds nothing but zeros.
func zero(p []byte) bool {
	var or byte
	for _, b := range p {
		or |= b
	}
	return or == 0
}
