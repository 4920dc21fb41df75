package rans

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/internal/tile"
)

// randomTable returns tables of every kind that the format allows, with even
// frequencies alone if so wanted.
func randomTable(t *testing.T, r *rand.Rand, even bool) Table {
	t.Helper()
	var f Table
	for i := range f.Order {
		f.Order[i] = uint8(i)
	}
	r.Shuffle(Alphabet, func(i, j int) { f.Order[i], f.Order[j] = f.Order[j], f.Order[i] })
	switch r.IntN(4) {
	case 0: // two symbols
		k := uint8(1 + r.IntN(255))
		if r.IntN(2) == 0 {
			k = []uint8{1, 255}[r.IntN(2)]
		}
		if even {
			k = max(k&^1, 2)
		}
		f.Freq[f.Order[r.IntN(8)]], f.Freq[f.Order[8+r.IntN(8)]] = k, -k
	case 1: // all the same
		for i := range f.Freq {
			f.Freq[i] = probOne / Alphabet
		}
	default: // some symbols with anything
		var count [Alphabet]int64
		for i := range count {
			if r.IntN(3) > 0 {
				count[i] = int64(math.Exp(r.Float64() * 10))
			}
		}
		var err error
		fit := FitTable
		if even {
			fit = FitEvenTable
		}
		if f, err = fit(count, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Validate(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestRandomTables(t *testing.T) {
	r := rand.New(rand.NewPCG(30, 31))
	for i := range 60 {
		side := &Side{Mode: Mode(i % 2), Band: 40, Depth: 1 + r.IntN(2)}
		side.Planes = uint8(r.IntN(side.Mode.MaxPlanes() + 1))
		even := r.IntN(2) == 0
		for range 1 + r.IntN(4) {
			for range side.quantisers() {
				side.Tables = append(side.Tables, randomTable(t, r, even))
			}
		}
		s := sampleOf(t, r, side, 40, 200+r.IntN(200), 50)
		cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
			s.check(t, rand.New(rand.NewPCG(2, 3)))
			s.checkWalk(t)
		})
	}
}

// TestGuard decodes with a page that faults behind each operand, first what is
// right and then streams that take a byte for every weight long after their
// end: chunks may be read up to Slack bytes past it, the rest not at all.
func TestGuard(t *testing.T) {
	const rows, cols = 70, 256 + 192
	for _, mode := range []Mode{Scalar, DQ} {
		for planes := range mode.MaxPlanes() + 1 {
			r := rand.New(rand.NewPCG(32, uint64(planes)))
			side := &Side{Mode: mode, Planes: uint8(planes), Band: 80, Depth: 1}
			for range 3 * side.quantisers() {
				// Slot 0 belongs to a symbol of frequency 1: zeros decode to zeros.
				side.Tables = append(side.Tables, Table{
					Freq:  [Alphabet]uint8{1, 255},
					Order: [Alphabet]uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
				})
			}
			s := sampleOf(t, r, side, rows, cols, 100)
			for i, good := range s.chunks {
				groups := s.m.chunks[i].streams
				runaway := make([]byte, groups*(2*Lanes+4)+groups*rows*planes*Lanes/8+1)
				for j := range groups * Lanes {
					runaway[j/Lanes*2*Lanes+Lanes+j%Lanes] = 1
				}
				for _, data := range [][]byte{good, runaway} {
					chunk := cputest.Guarded[byte](t, len(data)+Slack, true)[:len(data)]
					copy(chunk, data)
					p0, _ := s.m.Block(i)
					c0, c1 := s.m.layout.Columns(p0)
					act := cputest.Guarded[int8](t, c1, true)
					dots := [][]int32{cputest.Guarded[int32](t, padBlock(rows), true)}
					levels := [][]uint8{cputest.Guarded[uint8](t, padBlock(rows)*(c1-c0), true)}
					part := cputest.Guarded[uint8](t, rowBlock*(c1-c0), true)
					cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
						if err := s.m.AttachChunk(i, chunk); err != nil {
							t.Fatal(err)
						}
						scratch := Scratch{args: &cputest.Guarded[kernelArgs](t, 1, true)[0]}
						for _, err := range []error{
							s.m.Dots(i, act, make([]int32, 2), dots, &scratch),
							s.m.Levels(i, levels, func(int, int, int, int32) {}, &scratch),
							s.m.Walk(i, 16, part, func(*Part) {}, &scratch),
						} {
							if want := len(data) != len(good); errors.Is(err, ErrCorrupt) != want {
								t.Errorf("mode %v planes %d chunk %d: %v", mode, planes, i, err)
							}
						}
					})
				}
			}
		}
	}
}

