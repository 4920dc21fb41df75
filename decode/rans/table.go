package rans

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Sizes that the format fixes.
const (
	Lanes    = 64  // rANS states in one stream; a lane is one column of a lane group
	Alphabet = 16  // symbols
	probOne  = 256 // what the frequencies of a table add up to
	stateMin = 256 // lower bound of a normalised state, and its value after the last symbol
	binSlots = 16  // slots of one aligned bin
	binSyms  = 3   // symbols that one bin may touch
)

// ErrTable marks a frequency table that breaks a rule of the format.
var ErrTable = errors.New("rans: bad frequency table")

// Table is a probability table: symbol s has probability Freq[s]/256 and owns
// Freq[s] consecutive slots of 256; Order lists the symbols in the order of
// their slots (a permutation; symbols without slots may stand anywhere).
//
// An aligned bin of 16 slots may touch at most three symbols. That lets
// 16-entry byte shuffles (AVX2, NEON) replace a 256-entry table, and costs
// nothing: rare symbols are put between frequent ones.
type Table struct {
	Freq  [Alphabet]uint8
	Order [Alphabet]uint8
}

// slots writes the first slot of each symbol to start, the owner of each slot
// to sym, and reports whether the table keeps the rules of the format.
func (t *Table) slots(start *[Alphabet]uint8, sym *[probOne]uint8) error {
	at, seen := 0, 0
	for _, s := range t.Order {
		if s >= Alphabet || seen>>s&1 == 1 {
			return fmt.Errorf("%w: the order %v is no permutation", ErrTable, t.Order)
		}
		seen |= 1 << s
		start[s] = uint8(at)
		for range t.Freq[s] {
			if at == probOne {
				return fmt.Errorf("%w: frequencies add up to more than %d", ErrTable, probOne)
			}
			sym[at] = s
			at++
		}
	}
	if at != probOne {
		return fmt.Errorf("%w: frequencies add up to %d, not %d", ErrTable, at, probOne)
	}
	for bin := 0; bin < probOne; bin += binSlots {
		changes := 0
		for i := bin + 1; i < bin+binSlots; i++ {
			if sym[i] != sym[i-1] {
				changes++
			}
		}
		if changes >= binSyms {
			return fmt.Errorf("%w: %d symbols share slots %d to %d, at most %d may", ErrTable, changes+1, bin, bin+binSlots-1, binSyms)
		}
	}
	return nil
}

// Validate reports whether t may stand in a bitstream.
func (t *Table) Validate() error {
	var start [Alphabet]uint8
	var sym [probOne]uint8
	return t.slots(&start, &sym)
}

// logRatio returns log2(b/a) for slots a < b.
func logRatio(a, b int) float64 { return math.Log2(float64(b) / float64(a)) }

// FitTable returns a valid table for symbols that were seen count[s] times,
// minimising the coded length of just those counts. Symbols never seen get no
// slots. keep lists symbols that must stay codable even if unseen.
func FitTable(count [Alphabet]int64, keep uint16) (Table, error) {
	return fitTable(count, keep, 1)
}

// FitEvenTable is FitTable with even frequencies alone, which some kernels decode
// faster. Codes get longer by about half a hundredth of a bit.
func FitEvenTable(count [Alphabet]int64, keep uint16) (Table, error) {
	return fitTable(count, keep, 2)
}

// fitTable fits a table whose frequencies are multiples of unit.
func fitTable(count [Alphabet]int64, keep uint16, unit int) (Table, error) {
	var total int64
	for s, c := range count {
		if c < 0 {
			return Table{}, fmt.Errorf("%w: negative count", ErrTable)
		}
		if c == 0 && keep>>s&1 == 1 {
			count[s] = 1
		}
		total += count[s]
	}
	// Two symbols are needed; invent neighbours of zero if there are fewer.
	used := 0
	for _, c := range count {
		if c > 0 {
			used++
		}
	}
	for s := Alphabet / 2; used < 2; s-- {
		if count[s] == 0 {
			count[s], used, total = 1, used+1, total+1
		}
	}
	t := Table{Freq: apportion(count, total, unit)}
	for !t.arrange() {
		// Too many rare symbols for the bins: let one grow.
		if !t.grow(uint8(unit)) {
			return Table{}, fmt.Errorf("%w: no valid order for counts %v", ErrTable, count)
		}
	}
	return t, t.Validate()
}

