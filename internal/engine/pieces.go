package engine

import (
	"context"
	"fmt"

	"github.com/lamina-llm/lamina/loader"
	"github.com/lamina-llm/lamina/runtime/plan"
	"github.com/lamina-llm/lamina/runtime/residency"
	"github.com/lamina-llm/lamina/weights"
)

// pieceSize returns the size from which on a matrix is streamed in pieces: large
// enough that a disk gives them at its full rate, small enough that little memory
// keeps it busy, and that the output head, the largest matrix of a small model, need
// not stay. Large models have larger ones, so that no plan has too many.
func pieceSize(units []plan.Unit) int64 {
	total := int64(0)
	for _, u := range units {
		total += u.CodedBytes
	}
	return max(1<<20, total/int64(max(1, plan.MaxUnits-len(units))))
}

// piece is what a unit of the plan is where weights are streamed: a unit of the
// file, or some bands of the matrix in it.
type piece struct {
	of       int   // unit of the file
	off, len int64 // where its bytes are in that
	unit     unit
}

var _ residency.Source = (*pieces)(nil)

// pieces are all of a model, in visiting order. They are the source of what a
// plan in pieces streams.
type pieces struct {
	file  *loader.Model
	size  int64 // of a piece, about: at most, if bands are not larger
	all   []piece
	first []int // of each unit of the file; one more at the end
}

// cut makes the pieces of the units of f as far as they are visited.
func cut(f *loader.Model, units []unit, visited []plan.Unit) *pieces {
	p := &pieces{file: f, size: pieceSize(visited)}
	for i := range visited {
		p.first = append(p.first, len(p.all))
		p.cut(i, units[i])
	}
	p.first = append(p.first, len(p.all))
	return p
}

// cut appends the pieces of u, unit i of the file.
func (p *pieces) cut(i int, u unit) {
	size := p.file.Units()[i].Bytes
	n := 1
	if u.factors == nil && u.parts[0].Rans() != nil && size > p.size {
		bands := int64(u.parts[0].Bands())
		most := max(1, bands*p.size/size) // of a piece
		n = int((bands + most - 1) / most)
	}
	if n == 1 {
		p.all = append(p.all, piece{i, 0, size, u})
		return
	}
	whole := &u.parts[0]
	bands, blocks := whole.Bands(), whole.Blocks()
	for k := range n {
		b0, b1 := k*bands/n, (k+1)*bands/n
		spans := whole.spans[b0*blocks : b1*blocks]
		// Reads begin and end with blocks of the file; one may belong to two pieces.
		const block = weights.UnitAlign
		from := (spans[0].Off - whole.base) / block * block
		to := min((spans[len(spans)-1].End()-whole.base+block-1)/block*block, size)
		p.all = append(p.all, piece{i, from, to - from, unit{parts: []part{{
			Matrix: whole.Slice(b0, b1), tensor: whole.tensor, spans: spans, base: whole.base + from, chunks: make([][]byte, len(spans)),
		}}}})
	}
}

// sizes returns what the plan must know of the pieces of units with such names.
func (p *pieces) sizes(names []plan.Unit) []plan.Unit {
	var all []plan.Unit
	for i := range len(p.first) - 1 {
		n := p.first[i+1] - p.first[i]
		for k, x := range p.all[p.first[i]:p.first[i+1]] {
			u := plan.Unit{Name: names[i].Name, CodedBytes: x.len, UnpackedBytes: x.unit.unpackedBytes()}
			if n > 1 {
				u.Name = fmt.Sprintf("%s.%d", u.Name, k)
			}
			all = append(all, u)
		}
	}
	return all
}

// units returns what they hold.
func (p *pieces) units() []unit {
	var all []unit
	for _, x := range p.all {
		all = append(all, x.unit)
	}
	return all
}

// Read implements residency.Source.
func (p *pieces) Read(ctx context.Context, i int, dst []byte, off int64) error {
	return p.file.Read(ctx, p.all[i].of, dst, p.all[i].off+off)
}

// Check implements residency.Source.
func (p *pieces) Check(i int, coded []byte, from, to int64) error {
	return p.file.CheckPart(p.all[i].of, p.all[i].off, coded, from, to)
}

// place returns the unit of the plan that is unit i of the file, or the first of
// its pieces, and how many they are.
func (d *draft) place(i int) (first, n int) {
	if !d.split || i >= len(d.pieces.first)-1 {
		return i, 1
	}
	return d.pieces.first[i], d.pieces.first[i+1] - d.pieces.first[i]
}
