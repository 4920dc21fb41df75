//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// func f16ToF32SIMD(dst []float32, src []uint16)
TEXT ·f16ToF32SIMD(SB), NOSPLIT, $0-48
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD src_base+24(FP), R1

loop:
	LDQP(0, 1)
	FCVTL(1, 0)
	FCVTL2(2, 0)
	STQP(1, 0)
	STQP(2, 0)
	SUBS $8, R4
	BNE  loop
	RET

// func f32ToF16SIMD(dst []uint16, src []float32)
TEXT ·f32ToF16SIMD(SB), NOSPLIT, $0-48
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD src_base+24(FP), R1

loop:
	LDQP(0, 1)
	LDQP(1, 1)
	FCVTN(2, 0)
	FCVTN2(2, 1)
	STQP(2, 0)
	SUBS $8, R4
	BNE  loop
	RET
