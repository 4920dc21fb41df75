package quant

import "github.com/lamina-llm/lamina/decode/rans"

// FitTable fits a table to counts, leaving out the outermost symbols while
// they are so rare that their slot of 1/256 costs the others more than coarser
// levels or sparse entries cost them. Levels -1, 0 and 1 stay.
func FitTable(count [rans.Alphabet]int64) (rans.Table, error) {
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
	return rans.FitTable(count, keep)
}
