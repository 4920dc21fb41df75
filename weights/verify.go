package weights

import (
	"cmp"
	"context"
	"fmt"

	"slices"

	"github.com/lamina-llm/lamina/internal/crc32c"
)

// verifyChunk is the read size and the memory of Verify.
const verifyChunk = 1 << 20

// Verify reads the whole file in order and checks every byte: header,
// directory, the checksum of each span, and zeros everywhere else. It needs
// 1 MiB of memory. progress, if not nil, is called after every chunk with the
// bytes done of the file's size. It stops at the first error, or with ctx's.
func (f *File) Verify(ctx context.Context, progress func(done, total int64)) error {
	type region struct {
		Span
		owner string
	}
	regions := []region{
		{Span{0, headerSize, crc32c.Checksum(f.head.encode())}, "header"},
		{Span{f.head.dirOff, int(f.head.dirLen), f.head.dirCRC}, "directory"},
	}
	for _, s := range f.dir.sections {
		regions = append(regions, region{s.Span, "section " + s.Name})
	}
	for i := range f.dir.tensors {
		for _, s := range f.dir.tensors[i].Spans {
			regions = append(regions, region{s, f.dir.tensors[i].Name})
		}
	}
	// Empty spans share their offset with what follows; they sort before it.
	slices.SortFunc(regions, func(a, b region) int {
		return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(a.Len, b.Len))
	})

	buf := make([]byte, min(verifyChunk, f.size))
	each := func(owner string, off, end int64, visit func(p []byte) error) error {
		for off < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buf[:min(int64(len(buf)), end-off)]
			err := readFull(f.r, p, off)
			if err == nil {
				err = visit(p)
			}
			if err != nil {
				return f.failure("verify", owner, off, err)
			}
			f.DropCache(off, int64(len(p)))
			off += int64(len(p))
			if progress != nil {
				progress(off, f.size)
			}
		}
		return nil
	}
	isZero := func(p []byte) error {
		if !zero(p) {
			return errPadding
		}
		return nil
	}
	pos := int64(0)
	for _, r := range regions {
		if r.Off < pos {
			return f.failure("verify", r.owner, r.Off, fmt.Errorf("%w: overlaps what precedes it", ErrCorrupt))
		}
		if err := each(r.owner, pos, r.Off, isZero); err != nil {
			return err
		}
		var crc uint32
		err := each(r.owner, r.Off, r.End(), func(p []byte) error {
			crc = crc32c.Update(crc, p)
			return nil
		})
		if err != nil {
			return err
		}
		if crc != r.CRC {
			return f.failure("verify", r.owner, r.Off, mismatch(r.CRC, crc))
		}
		pos = r.End()
	}
	if pos != f.size {
		return f.failure("verify", "", pos, fmt.Errorf("%w: %d bytes belong to nothing", ErrCorrupt, f.size-pos))
	}
	return f.Changed()
}
