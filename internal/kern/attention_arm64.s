//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Products of int16 rows with panels: each pair of a row, in every 32-bit lane, meets
// the same pair of 16 lanes in V16 to V19. A lane has two sums, of even and of odd
// columns, until the end.

// ROW adds the products of one pair of a row, in x, to eight vectors from a on.
#define ROW(a, x) \
	SMLALH(a, 16, x)       \
	SMLALH2((a+1), 16, x)  \
	SMLALH((a+2), 17, x)   \
	SMLALH2((a+3), 17, x)  \
	SMLALH((a+4), 18, x)   \
	SMLALH2((a+5), 18, x)  \
	SMLALH((a+6), 19, x)   \
	SMLALH2((a+7), 19, x)

#define CLEAR(a) \
	ZERO(a) \
	ZERO((a+1)) \
	ZERO((a+2)) \
	ZERO((a+3)) \
	ZERO((a+4)) \
	ZERO((a+5)) \
	ZERO((a+6)) \
	ZERO((a+7))

// PUT stores the 16 lanes of a row at [Xn], added to what is there where V22 has ones.
#define PUT(a, n) \
	IADDP(a, a, (a+1))         \
	IADDP((a+2), (a+2), (a+3)) \
	IADDP((a+4), (a+4), (a+5)) \
	IADDP((a+6), (a+6), (a+7)) \
	LDQ(16, n, 0)       \
	LDQ(17, n, 16)      \
	LDQ(18, n, 32)      \
	LDQ(19, n, 48)      \
	VAND V16.B16, V22.B16, V16.B16 \
	VAND V17.B16, V22.B16, V17.B16 \
	VAND V18.B16, V22.B16, V18.B16 \
	VAND V19.B16, V22.B16, V19.B16 \
	IADD(a, a, 16)         \
	IADD((a+2), (a+2), 17) \
	IADD((a+4), (a+4), 18) \
	IADD((a+6), (a+6), 19) \
	STQ(a, n, 0)       \
	STQ((a+2), n, 16)  \
	STQ((a+4), n, 32)  \
	STQ((a+6), n, 48)

// func matMulI16NEON(dst *int32, ldd int, a *int16, lda int, panel *int16, lds, rows, strips, cols int, add bool)
//
// Strip by strip, two rows at a time, then one. cols is even, nothing is 0.
// R0 dst of the strip, R1 4*ldd, R2 strip, R3 2*lds, R4 strips left, R5 pairs, R6
// 2*lda, R7 rows left, R8 dst and R9 a of the row at hand, R10 to R12 cursors in both
// rows and the strip, R13 pairs left, R14 dst of the second row
TEXT ·matMulI16NEON(SB), NOSPLIT, $0-73
	MOVD dst+0(FP), R0
	MOVD ldd+8(FP), R1
	MOVD lda+24(FP), R6
	MOVD panel+32(FP), R2
	MOVD lds+40(FP), R3
	MOVD strips+56(FP), R4
	MOVD cols+64(FP), R5
	LSL  $2, R1, R1
	LSL  $1, R6, R6
	LSL  $1, R3, R3
	LSR  $1, R5, R5
	MOVBU add+72(FP), R7
	NEG  R7, R7
	VDUP R7, V22.D2

strip:
	MOVD rows+48(FP), R7
	MOVD R0, R8
	MOVD a+16(FP), R9

rows2:
	SUBS $2, R7
	BLT  tail
	CLEAR(0)
	CLEAR(8)
	MOVD R9, R10
	ADD  R6, R9, R11
	ADD  R6, R11, R9
	MOVD R2, R12
	MOVD R5, R13

pair2:
	LDQP(16, 12)
	LDQP(17, 12)
	LDQP(18, 12)
	LDQP(19, 12)
	LDR1P(20, 10)
	LDR1P(21, 11)
	ROW(0, 20)
	ROW(8, 21)
	SUBS $1, R13
	BNE  pair2

	ADD  R1, R8, R14
	PUT(0, 8)
	PUT(8, 14)
	ADD  R1, R14, R8
	B    rows2

tail:
	ADDS $2, R7
	BEQ  next
	CLEAR(0)
	MOVD R9, R10
	MOVD R2, R12
	MOVD R5, R13

pair1:
	LDQP(16, 12)
	LDQP(17, 12)
	LDQP(18, 12)
	LDQP(19, 12)
	LDR1P(20, 10)
	ROW(0, 20)
	SUBS $1, R13
	BNE  pair1
	PUT(0, 8)

next:
	ADD  $64, R0
	ADD  R3, R2
	SUBS $1, R4
	BNE  strip
	RET

// func widenI8SIMD(dst []int16, x []int8)
//
// The length is a multiple of 8, not 0.
TEXT ·widenI8SIMD(SB), NOSPLIT, $0-48
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1

widen:
	LDDP(0, 1)
	SXTL8(0, 0)
	STQP(0, 0)
	SUBS $8, R4
	BNE  widen
	RET

// func round16SIMD(dst []int16, x []float32, inv float32)
//
// The length is a multiple of 8, not 0.
TEXT ·round16SIMD(SB), NOSPLIT, $0-52
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1
	FMOVS inv+48(FP), F15
	VDUP V15.S[0], V15.S4

round:
	LDQP(0, 1)
	LDQP(1, 1)
	FMUL(0, 0, 15)
	FMUL(1, 1, 15)
	FCVTNS(0, 0)
	FCVTNS(1, 1)
	SQXTN4(0, 0)
	SQXTN8(0, 1)
	STQP(0, 0)
	SUBS $8, R4
	BNE  round
	RET

// func mergeSIMD(y []float32, d []int32, own, unit, other float32)
//
// The length is a multiple of 8, not 0.
TEXT ·mergeSIMD(SB), NOSPLIT, $0-60
	MOVD y_base+0(FP), R0
	MOVD y_len+8(FP), R4
	MOVD d_base+24(FP), R1
	FMOVS own+48(FP), F13
	VDUP V13.S[0], V13.S4
	FMOVS unit+52(FP), F14
	VDUP V14.S[0], V14.S4
	FMOVS other+56(FP), F15
	VDUP V15.S[0], V15.S4

four:
	LDQP(0, 1)
	LDQ(1, 0, 0)
	SCVTF(0, 0)
	FMUL(0, 0, 14)
	FMUL(1, 1, 13)
	FMUL(0, 0, 15)
	FADD(0, 1, 0)
	STQP(0, 0)
	SUBS $4, R4
	BNE  four
	RET
