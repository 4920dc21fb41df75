//go:build !purego

#include "textflag.h"
#include "exp_amd64.h"

// One row of the softmax, in three passes: scores in float32 and their maximum,
// exponentials and weights with their sums, weights of 16 bits. Lanes behind the last
// score are -Inf in the first pass, and so 0 in the others.

DATA softConst<>+0(SB)/4, $0xff800000 // -infinity
DATA softConst<>+4(SB)/4, $0x46fffe00 // 32767
GLOBL softConst<>(SB), RODATA|NOPTR, $8

// leading8 has eight words of ones, then eight of zeros.
DATA leading8<>+0(SB)/8, $-1
DATA leading8<>+8(SB)/8, $-1
DATA leading8<>+16(SB)/8, $-1
DATA leading8<>+24(SB)/8, $-1
DATA leading8<>+32(SB)/8, $0
DATA leading8<>+40(SB)/8, $0
DATA leading8<>+48(SB)/8, $0
DATA leading8<>+56(SB)/8, $0
GLOBL leading8<>(SB), RODATA|NOPTR, $64

// REDUCE8 leaves in the lowest lane of x, the low half of y, what OP makes of all.
#define REDUCE8(OP, y, x, tx) \
	VEXTRACTF128 $1, y, tx     \
	OP           tx, x, x      \
	VSHUFPS      $0x4e, x, x, tx \
	OP           tx, x, x      \
	VSHUFPS      $0xb1, x, x, tx \
	OP           tx, x, x

// UNITS stores sum (in X15) and unit, for the sum of weights in X14, and leaves
// 32767/total in X0; without any weight it goes to label none.
#define UNITS(none) \
	VMOVSS   X15, sum+60(FP)           \
	VMOVSS   softConst<>+4(SB), X2     \
	VDIVSS   X2, X14, X1               \
	VMOVSS   X1, unit+64(FP)           \
	VDIVSS   X14, X2, X0               \
	VXORPS   X2, X2, X2                \
	VUCOMISS X2, X14                   \
	JP       3(PC)                     \
	JNE      2(PC)                     \
	JMP      none

// func softenAVX512(p *int16, x *float32, s *int32, keyScale, valueScale *float32, n int, q float32) (top, sum, unit float32)
//
// n is not 0.
// DI p, SI x, DX s, R8 keyScale, R9 valueScale, AX cursor, BX bytes of whole
// vectors, R11 bytes of all vectors, K3 lanes of the last one, CX its number, or 0
TEXT ·softenAVX512(SB), NOSPLIT, $0-68
	MOVQ p+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ s+16(FP), DX
	MOVQ keyScale+24(FP), R8
	MOVQ valueScale+32(FP), R9
	MOVQ n+40(FP), CX
	MOVQ CX, BX
	ANDQ $~15, BX
	SHLQ $2, BX
	MOVQ BX, R11
	ANDL $15, CX
	JZ   whole
	ADDQ $64, R11

whole:
	MOVL $1, R10
	SHLL CX, R10
	DECL R10
	KMOVW R10, K3
	VBROADCASTSS q+48(FP), Z12
	VBROADCASTSS softConst<>+0(SB), Z10
	VMOVAPS Z10, Z11
	CONST16
	XORL AX, AX
	TESTQ BX, BX
	JZ   lastScores

scores:
	VCVTDQ2PS (DX)(AX*1), Z0
	VMULPS    Z12, Z0, Z0
	VMULPS    (R8)(AX*1), Z0, Z0
	VMOVUPS   Z0, (SI)(AX*1)
	VMAXPS    Z11, Z0, Z11
	ADDQ $64, AX
	CMPQ AX, BX
	JLT  scores

lastScores:
	CMPQ AX, R11
	JEQ  maximum
	VCVTDQ2PS (DX)(AX*1), Z0
	VMULPS    Z12, Z0, Z0
	VMOVUPS.Z (R8)(AX*1), K3, Z1
	VMULPS    Z1, Z0, Z0
	VMOVAPS   Z10, Z1
	VMOVAPS   Z0, K3, Z1
	VMOVUPS   Z1, (SI)(AX*1)
	VMAXPS    Z11, Z1, Z11

maximum:
	VEXTRACTF64X4 $1, Z11, Y0
	VMAXPS Y0, Y11, Y11
	REDUCE8(VMAXPS, Y11, X11, X0)
	VMOVSS X11, top+56(FP)
	VBROADCASTSS X11, Z12
	VXORPS X14, X14, X14
	VXORPS X15, X15, X15
	XORL AX, AX
	TESTQ BX, BX
	JZ   lastWeights

weights:
	VMOVUPS (SI)(AX*1), Z0
	VSUBPS  Z12, Z0, Z0
	EXP16
	VADDPS  Z0, Z15, Z15
	VMULPS  (R9)(AX*1), Z0, Z0
	VADDPS  Z0, Z14, Z14
	VMOVUPS Z0, (SI)(AX*1)
	ADDQ $64, AX
	CMPQ AX, BX
	JLT  weights

lastWeights:
	CMPQ AX, R11
	JEQ  sums
	VMOVUPS (SI)(AX*1), Z0
	VSUBPS  Z12, Z0, Z0
	EXP16
	VADDPS  Z0, Z15, Z15
	VMOVUPS.Z (R9)(AX*1), K3, Z1
	VMULPS  Z1, Z0, Z0
	VADDPS  Z0, Z14, Z14
	VMOVUPS Z0, (SI)(AX*1)

