//go:build !purego

package cpu

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
)

// detect returns the strongest tier whose instructions are all present.
func detect() Tier {
	switch runtime.GOARCH {
	case "arm64":
		return NEON // Advanced SIMD is mandatory in AArch64
	case "amd64":
		c := &cpuid.CPU
		if !c.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C, cpuid.BMI1, cpuid.BMI2, cpuid.POPCNT) {
			return Generic
		}
		if c.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL,
			cpuid.AVX512VBMI, cpuid.AVX512VBMI2, cpuid.AVX512VNNI) {
			return AVX512
		}
		return AVX2
	}
	return Generic
}
