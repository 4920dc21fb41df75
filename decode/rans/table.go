package rans

import (
	"errors"
	"fmt"
	"math"
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

// Freqs is a probability table: symbol s has probability Freqs[s]/256. The
// frequencies add up to 256, so at least two symbols have one.
type Freqs [Alphabet]uint8

// order returns the symbols that occur, in the order in which they share out
// the 256 slots: sorted by falling frequency (ties: lower symbol first), then
// taken in turn from the front and from the back. Rare symbols so stand between
// frequent ones, which keeps the number of symbols in an aligned bin of 16
// slots at three or fewer for the distributions that weights have; that lets
// 16-entry byte shuffles (AVX2, NEON) replace a 256-entry table.
func (f *Freqs) order(dst *[Alphabet]uint8) (n int) {
	var sorted [Alphabet]uint8
	for s := range f {
		if f[s] == 0 {
			continue
		}
		i := n
		for ; i > 0 && f[sorted[i-1]] < f[s]; i-- {
			sorted[i] = sorted[i-1]
		}
		sorted[i] = uint8(s)
		n++
	}
	for i, front, back := 0, 0, n-1; front <= back; i++ {
		if i%2 == 0 {
			dst[i] = sorted[front]
			front++
		} else {
			dst[i] = sorted[back]
			back--
		}
	}
	return n
}

// slots writes the first slot of each symbol to start, the owner of each slot
// to sym, and reports whether the table keeps the rules of the format.
func (f *Freqs) slots(start *[Alphabet]uint8, sym *[probOne]uint8) error {
	var order [Alphabet]uint8
	n, at := f.order(&order), 0
	for _, s := range order[:n] {
		start[s] = uint8(at)
		for range f[s] {
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

// Validate reports whether f may stand in a bitstream.
func (f *Freqs) Validate() error {
	var start [Alphabet]uint8
	var sym [probOne]uint8
	return f.slots(&start, &sym)
}

// logRatio returns log2(b/a) for slots a < b.
func logRatio(a, b int) float64 { return math.Log2(float64(b) / float64(a)) }

// FitFreqs returns a valid table for symbols that were seen count[s] times,
// minimising the coded length of just those counts. Symbols never seen get no
// slots. keep lists symbols that must stay codable even if unseen.
func FitFreqs(count [Alphabet]int64, keep uint16) (Freqs, error) {
	var total int64
	for s, c := range count {
		if c < 0 {
			return Freqs{}, fmt.Errorf("%w: negative count", ErrTable)
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
	f := apportion(count, total)
	for tries := 0; f.Validate() != nil; tries++ {
		if !repair(&f, count) || tries > 4*probOne {
			return Freqs{}, fmt.Errorf("%w: no valid table near counts %v", ErrTable, count)
		}
	}
	return f, nil
}

// apportion gives every counted symbol one slot and then each remaining slot
// to the symbol whose coded length it shortens most (a convex problem, so the
// greedy choice is the optimum).
func apportion(count [Alphabet]int64, total int64) Freqs {
	var f [Alphabet]int
	left := probOne
	for s, c := range count {
		if c > 0 {
			f[s] = max(1, min(255, int(c*probOne/total)-1)) // below the optimum on purpose
			left -= f[s]
		}
	}
	gain := func(s, from, to int) float64 { return float64(count[s]) * logRatio(from, to) }
	for ; left > 0; left-- {
		best, bestGain := -1, -1.0
		for s, c := range count {
			if c > 0 && f[s] < 255 {
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
	var out Freqs
	for s := range f {
		out[s] = uint8(f[s])
	}
	return out
}

// repair moves one slot between two symbols so that fewer bins are crowded, at
// the least cost in coded length; it reports false when no move helps.
func repair(f *Freqs, count [Alphabet]int64) bool {
	now := crowding(f)
	best, bestCost := *f, 0.0
	found := false
	for from := range f {
		if f[from] < 2 {
			continue
		}
		for to := range f {
			if to == from || f[to] == 0 || f[to] == 255 {
				continue
			}
			t := *f
			t[from]--
			t[to]++
			c := crowding(&t)
			if c >= now {
				continue
			}
			cost := (float64(count[from])*logRatio(int(t[from]), int(f[from])) -
				float64(count[to])*logRatio(int(f[to]), int(t[to]))) / float64(now-c)
			if !found || cost < bestCost {
				best, bestCost, found = t, cost, true
			}
		}
	}
	if found {
		*f = best
		return true
	}
	// A plateau: grow the rarest symbol at the expense of the commonest.
	rare, common := -1, 0
	for s := range f {
		if f[s] > 0 && f[s] < 8 && (rare < 0 || f[s] < f[rare]) {
			rare = s
		}
		if f[s] > f[common] {
			common = s
		}
	}
	if rare < 0 || f[common] < 16 {
		return false
	}
	f[rare]++
	f[common]--
	return true
}

// crowding counts symbol changes beyond what the bins may hold.
func crowding(f *Freqs) (excess int) {
	var order [Alphabet]uint8
	n, at := f.order(&order), 0
	var changes [probOne / binSlots]int
	for _, s := range order[:n-1] {
		at += int(f[s])
		if at%binSlots != 0 {
			changes[at/binSlots]++
		}
	}
	for _, c := range changes {
		excess += max(0, c-(binSyms-1))
	}
	return excess
}
