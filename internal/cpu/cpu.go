// Package cpu names the instruction-set tiers that Lamina has kernels for and
// says which of them this machine runs.
//
// Every kernel family asks [Active] and switches on it; there are no function
// variables (they would force arguments onto the heap and block inlining).
// The environment variable LAMINA_CPU (generic, avx2, avx512, neon) caps the
// tier for one process. Tests run every tier through package cputest.
package cpu

import (
	"fmt"
	"os"
	"sync/atomic"

	"github.com/klauspost/cpuid/v2"
)

// Tier is one set of instructions that kernels are written for.
type Tier uint32

// The tiers. Generic is pure Go and always there.
const (
	Generic Tier = iota
	AVX2         // x86-64 with AVX2, FMA, F16C and BMI2
	AVX512       // AVX-512 F, BW, DQ, VL, VBMI, VBMI2 and VNNI (Ice Lake, Zen 4 and later)
	NEON         // 64-bit Arm with Advanced SIMD
)

// String returns the name that LAMINA_CPU takes.
func (t Tier) String() string {
	switch t {
	case AVX2:
		return "avx2"
	case AVX512:
		return "avx512"
	case NEON:
		return "neon"
	}
	return "generic"
}

var (
	best   = detect()
	active atomic.Uint32
	hasDot = cpuid.CPU.Supports(cpuid.ASIMDDP)
	hasBF  = cpuid.CPU.Supports(cpuid.AVX512BF16)
	evicts = cpuid.CPU.VM() && (cpuid.CPU.Supports(cpuid.AVX512F) || cpuid.CPU.Supports(cpuid.CLZERO))
	hasMul = cpuid.CPU.Supports(cpuid.VPCLMULQDQ, cpuid.SSE42)
)

func init() { active.Store(uint32(capped(best, os.Getenv("LAMINA_CPU")))) }

// Active returns the tier that kernels use now. Safe for concurrent use.
func Active() Tier { return Tier(active.Load()) }

// HasDot reports whether the NEON tier may use the SDOT and UDOT
// instructions (FEAT_DotProd).
func HasDot() bool { return hasDot && Active() == NEON }

// HasBF16 reports whether the AVX-512 tier may use the dot product of pairs in
// bfloat16 (AVX512_BF16).
func HasBF16() bool { return hasBF && Active() == AVX512 }

// Tiers returns the tiers that this machine can run, Generic first.
func Tiers() []Tier {
	switch best {
	case AVX512:
		return []Tier{Generic, AVX2, AVX512}
	case AVX2:
		return []Tier{Generic, AVX2}
	case NEON:
		return []Tier{Generic, NEON}
	}
	return []Tier{Generic}
}

// Force makes t the active tier until restore is called. It is for tests and
// benchmarks, which own the whole process; it panics when the machine cannot
// run t, because going on would be an illegal instruction.
func Force(t Tier) (restore func()) {
	ok := false
	for _, have := range Tiers() {
		ok = ok || have == t
	}
	if !ok {
		panic(fmt.Sprintf("cpu: this machine cannot run tier %v", t))
	}
	old := active.Swap(uint32(t))
	return func() { active.Store(old) }
}

// Name returns the processor's brand name, or the architecture if it has none.
func Name() string {
	if n := cpuid.CPU.BrandName; n != "" {
		return n
	}
	return fmt.Sprintf("unknown %v", best)
}

// capped lowers t to the named tier if the machine can run that one.
func capped(t Tier, name string) Tier {
	switch {
	case name == "generic":
		return Generic
	case name == "avx2" && t == AVX512:
		return AVX2
	}
	return t
}

// HasCarryless reports whether the AVX-512 tier may multiply without carries
// (VPCLMULQDQ) and compute checksums (SSE4.2).
func HasCarryless() bool { return hasMul && Active() == AVX512 }

// HasEviction reports whether the program runs in a virtual machine whose
// processor has CLFLUSHOPT: every one with AVX-512 has, and AMD's since Zen, which
// CLZERO tells.
func HasEviction() bool { return evicts && (Active() == AVX2 || Active() == AVX512) }
