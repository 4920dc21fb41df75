//go:build !purego

#include "textflag.h"

// Blocks of float32 matrix products as sums of outer products: the block stays
// in registers, a term takes one row of the panel and one element of each row of
// a, broadcast. 24 (12) independent sums hide the latency of the additions.

// ROW512 adds one term to a row.
#define ROW512(at, f, lo, hi) \
	VBROADCASTSS at, f \
	VFMADD231PS Z24, f, lo \
	VFMADD231PS Z25, f, hi

// KEEP512 adds what is there to a row, OUT512 stores it.
#define KEEP512(lo, hi) \
	VADDPS (BX), lo, lo \
	VADDPS 64(BX), hi, hi \
	ADDQ R13, BX

#define OUT512(lo, hi) \
	VMOVUPS lo, (DI) \
	VMOVUPS hi, 64(DI) \
	ADDQ R13, DI

// func outerAVX512(dst, a, b *float32, k, ldd, sa, ka int, add bool)
//
// SI, R10, R11 rows 0, 4 and 8 of a, R8, R9: 1 and 3 times sa, DX panel
TEXT ·outerAVX512(SB), NOSPLIT, $0-57
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ k+24(FP), CX
	MOVQ ldd+32(FP), R13
	MOVQ sa+40(FP), R8
	MOVQ ka+48(FP), AX
	LEAQ (R8)(R8*2), R9
	LEAQ (SI)(R8*4), R10
	LEAQ (R10)(R8*4), R11

	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	VPXORQ Z4, Z4, Z4
	VPXORQ Z5, Z5, Z5
	VPXORQ Z6, Z6, Z6
	VPXORQ Z7, Z7, Z7
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	VPXORQ Z10, Z10, Z10
	VPXORQ Z11, Z11, Z11
	VPXORQ Z12, Z12, Z12
	VPXORQ Z13, Z13, Z13
	VPXORQ Z14, Z14, Z14
	VPXORQ Z15, Z15, Z15
	VPXORQ Z16, Z16, Z16
	VPXORQ Z17, Z17, Z17
	VPXORQ Z18, Z18, Z18
	VPXORQ Z19, Z19, Z19
	VPXORQ Z20, Z20, Z20
	VPXORQ Z21, Z21, Z21
	VPXORQ Z22, Z22, Z22
	VPXORQ Z23, Z23, Z23

term512:
	VMOVUPS (DX), Z24
	VMOVUPS 64(DX), Z25
	ROW512((SI), Z26, Z0, Z1)
	ROW512((SI)(R8*1), Z27, Z2, Z3)
	ROW512((SI)(R8*2), Z28, Z4, Z5)
	ROW512((SI)(R9*1), Z29, Z6, Z7)
	ROW512((R10), Z26, Z8, Z9)
	ROW512((R10)(R8*1), Z27, Z10, Z11)
	ROW512((R10)(R8*2), Z28, Z12, Z13)
	ROW512((R10)(R9*1), Z29, Z14, Z15)
	ROW512((R11), Z26, Z16, Z17)
	ROW512((R11)(R8*1), Z27, Z18, Z19)
	ROW512((R11)(R8*2), Z28, Z20, Z21)
	ROW512((R11)(R9*1), Z29, Z22, Z23)
	ADDQ AX, SI
	ADDQ AX, R10
	ADDQ AX, R11
	ADDQ $128, DX
	SUBQ $1, CX
	JNZ  term512

	MOVBLZX add+56(FP), R12
	TESTL R12, R12
	JZ   out512
	MOVQ DI, BX
	KEEP512(Z0, Z1)
	KEEP512(Z2, Z3)
	KEEP512(Z4, Z5)
	KEEP512(Z6, Z7)
	KEEP512(Z8, Z9)
	KEEP512(Z10, Z11)
	KEEP512(Z12, Z13)
	KEEP512(Z14, Z15)
	KEEP512(Z16, Z17)
	KEEP512(Z18, Z19)
	KEEP512(Z20, Z21)
	KEEP512(Z22, Z23)

out512:
	OUT512(Z0, Z1)
	OUT512(Z2, Z3)
	OUT512(Z4, Z5)
	OUT512(Z6, Z7)
	OUT512(Z8, Z9)
	OUT512(Z10, Z11)
	OUT512(Z12, Z13)
	OUT512(Z14, Z15)
	OUT512(Z16, Z17)
	OUT512(Z18, Z19)
	OUT512(Z20, Z21)
	OUT512(Z22, Z23)
	VZEROUPPER
	RET

#define ROW2(at, f, lo, hi) \
	VBROADCASTSS at, f \
	VFMADD231PS Y12, f, lo \
	VFMADD231PS Y13, f, hi

#define KEEP2(lo, hi) \
	VADDPS (BX), lo, lo \
	VADDPS 32(BX), hi, hi \
	ADDQ R13, BX

#define OUT2(lo, hi) \
	VMOVUPS lo, (DI) \
	VMOVUPS hi, 32(DI) \
	ADDQ R13, DI

// func outerAVX2(dst, a, b *float32, k, ldd, sa, ka int, add bool)
//
// SI, R10 rows 0 and 3 of a, R8 sa, DX panel, of 128 bytes a term
TEXT ·outerAVX2(SB), NOSPLIT, $0-57
	MOVQ dst+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ k+24(FP), CX
	MOVQ ldd+32(FP), R13
	MOVQ sa+40(FP), R8
	MOVQ ka+48(FP), AX
	LEAQ (R8)(R8*2), R10
	ADDQ SI, R10

	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11

term2:
	VMOVUPS (DX), Y12
	VMOVUPS 32(DX), Y13
	ROW2((SI), Y14, Y0, Y1)
	ROW2((SI)(R8*1), Y15, Y2, Y3)
	ROW2((SI)(R8*2), Y14, Y4, Y5)
	ROW2((R10), Y15, Y6, Y7)
	ROW2((R10)(R8*1), Y14, Y8, Y9)
	ROW2((R10)(R8*2), Y15, Y10, Y11)
	ADDQ AX, SI
	ADDQ AX, R10
	ADDQ $128, DX
	SUBQ $1, CX
	JNZ  term2

	MOVBLZX add+56(FP), R12
	TESTL R12, R12
	JZ   out2
	MOVQ DI, BX
	KEEP2(Y0, Y1)
	KEEP2(Y2, Y3)
	KEEP2(Y4, Y5)
	KEEP2(Y6, Y7)
	KEEP2(Y8, Y9)
	KEEP2(Y10, Y11)

out2:
	OUT2(Y0, Y1)
	OUT2(Y2, Y3)
	OUT2(Y4, Y5)
	OUT2(Y6, Y7)
	OUT2(Y8, Y9)
	OUT2(Y10, Y11)
	VZEROUPPER
	RET
