package pack

import (
	"math"
	"slices"

	"github.com/lamina-llm/lamina/decode/rans"
)

// rowPlan is what rows of a matrix get at a step.
type rowPlan struct {
	scale rans.Scales
	class []uint8 // per row
	group []uint8 // per lane group; a row's class there is the sum
	n     int     // classes
	alike bool    // all rows are of class 0
}

// reach is the largest ratio, as log2, of a row's root mean square to its step
// that levels of so many raw planes are made for.
var reach = [...]float64{2, 3, 4, 5}

// classWidth says how many octaves the sizes in steps may differ of rows, and of
// lane groups, that share tables. +Inf puts all in one class; otherwise both are
// the same.
type classWidth struct{ row, group float64 }

// planRows plans the rows for a step.
func (f *feedback) planRows(mode rans.Mode, planes int, step float64, width classWidth) rowPlan {
	most := reach[planes]
	if mode == rans.Scalar {
		most-- // its levels are all in use, not every second one
	}
	at := make([]float64, len(f.want))
	least := math.Inf(1)
	for r, w := range f.want {
		at[r] = min(max(w+math.Log2(step), f.size[r]-most), f.size[r]+2)
		if f.size[r] > math.Inf(-1) {
			least = min(least, at[r])
		}
	}
	if math.IsInf(least, 1) {
		least = 0
	}
	p := rowPlan{scale: rans.Scales{Base: float32(math.Exp2(least)), Frac: rowFrac, Code: make([]uint8, len(at))}}
	top := 0
	ratio := make([]float64, len(at))
	low, high := math.Inf(1), math.Inf(-1)
	for r, x := range at {
		code := int(min(max(math.Round((x-least)*(1<<rowFrac)), 0), 255))
		p.scale.Code[r] = uint8(code)
		top = max(top, code)
		ratio[r] = max(f.size[r]-(least+float64(code)/(1<<rowFrac)), -2)
		low, high = min(low, ratio[r]), max(high, ratio[r])
	}
	for 1<<p.scale.Bits <= top {
		p.scale.Bits++
	}
	if p.scale.Bits == 0 {
		p.scale.Code = nil
	}
	gLow, gHigh := slices.Min(f.group), slices.Max(f.group)
	least = (high - low + gHigh - gLow) / (rans.MaxClasses - 2)
	width.row, width.group = max(width.row, least), max(width.group, least)
	p.class, p.group = make([]uint8, len(at)), make([]uint8, len(f.group))
	most1, most2 := uint8(0), uint8(0)
	for r := range p.class {
		p.class[r] = uint8((ratio[r]-low)/width.row + 0.5)
		most1 = max(most1, p.class[r])
	}
	for g := range p.group {
		p.group[g] = uint8((f.group[g]-gLow)/width.group + 0.5)
		most2 = max(most2, p.group[g])
	}
	p.n = int(most1) + int(most2) + 1
	p.alike = most1 == 0
	return p
}

// plan plans the rows for a step with as many classes as the bound of side
// information allows: the smaller a matrix, the more a class costs.
func (f *feedback) plan(mode rans.Mode, planes int, step float64) rowPlan {
	if len(f.want)*f.a.n > 1<<20 {
		return f.planRows(mode, planes, step, classWidth{0.3, 0.3})
	}
	inf := math.Inf(1)
	for _, width := range []classWidth{{0.5, 0.5}, {1, 1}, {inf, 0.5}} {
		if p := f.planRows(mode, planes, step, width); f.side(mode, &p)+f.fixed <= sideMost {
			return p
		}
	}
	return f.planRows(mode, planes, step, classWidth{inf, inf})
}

// side returns the side information of scales, classes and tables, in bits per
// weight.
func (f *feedback) side(mode rans.Mode, p *rowPlan) float64 {
	rowBits, colBits := float64(p.scale.Bits), float64(f.col.Bits)
	if !p.alike {
		rowBits += 4
	}
	if f.order != nil {
		colBits += 4
	}
	rows, n := float64(len(f.want)), float64(f.a.n)
	return float64(p.n*(1+int(mode))*24*8)/(rows*n) + colBits/rows + rowBits/n
}
