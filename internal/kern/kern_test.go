package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/lamina-llm/lamina/internal/cpu"
	"github.com/lamina-llm/lamina/internal/cpu/cputest"
)

// lengths hugs the cut-offs of the kernels: vectors of 4, 8 and 16 elements,
// unrolled to 64 at most, then one long and odd.
func lengths() []int {
	var ns []int
	for n := range 71 {
		ns = append(ns, n)
	}
	return append(ns, 95, 96, 97, 127, 128, 129, 191, 192, 255, 256, 257, 1000, 2047)
}

// forEachLength runs f on every tier with every length, the operands at either
// end of their pages.
func forEachLength(t *testing.T, f func(t *testing.T, n int, atEnd bool)) {
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		for _, n := range lengths() {
			for _, atEnd := range []bool{true, false} {
				t.Run(fmt.Sprintf("n=%d/end=%v", n, atEnd), func(t *testing.T) { f(t, n, atEnd) })
			}
		}
	})
}

func rng(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 7)) }

// normals returns n normal deviates in guarded memory.
func normals(t testing.TB, r *rand.Rand, n int, atEnd bool) []float32 {
	x := cputest.Guarded[float32](t, n, atEnd)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

var oddFloats = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 0x1p-149, -0x1p-149, 0x1p-127, 0x1p-126,
	math.MaxFloat32, -math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0.5, 1.5, -2.5,
}

// odd returns n floats of which about half are special values.
func odd(t testing.TB, r *rand.Rand, n int, atEnd bool) []float32 {
	x := normals(t, r, n, atEnd)
	for i := range x {
		if r.IntN(2) == 0 {
			x[i] = oddFloats[r.IntN(len(oddFloats))]
		}
	}
	return x
}

func clone[T any](x []T) []T { return append([]T(nil), x...) }

// same reports equal bits, where any NaN equals any other: which operand's
// payload survives is up to the processor.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func wantSame(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("%s: element %d of %d is %x, want %x", what, i, len(want), got[i], want[i])
		}
	}
}

func wantEqual[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: element %d of %d is %v, want %v", what, i, len(want), got[i], want[i])
		}
	}
}

// wantClose checks got against an exact sum of terms whose magnitudes add up to
// mag, with the error bound that the docs give for a sum of n terms.
func wantClose(t *testing.T, what string, got float32, want, mag float64, n int) {
	t.Helper()
	if d := math.Abs(float64(got) - want); !(d <= float64(n+2)*0x1p-24*mag+0x1p-149) {
		t.Fatalf("%s: got %v, want %v (difference %g, magnitude %g)", what, got, want, d, mag)
	}
}

func dot64(a, b []float32) (sum, mag float64) {
	for i := range a {
		p := float64(a[i]) * float64(b[i])
		sum += p
		mag += math.Abs(p)
	}
	return sum, mag
}

