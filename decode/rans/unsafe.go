//go:build !purego && (amd64 || arm64)

package rans

import (
	"runtime"
	"unsafe"

	"github.com/lamina-llm/lamina/internal/tile"
)

// kernelArgs is the one argument of a vector kernel; assembly takes the
// offsets of its fields from go_asm.h. Positions in the chunk are uintptr
// because they may point past it; the matrix keeps the chunk alive. What comes
// first is read and written in vectors, and starts on a cache line because the
// allocator puts objects of this size there.
type kernelArgs struct {
	sums   [rowBlock][Lanes]uint8         // partial sums of a block of rows
	cursor                                // states, in and out
	next   [tile.MaxGroups]uintptr        // next byte of each stream, in and out
	last   [tile.MaxGroups]uintptr        // one past the last byte of each stream
	tab    [tile.MaxGroups]unsafe.Pointer // tables of the group's class when the row class is 0
	class  unsafe.Pointer                 // class of each row
	act    unsafe.Pointer                 // int8 activations of the panel; nil to store levels
	rawAt  uintptr                        // raw planes, in and out
	out    unsafe.Pointer                 // *int32 dots or *uint8 levels; keeps them alive
	at     uintptr                        // where the kernel writes next, from out on
	rows   int64
	groups int64 // streams in use, 1 to 4
	planes int64
	bias   int64          // added to every dot
	expand unsafe.Pointer // expandTable
	hasDot bool           // arm64: SDOT may be used
}

// zeroClass stands for the class array of a matrix that has none.
var zeroClass [MaxBandPanels]uint8

// vector runs kernel over n rows of panel p of chunk c; tables has the tables
// of each class, stride bytes apart, in the layout of the kernel.
func (m *Matrix) vector(kernel func(*kernelArgs), tables []byte, stride int, c *chunk, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	a := s.args
	g0, g1 := m.layout.Panel(p)
	base := uintptr(unsafe.Pointer(unsafe.SliceData(c.data)))
	for g := range g1 - g0 {
		a.next[g] = base + uintptr(a.pos[g])
		a.last[g] = base + uintptr(c.end[g])
		class := 0
		if m.side.GroupClass != nil {
			class = int(m.side.GroupClass[g0+g])
		}
		a.tab[g] = unsafe.Pointer(&tables[class*stride])
	}
	a.class = unsafe.Pointer(&zeroClass[0])
	if m.side.RowClass != nil {
		a.class = unsafe.Pointer(&m.side.RowClass[c.r0])
	}
	if dots != nil {
		a.act, a.out = unsafe.Pointer(&act[0]), unsafe.Pointer(&dots[0])
	} else {
		a.out = unsafe.Pointer(&levels[0])
	}
	a.at = uintptr(a.out)
	a.rawAt = base + uintptr(a.raw)
	a.rows, a.groups, a.planes, a.bias = int64(n), int64(g1-g0), int64(m.side.Planes), int64(bias)
	a.expand = unsafe.Pointer(&expandTable[0])
	kernel(a)
	runtime.KeepAlive(m)
	a.act, a.out, a.class, a.tab = nil, nil, nil, [tile.MaxGroups]unsafe.Pointer{}
	for g := range g1 - g0 {
		a.pos[g] = int(a.next[g] - base)
	}
	a.raw = int(a.rawAt - base)
}

// expandTable[m] is the byte shuffle that spreads the next bytes of a stream
// over the lanes whose bits are set in m; other lanes get zero. The last entry
// is only read past.
var expandTable = func() (t [257]uint64) {
	for mask := range 256 {
		taken := uint64(0)
		for lane := range 8 {
			from := uint64(0x80)
			if mask>>lane&1 == 1 {
				from = taken
				taken++
			}
			t[mask] |= from << (8 * lane)
		}
	}
	return t
}()

// binTables is one table as 16-byte shuffles see it. Symbols with slots are
// ranked in slot order. The rank of a slot is base[bin], plus one for each of
// the bin's two thresholds that the slot is above; the others go by rank.
type binTables struct {
	base, first, second [Alphabet]uint8
	level, freq, start  [Alphabet]uint8
}

// bins lays out table i of s. In mode DQ without raw planes bit 7 of a level is
// the parity of its index.
func (s *Side) bins(i int) (b binTables) {
	var start [Alphabet]uint8
	var sym [probOne]uint8
	t := &s.Tables[i]
	if t.slots(&start, &sym) != nil {
		return // validate has refused such a table
	}
	rank := -1
	for slot, v := range sym {
		if slot == 0 || v != sym[slot-1] {
			rank++
			b.level[rank], b.freq[rank], b.start[rank] = s.level(v, i), t.Freq[v], start[v]
			if s.Mode == DQ && s.Planes == 0 {
				b.level[rank] |= v << 7
			}
		}
		bin := slot / binSlots
		switch end := uint8(bin*binSlots + binSlots - 1); {
		case slot%binSlots == 0:
			b.base[bin], b.first[bin], b.second[bin] = uint8(rank), end, end
		case v == sym[slot-1]:
		case b.first[bin] == end:
			b.first[bin] = uint8(slot - 1)
		default:
			b.second[bin] = uint8(slot - 1)
		}
	}
	return b
}

func (b *binTables) all() [6]*[Alphabet]uint8 {
	return [6]*[Alphabet]uint8{&b.base, &b.first, &b.second, &b.level, &b.freq, &b.start}
}
