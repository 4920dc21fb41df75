//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Float32 matrix products. Every output has eight partial sums in two
// registers, added up in one order, whichever kernel computes it.

// func rowsF32SIMD(dst, w, x *float32, rows, cols, ld int)
//
// rows times one token.
// R0 dst, R1 row, R2 x, R3 rows left, R4 cols, R5 4*ld, R6, R7 cursors
TEXT ·rowsF32SIMD(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD x+16(FP), R2
	MOVD rows+24(FP), R3
	MOVD cols+32(FP), R4
	MOVD ld+40(FP), R5
	LSL  $2, R5

rows:
	MOVD R1, R6
	MOVD R2, R7
	MOVD R4, R8
	ZERO(0)
	ZERO(1)

cols:
	LDQP(2, 6)
	LDQP(3, 6)
	LDQP(4, 7)
	LDQP(5, 7)
	FMLA(0, 2, 4)
	FMLA(1, 3, 5)
	SUBS $8, R8
	BNE  cols

	FADD(0, 0, 1)
	FADDP(0, 0, 0)
	FADDP(0, 0, 0)
	STSP(0, 0)
	ADD  R5, R1
	SUBS $1, R3
	BNE  rows
	RET

// MAC4 multiplies 4 columns of one token with two rows in V16 and V17.
#define MAC4(x, row0, row1) \
	LDQP(20, x)      \
	FMLA(row0, 16, 20) \
	FMLA(row1, 17, 20)

#define COLS4(a0, a1, a2, a3, a4, a5, a6, a7) \
	LDQP(16, 6)     \
	LDQP(17, 7)     \
	MAC4(8, a0, a1)  \
	MAC4(9, a2, a3)  \
	MAC4(10, a4, a5) \
	MAC4(11, a6, a7)

// func tileF32SIMD(dst, w, x *float32, rows, cols, ld, ldd int)
//
// Four tokens times an even number of rows.
// R0 dst, R1 row, R2 x, R3 rows left, R4 cols, R5 4*ld, R12 4*ldd, R6, R7
// cursors in rows, R8 to R11 in tokens, R13 in dst, R14 columns left
TEXT ·tileF32SIMD(SB), NOSPLIT, $0-56
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD x+16(FP), R2
	MOVD rows+24(FP), R3
	MOVD cols+32(FP), R4
	MOVD ld+40(FP), R5
	MOVD ldd+48(FP), R12
	LSL  $2, R5
	LSL  $2, R12

rows2:
	MOVD R1, R6
	ADD  R5, R6, R7
	ADD  R5, R7, R1
	MOVD R2, R8
	ADD  R5, R8, R9
	ADD  R5, R9, R10
	ADD  R5, R10, R11
	MOVD R4, R14
	ZERO(0)
	ZERO(1)
	ZERO(2)
	ZERO(3)
	ZERO(4)
	ZERO(5)
	ZERO(6)
	ZERO(7)
	ZERO(24)
	ZERO(25)
	ZERO(26)
	ZERO(27)
	ZERO(28)
	ZERO(29)
	ZERO(30)
	ZERO(31)

cols:
	COLS4(0, 1, 2, 3, 4, 5, 6, 7)
	COLS4(24, 25, 26, 27, 28, 29, 30, 31)
	SUBS $8, R14
	BNE  cols

	FADD(0, 0, 24)
	FADD(1, 1, 25)
	FADD(2, 2, 26)
	FADD(3, 3, 27)
	FADD(4, 4, 28)
	FADD(5, 5, 29)
	FADD(6, 6, 30)
	FADD(7, 7, 31)
	FADDP(0, 0, 1)
	FADDP(2, 2, 3)
	FADDP(4, 4, 5)
	FADDP(6, 6, 7)
	FADDP(0, 0, 0) // both rows of token 0 in the low half
	FADDP(2, 2, 2)
	FADDP(4, 4, 4)
	FADDP(6, 6, 6)
	MOVD R0, R13
	FMOVD F0, (R13)
	ADD  R12, R13
	FMOVD F2, (R13)
	ADD  R12, R13
	FMOVD F4, (R13)
	ADD  R12, R13
	FMOVD F6, (R13)
	ADD  $8, R0
	SUBS $2, R3
	BNE  rows2
	RET
