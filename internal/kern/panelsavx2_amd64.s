//go:build !purego

#include "textflag.h"

// Products of 16 rows of a panel of 64 with six vectors (panels_simd.go).

#define ROW2(at, f, lo, hi) \
	VBROADCASTSS at, f \
	VFMADD231PS Y12, f, lo \
	VFMADD231PS Y13, f, hi

#define ADD2(lo, hi) \
	VADDPS (BX), lo, lo \
	VADDPS 32(BX), hi, hi \
	ADDQ R13, BX

#define STORE2(lo, hi) \
	VMOVUPS lo, (DI) \
	VMOVUPS hi, 32(DI) \
	ADDQ R13, DI

// func blockF32SIMD(dst, panel, x *float32, steps, row, step, ldd int, add bool)
//
// For AVX2: 12 sums hide the latency of the additions.
// DI dst, DX panel, SI, R10 vectors 0 and 3, CX steps left, R8, AX, R13 bytes between
// vectors, elements and results
TEXT ·blockF32SIMD(SB), NOSPLIT, $0-57
	MOVQ dst+0(FP), DI
	MOVQ panel+8(FP), DX
	MOVQ x+16(FP), SI
	MOVQ steps+24(FP), CX
	MOVQ row+32(FP), R8
	MOVQ step+40(FP), AX
	MOVQ ldd+48(FP), R13
	SHLQ $2, R8
	SHLQ $2, AX
	SHLQ $2, R13
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

steps:
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
	ADDQ $256, DX
	SUBQ $1, CX
	JNZ  steps

	MOVBLZX add+56(FP), R12
	TESTL R12, R12
	JZ   store
	MOVQ DI, BX
	ADD2(Y0, Y1)
	ADD2(Y2, Y3)
	ADD2(Y4, Y5)
	ADD2(Y6, Y7)
	ADD2(Y8, Y9)
	ADD2(Y10, Y11)

store:
	STORE2(Y0, Y1)
	STORE2(Y2, Y3)
	STORE2(Y4, Y5)
	STORE2(Y6, Y7)
	STORE2(Y8, Y9)
	STORE2(Y10, Y11)
	VZEROUPPER
	RET