func TestShortOperandPanics(t *testing.T) {
	f, h, i32, u8, i8 := make([]float32, 8), make([]uint16, 8), make([]int32, 16), make([]byte, 128), make([]int8, 128)
	i16 := make([]int16, 128)
	nib := nibbleKinds()["dependent/planes=0"]
	for name, call := range map[string]func(){
		"Dot":              func() { Dot(f, f[:7:7]) },
		"Axpy":             func() { Axpy(f, 1, f[:7:7]) },
		"Add":              func() { Add(f, f[:7:7]) },
		"MulInto":          func() { MulInto(f, f, f[:7:7]) },
		"RMSNorm":          func() { RMSNorm(f[:7:7], f, f, 1e-5) },
		"RoPE":             func() { RoPE(f[:7:7], f[:4], f[:4]) },
		"SwiGLU":           func() { SwiGLU(f, f, f[:7:7]) },
		"ExpInto":          func() { ExpInto(f, f[:7:7], 0) },
		"F16ToF32":         func() { F16ToF32(f, h[:7:7]) },
		"F32ToF16":         func() { F32ToF16(h, f[:7:7]) },
		"QuantizeI16":      func() { QuantizeI16(i16[:7:7], f) },
		"QuantizeDotI16":   func() { QuantizeDotI16(i16[:7:7], f) },
		"PutKey":           func() { PutKey(i16[:127:127], 15, i16[:8]) },
		"PutKey odd":       func() { PutKey(i16, 1, i16[:3]) },
		"PutValue":         func() { PutValue(i16[:62:62], 0, 3, i16[:16]) },
		"Widen":            func() { Widen(i16, make([]int8, 129)) },
		"MatMulI16":        func() { MatMulI16(i32, 16, i16, 2, i16[:31:31], 32, 1, 1, 2, false) },
		"MatMulI16 odd":    func() { MatMulI16(i32, 16, i16, 3, i16, 48, 1, 1, 3, false) },
		"SoftenI16":        func() { SoftenI16(i16[:16], f, i32, f, f, 9, 1) },
		"MergeI32":         func() { MergeI32(f, i32[:7:7], 1, 1, 1) },
		"MatMulF32":        func() { MatMulF32(f[:3:3], f, f, 2, 2, 2) },
		"MatMulF32 sign":   func() { MatMulF32(f, f, f, -1, -1, 1) },
		"QuantizeI8":       func() { QuantizeI8(i8[:7:7], f) },
		"DotsU8S8":         func() { DotsU8S8(i32[:3], u8, i8, 3, 64) },
		"DotsU8S8 cols":    func() { DotsU8S8(i32, u8, i8, 1, 63) },
		"MatMulU8S8":       func() { MatMulU8S8(i32, u8, i8[:127:127], 2, 64, 2, 64) },
		"DotsNibbles":      func() { DotsNibbles(i32, u8, i8, 4, 1, nib) },
		"DotsNibbles dst":  func() { DotsNibbles(i32[:1:1], u8, i8, 2, 1, nib) },
		"DotsNibbles x":    func() { DotsNibbles(i32, u8, i8[:63:63], 2, 1, nib) },
		"DotsNibbles wide": func() { DotsNibbles(i32, u8, i8, 0, 5, nib) },
		"ExpandNibbles":    func() { ExpandNibbles(make([]byte, 127), u8, 2, 1, nib) },
		"Pack":             func() { nib.Packer().Pack(u8, u8[:127:127], make([]byte, 64), 2, 1) },
		"MatMulU8S8 ldx":   func() { MatMulU8S8(i32, u8, i8, 2, 64, 2, 32) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: a short operand did not panic", name)
				}
			}()
			call()
		}()
	}
}

func TestNoAllocation(t *testing.T) {
	f, h, i32 := make([]float32, 4096), make([]uint16, 4096), make([]int32, 4096)
	u8, i8 := make([]byte, 64*100), make([]int8, 64*100)
	i16 := make([]int16, 4096)
	nib := nibbleKinds()["dependent/planes=1"]
	cputest.ForEachTier(t, func(t *testing.T, _ cpu.Tier) {
		n := testing.AllocsPerRun(2, func() {
			Dot(f[:99], f)
			Axpy(f[:99], 1, f)
			Add(f[:99], f)
			MulInto(f[:99], f, f)
			MaxIndex(f[:2000])
			RMSNorm(f[:99], f[:99], f, 1e-5)
			RoPE(f[:198], f[:99], f)
			SwiGLU(f[:99], f, f)
			Softmax(f[:99])
			ExpInto(f[:99], f, 0)
			F16ToF32(f[:99], h)
			F32ToF16(h[:99], f)
			QuantizeDotI16(i16[:99], f)
			PutKey(i16, 17, i16[2048:2078])
			PutValue(i16, 100, 3, i16[2048:2078])
			Widen(i16, i8[:99])
			MatMulI16(i32, 32, i16, 6, i16, 100, 3, 2, 6, true)
			SoftenI16(i16[:32], f, i32, f, f, 20, 1)
			MergeI32(f[:99], i32, 1, 1, 1)
			MatMulF32(f, f, f, 7, 19, 5)
			QuantizeI8(i8, f[:99])
			accumulateCentered(f[:99], i32, 3, 1)
			DotsU8S8(i32, u8, i8, 7, 64)
			MatMulU8S8(i32, u8, i8, 37, 64, 19, 64)
			DotsNibbles(i32, u8, i8, 17, 3, nib)
			ExpandNibbles(u8[:17*3*64], u8[17*3*64:], 17, 3, nib)
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