// TestFailedAttach: what did not attach cannot be decoded.
func TestFailedAttach(t *testing.T) {
	r := rand.New(rand.NewPCG(34, 35))
	s := newSample(t, r, &Side{Band: 16, Depth: 1}, 16, 64, 1, 1)
	for n := range s.chunks[0] {
		if err := s.m.AttachChunk(0, s.chunks[0][:n]); err == nil {
			continue // cut inside the outliers, which are read later
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		err := s.m.Levels(0, [][]uint8{make([]uint8, 16*64)}, nil, new(Scratch))
		if err == nil {
			t.Fatalf("decoded a chunk cut at %d, which did not attach", n)
		}
	}
	if err := s.m.AttachChunk(1, nil); err == nil {
		t.Error("attached a chunk that is none")
	}
}

// TestSparseList compares lists, right and damaged, with a plain reading.
func TestSparseList(t *testing.T) {
	r := rand.New(rand.NewPCG(36, 37))
	const cells = 64 * 192
	whole, cut := 0, cutBy(192)
	for range 5000 {
		var data []byte
		count := r.IntN(150)
		data = binary.AppendUvarint(data, uint64(count))
		for range count {
			data = binary.AppendUvarint(data, uint64(math.Exp(r.Float64()*5)))
			data = binary.AppendVarint(data, int64(math.Exp(r.Float64()*10.39))*int64(1-2*r.IntN(2)))
			if r.IntN(100) == 0 { // a number in more bytes than it needs
				data[len(data)-1] |= 0x80
				data = append(data, []byte{0x80, 0x80, 0x80}[:r.IntN(4)]...)
				data = append(data, 0)
			}
		}
		if r.IntN(2) == 0 {
			data = data[:r.IntN(len(data)+1)]
		}
		if len(data) > 1 && r.IntN(4) == 0 {
			data[1+r.IntN(len(data)-1)] ^= 1 << r.IntN(8)
		}
		want, wantOK := plainList(data, cells)
		got, err := readList(data, cells)
		if wantOK != (err == nil) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("error %v, want ok to be %v", err, wantOK)
		}
		if !wantOK {
			continue
		}
		whole++
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		for _, o := range got {
			if row, col := cut.split(o.cell); row != int(o.cell)/192 || col != int(o.cell)%192 {
				t.Fatalf("cell %d is in row %d column %d?", o.cell, row, col)
			}
		}
	}
	if whole < 500 {
		t.Errorf("only %d lists were whole", whole)
	}
	for groups := 1; groups <= tile.MaxGroups; groups++ {
		cut := cutBy(groups * Lanes)
		for cell := range uint32(MaxBandPanels * groups * Lanes) {
			if row, _ := cut.split(cell); row != int(cell)/(groups*Lanes) {
				t.Fatalf("cell %d of panels of %d groups is in row %d?", cell, groups, row)
			}
		}
	}
}

func readList(data []byte, cells int) ([]outlier, error) {
	list, buf, all := sparseList{data: data}, [64]outlier{}, []outlier(nil)
	if err := list.panel(0, cells); err != nil {
		return nil, err
	}
	for list.left > 0 {
		part, err := list.next(&buf)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, list.close()
}

// plainList reads a list as the format describes it.
func plainList(data []byte, cells uint64) (all []outlier, ok bool) {
	count, n := binary.Uvarint(data)
	if n <= 0 || count > cells/maxOutliers {
		return nil, false
	}
	data = data[n:]
	at := uint64(0)
	for range count {
		gap, n := binary.Uvarint(data)
		if n <= 0 {
			return nil, false
		}
		delta, k := binary.Varint(data[n:])
		if k <= 0 || gap > cells || at+gap >= cells || delta < -maxDelta || delta > maxDelta {
			return nil, false
		}
		data = data[n+k:]
		all = append(all, outlier{uint32(at + gap), int32(delta)})
		at += gap + 1
	}
	return all, len(data) == 0
}

// TestNoAllocations: a product allocates nothing.
func TestNoAllocations(t *testing.T) {
	r := rand.New(rand.NewPCG(38, 39))
	for _, mode := range []Mode{Scalar, DQ} {
		s := newSample(t, r, &Side{Mode: mode, Band: 32, Depth: 2}, 32, 512, 1, 1)
		act, sum := make([]int8, 512), make([]int32, 2)
		dst, scratch := [][]int32{make([]int32, 32), make([]int32, 32)}, new(Scratch)
		cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
			n := testing.AllocsPerRun(10, func() {
				if err := s.m.Dots(0, act, sum, dst, scratch); err != nil {
					t.Fatal(err)
				}
			})
			if n != 0 {
				t.Errorf("mode %v: %v allocations in a product", mode, n)
			}
		})
	}
}

