//go:build !purego

#include "textflag.h"

// func f16ToF32SIMD(dst []float32, src []uint16)
TEXT ·f16ToF32SIMD(SB), NOSPLIT, $0-48
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ src_base+24(FP), SI

loop:
	VCVTPH2PS (SI), Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $16, SI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET

// func f32ToF16SIMD(dst []uint16, src []float32)
TEXT ·f32ToF16SIMD(SB), NOSPLIT, $0-48
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ src_base+24(FP), SI

loop:
	VMOVUPS (SI), Y0
	VCVTPS2PH $0, Y0, (DI) // to nearest even
	ADDQ $16, DI
	ADDQ $32, SI
	SUBQ $8, CX
	JNZ  loop
	VZEROUPPER
	RET
