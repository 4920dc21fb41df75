package rans

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/internal/tile"
)

var update = flag.Bool("update", false, "write new golden files: only ever with a new version of the format")

// golden freezes the bitstream: files that every later version must decode to
// the same levels (SHA-256 of them as 32-bit integers, row by row in coded
// column order, outliers added) and encode to the same bytes.
var golden = []struct {
	name         string
	mode         Mode
	planes       uint8
	rows, cols   int
	band, depth  int
	classes      int
	order        bool
	levels, file string // SHA-256
}{
	{"scalar", Scalar, 0, 33, 320, 33, 2, 1, false,
		"7983593a30569abe2e204a6e442cbd3b5081c25da959df74abc492efca4ed7ac",
		"dc3bd1f670bd64327da9344484d3cd31ae2ab548c8a270676a2ceecf6035f6cb"},
	{"scalar-planes-classes", Scalar, 2, 40, 300, 16, 2, 5, true,
		"1146d8a00173b6f17fff4c16f14562f0443f97358d4228d88cf6bd3d2f1e07cd",
		"9fbac6011174c41cbb4acad6436c84e16718fcd7ba9823776f3922101f3c93e2"},
	{"dq", DQ, 0, 33, 600, 32, 3, 4, false,
		"4eed29c23af9cbcc0a9dfdf71d1437b419648b4e3c07cc84b97a6d9dcc674634",
		"5528d384c731a7dacb0048061f1cfaee341e5ebc6f4ecf220aa71830c023f98b"},
	{"dq-planes-classes", DQ, 1, 40, 300, 16, 2, 5, true,
		"f4eeb79db217ddaebd9151af544bf2fa85878b8e7c77b12f102650ac534e973a",
		"b29162075246d3cf09f9fdd767fee0646df4a740deb6900b5c9b16b672561aec"},
}

// writeGolden codes a sample; a file is its spans, each after its length.
func writeGolden(t *testing.T, i int) {
	c := golden[i]
	r := rand.New(rand.NewPCG(20, uint64(i)))
	side := &Side{Mode: c.mode, Planes: c.planes, Band: c.band, Depth: c.depth,
		Row: Scales{Base: 0.25, Frac: 4, Bits: 5, Code: make([]uint8, c.rows)},
		Col: Scales{Base: 2, Frac: 6, Bits: 7, Code: make([]uint8, c.cols)}}
	for i := range side.Row.Code {
		side.Row.Code[i] = uint8(r.IntN(32))
	}
	for i := range side.Col.Code {
		side.Col.Code[i] = uint8(r.IntN(128))
	}
	if c.order {
		side.Order = make([]uint8, c.cols)
		for i := range side.Order {
			side.Order[i] = uint8(r.IntN(3))
		}
	}
	s := newSample(t, r, side, c.rows, c.cols, c.classes, 1.3)
	blob, err := side.AppendTo(nil, tile.Layout{Rows: c.rows, Cols: c.cols})
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for _, span := range append([][]byte{blob}, s.chunks...) {
		file = binary.LittleEndian.AppendUint32(file, uint32(len(span)))
		file = append(file, span...)
	}
	if err := os.WriteFile(filepath.Join("testdata", c.name+".bin"), file, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGolden(t *testing.T) {
	for i, c := range golden {
		if *update {
			writeGolden(t, i)
		}
		t.Run(c.name, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join("testdata", c.name+".bin"))
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != c.file {
				t.Errorf("the file's SHA-256 is %x", sum)
			}
			var spans [][]byte
			for rest := file; len(rest) > 0; {
				n := binary.LittleEndian.Uint32(rest)
				spans, rest = append(spans, rest[4:4+n]), rest[4+n:]
			}
			m, err := NewMatrix(c.rows, c.cols, spans[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Attach(spans[1:]); err != nil {
				t.Fatal(err)
			}
			cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
				values := make([]int32, c.rows*c.cols)
				for i := range m.Chunks() {
					again := goldenChunk(t, m, i, values)
					if !bytes.Equal(again, spans[1+i]) {
						t.Errorf("chunk %d is coded otherwise today", i)
					}
				}
				var raw []byte
				for _, v := range values {
					raw = binary.LittleEndian.AppendUint32(raw, uint32(v))
				}
				if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != c.levels {
					t.Errorf("the levels' SHA-256 is %x", sum)
				}
			})
		})
	}
}

// goldenChunk decodes chunk i to values and codes it again.
func goldenChunk(t *testing.T, m *Matrix, i int, values []int32) []byte {
	t.Helper()
	l, planes := m.Layout(), int(m.side.Planes)
	r0, r1 := m.Band(i / m.Blocks())
	p0, p1 := m.Block(i % m.Blocks())
	levels, outliers := make([][]uint8, p1-p0), make([][]Outlier, p1-p0)
	for p := p0; p < p1; p++ {
		c0, c1 := l.Columns(p)
		levels[p-p0] = make([]uint8, padBlock(r1-r0)*(c1-c0))
	}
	err := m.Levels(i, levels, func(p, row, col int, delta int32) {
		outliers[p] = append(outliers[p], Outlier{row, col, delta})
		c0, _ := l.Columns(p0 + p)
		values[(r0+row)*l.Cols+c0+col] += delta
	}, new(Scratch))
	if err != nil {
		t.Fatal(err)
	}
	for p, level := range levels {
		c0, c1 := l.Columns(p0 + p)
		state := make([]uint8, c1-c0)
		for at := range (r1 - r0) * (c1 - c0) {
			row, col := at/(c1-c0), at%(c1-c0)
			if c0+col < l.Cols {
				values[(r0+row)*l.Cols+c0+col] += int32(level[at]) - m.Zero()
			}
			if m.side.Mode == DQ { // back to the index that has this level
				q := state[col] & 1
				all := make([]uint8, Alphabet<<planes)
				for u := range all {
					all[u] = recon(uint8(u), q, planes)
				}
				level[at] = uint8(slices.Index(all, level[at]))
				state[col] = Next[state[col]][level[at]&1]
			}
		}
	}
	e, err := NewEncoder(l.Rows, l.Cols, m.side)
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Chunk(nil, i, levels, outliers)
	if err != nil {
		t.Fatal(err)
	}
	return again
}