// FuzzDecode: whatever the bytes of a chunk, all tiers agree on whether they
// decode, and on the result if they do.
func FuzzDecode(f *testing.F) {
	type key struct{ mode, planes byte }
	matrices := map[key]*Matrix{}
	for _, mode := range []Mode{Scalar, DQ} {
		for planes := range mode.MaxPlanes() + 1 {
			r := rand.New(rand.NewPCG(40, uint64(planes)))
			s := newSample(f, r, &Side{Mode: mode, Planes: uint8(planes), Band: 20, Depth: 2}, 20, 300, 3, 1)
			k := key{byte(mode), byte(planes)}
			matrices[k] = s.m
			f.Add(k.mode, k.planes, s.chunks[0])
			f.Add(k.mode, k.planes, s.chunks[0][:len(s.chunks[0])/2])
		}
	}
	f.Fuzz(func(t *testing.T, mode, planes byte, data []byte) {
		m := matrices[key{mode, planes}]
		if m == nil {
			return
		}
		type result struct {
			levels [2][]uint8
			dots   [2][]int32
			deltas [][4]int
			err    error
		}
		var first result
		for _, tier := range cpu.Tiers() {
			restore := cpu.Force(tier)
			got := result{levels: [2][]uint8{make([]uint8, 32*128), make([]uint8, 32*192)}}
			got.dots = [2][]int32{make([]int32, 32), make([]int32, 32)}
			act, sum := slices.Repeat([]int8{3, -128, 127, 5, 0}, 64), []int32{7, -9}
			got.err = m.Attach([][]byte{data})
			if got.err == nil {
				got.err = m.Levels(0, got.levels[:], func(p, row, col int, delta int32) {
					got.deltas = append(got.deltas, [4]int{p, row, col, int(delta)})
				}, new(Scratch))
				if again := m.Dots(0, act, sum, got.dots[:], new(Scratch)); (again == nil) != (got.err == nil) {
					t.Errorf("tier %v: Levels says %v, Dots %v", tier, got.err, again)
				}
				again := m.Walk(0, 16, make([]uint8, 16*tile.MaxWidth), func(*Part) {}, new(Scratch))
				if (again == nil) != (got.err == nil) {
					t.Errorf("tier %v: Levels says %v, Walk %v", tier, got.err, again)
				}
			}
			restore()
			if got.err != nil && !errors.Is(got.err, ErrCorrupt) {
				t.Errorf("tier %v: %v is not ErrCorrupt", tier, got.err)
			}
			if tier == cpu.Generic {
				first = got
				continue
			}
			if (got.err == nil) != (first.err == nil) {
				t.Errorf("tier %v says %v, the reference %v", tier, got.err, first.err)
			}
			if got.err != nil {
				continue
			}
			same := slices.Equal(got.deltas, first.deltas)
			for p, width := range []int{128, 192} {
				same = same && slices.Equal(got.levels[p][:20*width], first.levels[p][:20*width]) &&
					slices.Equal(got.dots[p][:20], first.dots[p][:20])
			}
			if !same {
				t.Errorf("tier %v decodes otherwise than the reference", tier)
			}
		}
	})
}

// FuzzParseSide: side information that is accepted can be written again as it
// was, and makes a matrix.
func FuzzParseSide(f *testing.F) {
	l := tile.Layout{Rows: 20, Cols: 100}
	for _, mode := range []Mode{Scalar, DQ} {
		r := rand.New(rand.NewPCG(42, 43))
		side := &Side{Mode: mode, Planes: 1, Band: 16, Depth: 2, Order: make([]uint8, 100),
			Row: Scales{Base: 1, Bits: 3, Code: make([]uint8, 20)}, Col: Scales{Base: 1, Bits: 5, Code: make([]uint8, 100)}}
		newSample(f, r, side, 20, 100, 3, 1)
		blob, err := side.AppendTo(nil, l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blob)
		f.Add(blob[:len(blob)-1])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSide(data, l)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		again, err := s.AppendTo(nil, l)
		if err != nil || !slices.Equal(again, data) {
			t.Errorf("written again it differs (%v)", err)
		}
		if _, err := NewMatrix(l.Rows, l.Cols, data); err != nil {
			t.Error(err)
		}
	})
}
