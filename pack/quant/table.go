package quant

import "github.com/lamina-llm/lamina/decode/rans"

// Kind is how the levels of a matrix are coded.
type Kind struct {
	rans.Mode
	Even bool // tables have even frequencies alone: half a hundredth of a bit longer, and faster to decode
}

// FitTable fits a table to counts, leaving out the outermost symbols while
// they are so rare that their slot of 1/256 costs the others more than coarser
// levels or sparse entries cost them. Levels -1, 0 and 1 stay.
func (k Kind) FitTable(count [rans.Alphabet]int64) (rans.Table, error) {
	const keep = 0x7 << (rans.Alphabet/2 - 1)
	var total int64
	for _, n := range count {
		total += n
	}
	floor := total / 2048
	for _, dir := range []int{-1, 1} {
		end := rans.Alphabet - 1
		if dir < 0 {
			end = 0
		}
		for s := end; count[s] <= floor && keep>>s&1 == 0; s -= dir {
			count[s] = 0
		}
	}
	return k.FitSymbols(count, keep)
}

// FitSymbols fits a table to counts of levels that are chosen: every symbol that
// was used stays codable, and so do those of keep.
func (k Kind) FitSymbols(count [rans.Alphabet]int64, keep uint16) (rans.Table, error) {
	if k.Even {
		return rans.FitEvenTable(count, keep)
	}
	return rans.FitTable(count, keep)
}
