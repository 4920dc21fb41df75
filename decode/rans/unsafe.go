package rans

import (
	"runtime"
	"unsafe"

	"github.com/lamina-llm/lamina/internal/tile"
)

// kernelArgs is the one argument of a vector kernel. Assembly knows its
// offsets; TestKernelArgs holds the two together. Positions in the chunk are
// uintptr because they may point past it; the matrix keeps the chunk alive.
type kernelArgs struct {
	lo, hi, dq [tile.MaxGroups][Lanes]uint8   // 0, 256, 512: states, in and out
	pos        [tile.MaxGroups]uintptr        // 768: next byte of each stream, in and out
	end        [tile.MaxGroups]uintptr        // 800: one past the last byte of each stream
	tab        [tile.MaxGroups]unsafe.Pointer // 832: tables of the group's class when the row class is 0
	class      unsafe.Pointer                 // 864: class of each row
	act        unsafe.Pointer                 // 872: int8 activations of the panel; nil to store levels
	raw        uintptr                        // 880: raw planes, in and out
	out        unsafe.Pointer                 // 888: *int32 dots or *uint8 levels; keeps them alive
	rows       int64                          // 896
	groups     int64                          // 904: streams in use, 1 to 4
	planes     int64                          // 912
	bias       int64                          // 920: added to every dot
	at         uintptr                        // 928: where the kernel writes next, from out on
	_          [3]int64
	sums       [rowBlock][Lanes]uint8 // 960: partial sums of a block of rows
}

// zeroClass stands for the class array of a matrix that has none.
var zeroClass [MaxBandPanels]uint8

// vector runs kernel over n rows of panel p of chunk i.
func (m *Matrix) vector(kernel func(*kernelArgs), stride, i, p, n int, act []int8, bias int32, dots []int32, levels []uint8, s *Scratch) {
	c, cur, a := &m.chunks[i], &s.cur, &s.args
	r0, _ := m.Band(i / m.Blocks())
	g0, g1 := m.layout.Panel(p)
	base := uintptr(unsafe.Pointer(unsafe.SliceData(c.data)))
	a.lo, a.hi, a.dq = cur.lo, cur.hi, cur.dq
	for g := range g1 - g0 {
		a.pos[g] = base + uintptr(cur.pos[g])
		a.end[g] = base + uintptr(c.end[g])
		class := 0
		if m.side.GroupClass != nil {
			class = int(m.side.GroupClass[g0+g])
		}
		a.tab[g] = unsafe.Pointer(&m.vec[class*stride])
	}
	a.class = unsafe.Pointer(&zeroClass[0])
	if m.side.RowClass != nil {
		a.class = unsafe.Pointer(&m.side.RowClass[r0])
	}
	if dots != nil {
		a.act, a.out = unsafe.Pointer(&act[0]), unsafe.Pointer(&dots[0])
	} else {
		a.out = unsafe.Pointer(&levels[0])
	}
	a.at = uintptr(a.out)
	a.raw = base + uintptr(cur.raw)
	a.rows, a.groups, a.planes, a.bias = int64(n), int64(g1-g0), int64(m.side.Planes), int64(bias)
	kernel(a)
	runtime.KeepAlive(m)
	a.act, a.out = nil, nil
	cur.lo, cur.hi, cur.dq = a.lo, a.hi, a.dq
	for g := range g1 - g0 {
		cur.pos[g] = int(a.pos[g] - base)
	}
	cur.raw = int(a.raw - base)
}