// arrange finds an order that keeps the rule of the bins, by depth-first
// search: the rarest symbol that still fits comes first. It reports false if
// there is none (or none was found in reasonable time).
func (t *Table) arrange() bool {
	var rest []uint8
	n := 0
	for s := range uint8(Alphabet) {
		if t.Freq[s] > 0 {
			rest = append(rest, s)
		}
	}
	slices.SortFunc(rest, func(a, b uint8) int { return int(t.Freq[a]) - int(t.Freq[b]) })
	steps := 0
	var place func(at, changes int) bool
	place = func(at, changes int) bool {
		if n == len(rest) {
			return true
		}
		if steps++; steps > 50000 {
			return false
		}
		if at%binSlots != 0 {
			if changes++; changes >= binSyms {
				return false
			}
		} else {
			changes = 0
		}
		for i, last := n, -1; i < len(rest); i++ {
			f := int(t.Freq[rest[i]])
			if f == last {
				continue // an equal symbol failed here already
			}
			last = f
			// rest[:n] is placed; take rest[i] next and keep the others sorted.
			s := rest[i]
			copy(rest[n+1:i+1], rest[n:i])
			rest[n] = s
			n++
			left := changes
			if at/binSlots != (at+f)/binSlots {
				left = 0
			}
			if place(at+f, left) {
				return true
			}
			n--
			copy(rest[n:i], rest[n+1:i+1])
			rest[i] = s
		}
		return false
	}
	if !place(0, 0) {
		return false
	}
	copy(t.Order[:], rest)
	for s := range uint8(Alphabet) {
		if t.Freq[s] == 0 {
			t.Order[n] = s
			n++
		}
	}
	return true
}

// grow moves a unit of slots from the commonest symbol to the rarest.
func (t *Table) grow(unit uint8) bool {
	rare, common := -1, 0
	for s, f := range t.Freq {
		if f > 0 && (rare < 0 || f < t.Freq[rare]) {
			rare = s
		}
		if f > t.Freq[common] {
			common = s
		}
	}
	if t.Freq[common] <= binSlots {
		return false
	}
	t.Freq[rare] += unit
	t.Freq[common] -= unit
	return true
}

// apportion gives every counted symbol one unit of slots and then each remaining
// unit to the symbol whose coded length it shortens most (a convex problem, so
// the greedy choice is the optimum).
func apportion(count [Alphabet]int64, total int64, unit int) (out [Alphabet]uint8) {
	var f [Alphabet]int // in units
	units := probOne / unit
	left := units
	for s, c := range count {
		if c > 0 {
			f[s] = max(1, min(units-1, int(c*int64(units)/total)-1)) // below the optimum on purpose
			left -= f[s]
		}
	}
	gain := func(s, from, to int) float64 { return float64(count[s]) * logRatio(from, to) }
	for ; left > 0; left-- {
		best, bestGain := -1, -1.0
		for s, c := range count {
			if c > 0 && f[s] < units-1 {
				if g := gain(s, f[s], f[s]+1); g > bestGain {
					best, bestGain = s, g
				}
			}
		}
		f[best]++
	}
	for ; left < 0; left++ {
		best, bestLoss := -1, 0.0
		for s, c := range count {
			if c > 0 && f[s] > 1 {
				if l := gain(s, f[s]-1, f[s]); best < 0 || l < bestLoss {
					best, bestLoss = s, l
				}
			}
		}
		f[best]--
	}
	for s := range f {
		out[s] = uint8(f[s] * unit)
	}
	return out
}
