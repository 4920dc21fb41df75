//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// ROW adds an element of the vector at [Xp] times 16 rows in V24 to V27.
#define ROW(p, f, a, b, c, d) \
	LDR1X(f, p, 5) \
	FMLA(a, 24, f) \
	FMLA(b, 25, f) \
	FMLA(c, 26, f) \
	FMLA(d, 27, f)

// ADDROW adds 16 results of a vector at R0 to V24 to V27.
#define ADDROW(a, b, c, d) \
	LDQ(24, 0, 0)   \
	LDQ(25, 0, 16)  \
	LDQ(26, 0, 32)  \
	LDQ(27, 0, 48)  \
	FADD(a, 24, a)  \
	FADD(b, 25, b)  \
	FADD(c, 26, c)  \
	FADD(d, 27, d)  \
	ADD  R12, R0

#define STOREROW(a, b, c, d) \
	STQ(a, 13, 0)   \
	STQ(b, 13, 16)  \
	STQ(c, 13, 32)  \
	STQ(d, 13, 48)  \
	ADD  R12, R13

// func blockF32SIMD(dst, panel, x *float32, steps, row, step, ldd int, add bool)
//
// Six vectors times 16 rows of a panel of 64.
// R0, R13 dst, R1 panel, R3 steps left, R4, R5, R12 bytes between vectors, elements
// and results, R6 to R11 vectors
TEXT ·blockF32SIMD(SB), NOSPLIT, $0-57
	MOVD dst+0(FP), R0
	MOVD panel+8(FP), R1
	MOVD x+16(FP), R6
	MOVD steps+24(FP), R3
	MOVD row+32(FP), R4
	MOVD step+40(FP), R5
	MOVD ldd+48(FP), R12
	LSL  $2, R4
	LSL  $2, R5
	LSL  $2, R12
	MOVD R0, R13
	ADD  R4, R6, R7
	ADD  R4, R7, R8
	ADD  R4, R8, R9
	ADD  R4, R9, R10
	ADD  R4, R10, R11
	ZERO(0)
	ZERO(1)
	ZERO(2)
	ZERO(3)
	ZERO(4)
	ZERO(5)
	ZERO(6)
	ZERO(7)
	ZERO(8)
	ZERO(9)
	ZERO(10)
	ZERO(11)
	ZERO(12)
	ZERO(13)
	ZERO(14)
	ZERO(15)
	ZERO(16)
	ZERO(17)
	ZERO(18)
	ZERO(19)
	ZERO(20)
	ZERO(21)
	ZERO(22)
	ZERO(23)

steps:
	LDQP(24, 1)
	LDQP(25, 1)
	LDQP(26, 1)
	LDQP(27, 1)
	ADD  $192, R1
	ROW(6, 28, 0, 1, 2, 3)
	ROW(7, 29, 4, 5, 6, 7)
	ROW(8, 30, 8, 9, 10, 11)
	ROW(9, 31, 12, 13, 14, 15)
	ROW(10, 28, 16, 17, 18, 19)
	ROW(11, 29, 20, 21, 22, 23)
	SUBS $1, R3
	BNE  steps

	MOVBU add+56(FP), R2
	CBZ  R2, store
	ADDROW(0, 1, 2, 3)
	ADDROW(4, 5, 6, 7)
	ADDROW(8, 9, 10, 11)
	ADDROW(12, 13, 14, 15)
	ADDROW(16, 17, 18, 19)
	ADDROW(20, 21, 22, 23)

store:
	STOREROW(0, 1, 2, 3)
	STOREROW(4, 5, 6, 7)
	STOREROW(8, 9, 10, 11)
	STOREROW(12, 13, 14, 15)
	STOREROW(16, 17, 18, 19)
	STOREROW(20, 21, 22, 23)
	RET
