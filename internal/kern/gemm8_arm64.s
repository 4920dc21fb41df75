//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Int8 products. Weights are at most 127, so they serve as signed bytes.
//
// DOT16 adds 16 products of w and x to the lanes of acc, by SDOT where the
// processor has it. Without, MUL16 adds pairs of products in 16 bits, which
// cannot overflow (2*127*128 = 32512).
#define DOT16(acc, w, x) SDOT(acc, w, x)

#define MUL16(acc, w, x) \
	SMULL(24, w, x)  \
	SMLAL2(24, w, x) \
	SADALP(acc, 24)

// DOTS is the body of dotsDot and dotsMul, after the loading of arguments.
// R0 dst, R1 rows left, R2 row, R3 x, R4 cols, R5 to R8 cursors in rows, R9 in x,
// R10 columns left
#define DOTS(STEP) \
	rows4:                  \
	SUBS $4, R1             \
	BLT  tail               \
	MOVD R2, R5             \
	ADD  R4, R5, R6         \
	ADD  R4, R6, R7         \
	ADD  R4, R7, R8         \
	ADD  R4, R8, R2         \
	MOVD R3, R9             \
	MOVD R4, R10            \
	ZERO(0)                 \
	ZERO(1)                 \
	ZERO(2)                 \
	ZERO(3)                 \
	cols4:                  \
	LDQP(20, 9)             \
	LDQP(16, 5)             \
	STEP(0, 16, 20)         \
	LDQP(17, 6)             \
	STEP(1, 17, 20)         \
	LDQP(18, 7)             \
	STEP(2, 18, 20)         \
	LDQP(19, 8)             \
	STEP(3, 19, 20)         \
	SUBS $16, R10           \
	BNE  cols4              \
	IADDP(0, 0, 1)          \
	IADDP(2, 2, 3)          \
	IADDP(0, 0, 2)          \
	STQP(0, 0)              \
	B    rows4              \
	tail:                   \
	ADD  $4, R1             \
	rows1:                  \
	SUBS $1, R1             \
	BLT  done               \
	MOVD R3, R9             \
	MOVD R4, R10            \
	ZERO(0)                 \
	cols1:                  \
	LDQP(20, 9)             \
	LDQP(16, 2)             \
	STEP(0, 16, 20)         \
	SUBS $16, R10           \
	BNE  cols1              \
	IADDP(0, 0, 0)          \
	IADDP(0, 0, 0)          \
	STSP(0, 0)              \
	B    rows1              \
	done:

// func dotsDot(dst []int32, w []byte, x []int8)
TEXT ·dotsDot(SB), NOSPLIT, $0-72
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R1
	MOVD w_base+24(FP), R2
	MOVD x_base+48(FP), R3
	MOVD x_len+56(FP), R4
	DOTS(DOT16)
	RET

// func dotsMul(dst []int32, w []byte, x []int8)
TEXT ·dotsMul(SB), NOSPLIT, $0-72
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R1
	MOVD w_base+24(FP), R2
	MOVD x_base+48(FP), R3
	MOVD x_len+56(FP), R4
	DOTS(MUL16)
	RET

// TOKEN multiplies 16 columns of a token with four rows in V16 to V19, and PUT
// stores the four sums.
#define TOKEN(STEP, x, a, b, c, d) \
	LDQP(20, x)     \
	STEP(a, 16, 20) \
	STEP(b, 17, 20) \
	STEP(c, 18, 20) \
	STEP(d, 19, 20)

#define PUT(a, b, c, d) \
	IADDP(a, a, b)  \
	IADDP(c, c, d)  \
	IADDP(a, a, c)  \
	STQ(a, 15, 0)   \
	ADD R16, R15

// TILE is the body of tileDot and tileMul: four tokens times rows, a multiple of 4.
// R0 dst, R1 row, R2 x, R3 rows left, R4 cols, R16 4*ldd, R17 ldx, R5 to R8
// cursors in rows, R9 to R12 in tokens, R15 in dst, R14 columns left
#define TILE(STEP) \
	LSL  $2, R16                    \
	rows4:                          \
	MOVD R1, R5                     \
	ADD  R4, R5, R6                 \
	ADD  R4, R6, R7                 \
	ADD  R4, R7, R8                 \
	ADD  R4, R8, R1                 \
	MOVD R2, R9                     \
	ADD  R17, R9, R10               \
	ADD  R17, R10, R11              \
	ADD  R17, R11, R12              \
	MOVD R4, R14                    \
	ZERO(0)                         \
	ZERO(1)                         \
	ZERO(2)                         \
	ZERO(3)                         \
	ZERO(4)                         \
	ZERO(5)                         \
	ZERO(6)                         \
	ZERO(7)                         \
	ZERO(8)                         \
	ZERO(9)                         \
	ZERO(10)                        \
	ZERO(11)                        \
	ZERO(12)                        \
	ZERO(13)                        \
	ZERO(14)                        \
	ZERO(15)                        \
	cols:                           \
	LDQP(16, 5)                     \
	LDQP(17, 6)                     \
	LDQP(18, 7)                     \
	LDQP(19, 8)                     \
	TOKEN(STEP, 9, 0, 1, 2, 3)      \
	TOKEN(STEP, 10, 4, 5, 6, 7)     \
	TOKEN(STEP, 11, 8, 9, 10, 11)   \
	TOKEN(STEP, 12, 12, 13, 14, 15) \
	SUBS $16, R14                   \
	BNE  cols                       \
	MOVD R0, R15                    \
	PUT(0, 1, 2, 3)                 \
	PUT(4, 5, 6, 7)                 \
	PUT(8, 9, 10, 11)               \
	PUT(12, 13, 14, 15)             \
	ADD  $16, R0                    \
	SUBS $4, R3                     \
	BNE  rows4

// func tileDot(dst *int32, w *byte, x *int8, rows, cols, ldd, ldx int)
TEXT ·tileDot(SB), NOSPLIT, $0-56
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD x+16(FP), R2
	MOVD rows+24(FP), R3
	MOVD cols+32(FP), R4
	MOVD ldd+40(FP), R16
	MOVD ldx+48(FP), R17
	TILE(DOT16)
	RET

// func tileMul(dst *int32, w *byte, x *int8, rows, cols, ldd, ldx int)
TEXT ·tileMul(SB), NOSPLIT, $0-56
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD x+16(FP), R2
	MOVD rows+24(FP), R3
	MOVD cols+32(FP), R4
	MOVD ldd+40(FP), R16
	MOVD ldx+48(FP), R17
	TILE(MUL16)
	RET
