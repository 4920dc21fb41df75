package rans

import "github.com/lamina-llm/lamina/internal/tile"

// Part is some successive rows of one panel, decoded to unsigned levels.
type Part struct {
	Panel  int
	Row    int // first row, of the matrix
	Rows   int
	Levels []uint8 // row after row, each as wide as the panel, above WalkZero; with outliers as far as they stay within 0 to 127
	// Rest are the outliers that do not: what must be added to level - WalkZero. Their
	// rows count from Row, their columns from the panel's first. Sorted by row.
	Rest []Outlier
}

// maxLevel is the largest level that the kernels for products take.
const maxLevel = 127

// Walk decodes chunk i to levels in parts of up to step rows, a multiple of 16,
// panel after panel and downwards, and calls visit for each, which must not keep
// it. buf has room for the rows of a part, rounded up to a multiple of 16, of the
// widest panel. The same little memory is used again and again, so levels are
// still in a cache when they are multiplied. What was visited before an error
// may be wrong.
func (m *Matrix) Walk(i, step int, buf []uint8, visit func(*Part), s *Scratch) error {
	if step <= 0 || step%rowBlock != 0 {
		panic("rans: parts have whole blocks of rows")
	}
	c, err := m.begin(i, s)
	if err != nil {
		return err
	}
	rows := *c // those of a part
	tables, _ := m.walkTables()
	list := sparseList{data: c.data[c.sparse:]}
	for p := c.p0; p < c.p1; p++ {
		c0, c1 := m.layout.Columns(p)
		width, cut := c1-c0, cutBy(c1-c0)
		s.args.dq = [tile.MaxGroups][Lanes]uint8{}
		if err := list.panel(p, c.rows*width); err != nil {
			return err
		}
		var ahead []outlier // read, but not of the rows so far
		for low := 0; low < c.rows; low += step {
			n := min(step, c.rows-low)
			rows.r0 = c.r0 + low
			levels := buf[:padBlock(n)*width]
			m.rows(tables, &rows, p, n, nil, 0, nil, levels, s)
			levels = levels[:n*width]
			s.rest = s.rest[:0]
			first := uint32(low * width)
			for {
				if len(ahead) == 0 && list.left > 0 {
					if ahead, err = list.next(&s.list); err != nil {
						return err
					}
				}
				k := 0
				for ; k < len(ahead); k++ {
					at, delta := ahead[k].cell-first, ahead[k].delta
					if uint(at) >= uint(len(levels)) {
						break
					}
					if v := int32(levels[at]) + delta; uint32(v) <= maxLevel {
						levels[at] = uint8(v)
						continue
					}
					row, col := cut.split(at)
					s.rest = append(s.rest, Outlier{row, col, delta})
				}
				ahead = ahead[k:]
				if len(ahead) > 0 || list.left == 0 {
					break
				}
			}
			s.part = Part{Panel: p, Row: rows.r0, Rows: n, Levels: levels, Rest: s.rest}
			visit(&s.part)
		}
	}
	if _, err := m.end(c, s); err != nil {
		return err
	}
	return list.close()
}