sums:
	VEXTRACTF64X4 $1, Z15, Y0
	VADDPS Y0, Y15, Y15
	REDUCE8(VADDPS, Y15, X15, X0)
	VEXTRACTF64X4 $1, Z14, Y0
	VADDPS Y0, Y14, Y14
	REDUCE8(VADDPS, Y14, X14, X0)
	UNITS(nothing)
	VBROADCASTSS X0, Z12
	XORL AX, AX

round:
	VMULPS    (SI)(AX*1), Z12, Z0
	VCVTPS2DQ Z0, Z0
	VPMOVSDW  Z0, Y0
	VMOVDQU   Y0, (DI)
	ADDQ $32, DI
	ADDQ $64, AX
	CMPQ AX, R11
	JLT  round
	VZEROUPPER
	RET

nothing:
	VPXORD Z0, Z0, Z0
	XORL AX, AX

zero:
	VMOVDQU Y0, (DI)
	ADDQ $32, DI
	ADDQ $64, AX
	CMPQ AX, R11
	JLT  zero
	VZEROUPPER
	RET

// func softenAVX2(p *int16, x *float32, s *int32, keyScale, valueScale *float32, n int, q float32) (top, sum, unit float32)
//
// n is not 0. As softenAVX512, with the mask of the last vector at R12.
TEXT ·softenAVX2(SB), NOSPLIT, $32-68
	MOVQ p+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ s+16(FP), DX
	MOVQ keyScale+24(FP), R8
	MOVQ valueScale+32(FP), R9
	MOVQ n+40(FP), CX
	MOVQ CX, BX
	ANDQ $~7, BX
	SHLQ $2, BX
	MOVQ BX, R11
	ANDL $7, CX
	JZ   whole
	ADDQ $32, R11

whole:
	SHLQ $2, CX
	LEAQ leading8<>+32(SB), R12
	SUBQ CX, R12
	VBROADCASTSS q+48(FP), Y12
	VBROADCASTSS softConst<>+0(SB), Y10
	VMOVAPS Y10, Y11
	XORL AX, AX
	TESTQ BX, BX
	JZ   lastScores

scores:
	VCVTDQ2PS (DX)(AX*1), Y0
	VMULPS    Y12, Y0, Y0
	VMULPS    (R8)(AX*1), Y0, Y0
	VMOVUPS   Y0, (SI)(AX*1)
	VMAXPS    Y11, Y0, Y11
	ADDQ $32, AX
	CMPQ AX, BX
	JLT  scores

lastScores:
	CMPQ AX, R11
	JEQ  maximum
	VMOVUPS (R12), Y2
	VCVTDQ2PS (DX)(AX*1), Y0
	VMULPS     Y12, Y0, Y0
	VMASKMOVPS (R8)(AX*1), Y2, Y1
	VMULPS     Y1, Y0, Y0
	VBLENDVPS  Y2, Y0, Y10, Y1
	VMOVUPS    Y1, (SI)(AX*1)
	VMAXPS     Y11, Y1, Y11

maximum:
	REDUCE8(VMAXPS, Y11, X11, X0)
	VMOVSS X11, top+56(FP)
	VBROADCASTSS X11, Y0
	VMOVUPS Y0, shift-32(SP)
	VXORPS Y14, Y14, Y14
	VXORPS Y15, Y15, Y15
	CONST8
	XORL AX, AX
	TESTQ BX, BX
	JZ   lastWeights

weights:
	VMOVUPS (SI)(AX*1), Y0
	VSUBPS  shift-32(SP), Y0, Y0
	EXP8
	VADDPS  Y0, Y15, Y15
	VMULPS  (R9)(AX*1), Y0, Y0
	VADDPS  Y0, Y14, Y14
	VMOVUPS Y0, (SI)(AX*1)
	ADDQ $32, AX
	CMPQ AX, BX
	JLT  weights

lastWeights:
	CMPQ AX, R11
	JEQ  sums
	VMOVUPS (SI)(AX*1), Y0
	VSUBPS  shift-32(SP), Y0, Y0
	EXP8
	VADDPS  Y0, Y15, Y15
	VMOVUPS (R12), Y2
	VMASKMOVPS (R9)(AX*1), Y2, Y1
	VMULPS  Y1, Y0, Y0
	VADDPS  Y0, Y14, Y14
	VMOVUPS Y0, (SI)(AX*1)

sums:
	REDUCE8(VADDPS, Y15, X15, X0)
	REDUCE8(VADDPS, Y14, X14, X0)
	UNITS(nothing)
	VBROADCASTSS X0, Y12
	XORL AX, AX

round:
	VMULPS    (SI)(AX*1), Y12, Y0
	VCVTPS2DQ Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPACKSSDW X1, X0, X0
	VMOVDQU   X0, (DI)
	ADDQ $16, DI
	ADDQ $32, AX
	CMPQ AX, R11
	JLT  round
	VZEROUPPER
	RET

nothing:
	VPXOR X0, X0, X0
	XORL AX, AX

zero:
	VMOVDQU X0, (DI)
	ADDQ $16, DI
	ADDQ $32, AX
	CMPQ AX, R11
	JLT  zero
	VZEROUPPER
	RET
