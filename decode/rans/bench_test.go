package rans

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
	"github.com/lamina-llm/lamina/internal/tile"
)

// benchRows and benchCols give streams of more than 2 MB, each of its own, so
// that they come from beyond the second level of cache.
const benchRows, benchCols = 2048, 4096

// benchSample codes Gaussian indices of the given spread in steps.
func benchSample(b *testing.B, mode Mode, even bool, spread float64, every int) *sample {
	r := rand.New(rand.NewPCG(12, 13))
	side := &Side{Mode: mode, Band: benchRows, Depth: 1}
	for range side.quantisers() {
		side.Tables = append(side.Tables, gaussTable(b, r, even, spread))
	}
	return sampleOf(b, r, side, benchRows, benchCols, every)
}

// benchCase is a matrix to multiply; it is coded when first used.
type benchCase struct {
	name   string
	sample func() *sample
}

func benchDots(b *testing.B, cases []benchCase) {
	cputest.BenchEachTier(b, func(b *testing.B, tier cpu.Tier) {
		for _, c := range cases {
			b.Run(c.name, func(b *testing.B) { c.run(b) })
		}
	})
}

func (c *benchCase) run(b *testing.B) {
	s := c.sample()
	r := rand.New(rand.NewPCG(14, 15))
	act, sum := make([]int8, benchCols), make([]int32, s.m.Layout().Panels())
	for j := range act {
		act[j] = int8(r.IntN(255) - 127)
	}
	bytes := 0
	for _, c := range s.chunks {
		bytes += len(c)
	}
	dst, scratch := [][]int32{make([]int32, benchRows)}, new(Scratch)
	b.SetBytes(int64(bytes))
	for b.Loop() {
		for i := range s.m.Chunks() {
			if err := s.m.Dots(i, act, sum, dst, scratch); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*benchRows*benchCols/b.Elapsed().Seconds()/1e9, "Gweights/s")
	b.ReportMetric(float64(bytes)*8/benchRows/benchCols, "bits/weight")
}

// BenchmarkDots: decoding and multiplying on one core, at about 2.0, 2.5 and
// 3.0 bits per weight.
func BenchmarkDots(b *testing.B) {
	var cases []benchCase
	for _, mode := range []Mode{Scalar, DQ} {
		for _, even := range []bool{false, true} {
			for _, c := range []struct {
				bits   string
				spread float64
			}{{"2.0", 0.88}, {"2.5", 1.27}, {"3.0", 1.81}} {
				cases = append(cases, benchCase{
					fmt.Sprintf("mode=%v/even=%v/bits=%s", mode, even, c.bits),
					sync.OnceValue(func() *sample { return benchSample(b, mode, even, c.spread, 0) }),
				})
			}
		}
	}
	benchDots(b, cases)
}

// BenchmarkOutliers is BenchmarkDots at 2.5 bits with an outlier among so many
// weights.
func BenchmarkOutliers(b *testing.B) {
	var cases []benchCase
	for _, every := range []int{1000, 200} {
		cases = append(cases, benchCase{
			fmt.Sprintf("mode=dq/every=%d", every),
			sync.OnceValue(func() *sample { return benchSample(b, DQ, false, 1.27, every) }),
		})
	}
	benchDots(b, cases)
}

// BenchmarkEncode codes levels that are given.
func BenchmarkEncode(b *testing.B) {
	for _, mode := range []Mode{Scalar, DQ} {
		s := benchSample(b, mode, false, 1.36, 0)
		e, err := NewEncoder(benchRows, benchCols, s.side)
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(16, 17))
		index := make([]uint8, benchRows*256)
		for i := range index {
			index[i] = uint8(7 + r.IntN(3))
		}
		work, buf := make([]uint8, len(index)), []byte(nil)
		b.Run("mode="+mode.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				copy(work, index)
				if buf, err = e.Chunk(buf[:0], 0, [][]uint8{work}, [][]Outlier{nil}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(index))/b.Elapsed().Seconds()/1e6, "Mweights/s")
		})
	}
}

// BenchmarkNewMatrix: a matrix of 16 classes, without its chunks.
func BenchmarkNewMatrix(b *testing.B) {
	r := rand.New(rand.NewPCG(18, 19))
	side := &Side{Mode: DQ, Band: 256, Depth: 1}
	for range MaxClasses * 2 {
		side.Tables = append(side.Tables, gaussTable(b, r, false, 1.3))
	}
	side.Row.Base, side.Col.Base = 1, 1
	blob, err := side.AppendTo(nil, tile.Layout{Rows: benchRows, Cols: benchCols})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewMatrix(benchRows, benchCols, blob); err != nil {
			b.Fatal(err)
		}
	}
}
