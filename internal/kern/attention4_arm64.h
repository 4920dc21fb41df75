// Attention for four query heads at once: keys and values are loaded and widened
// once. Each sum has the order of the kernels for one head. The fourth head is
// row last of q and dst, or p and y: 3, or 2 to compute three heads, the third
// twice over.

// QUERY adds 8 products of a query with the keys in V16, V17 and in V18, V19.
#define QUERY(q, lo0, hi0, lo1, hi1) \
	LDQP(20, q); LDQP(21, q)             \
	FMLA(lo0, 16, 20); FMLA(hi0, 17, 21) \
	FMLA(lo1, 18, 20); FMLA(hi1, 19, 21)

// STORE2 adds up the lanes and stores the scores of both keys.
#define STORE2(lo0, hi0, lo1, hi1) \
	FADD(lo0, lo0, hi0)  \
	FADD(lo1, lo1, hi1)  \
	FADDP(lo0, lo0, lo1) \
	FADDP(lo0, lo0, lo0) \
	MOVD R15, R16        \
	STDP(lo0, 16)

// func(dst, q *float32, k *element, size, keys, stride, ldd, last int)
//
// size is a multiple of 8, keys an even number.
// R0 dst, R1 key, R3 size, R4 keys left, R5 bytes from key to key, R12 4*ldd,
// R6, R7 cursors in keys, R8 to R11 in queries, R15 in dst, R14 elements left,
// R13, R17 bytes from the third to the fourth row of q and dst
TEXT SCORES4(SB), NOSPLIT, $0-64
	MOVD dst+0(FP), R0
	MOVD k+16(FP), R1
	MOVD size+24(FP), R3
	MOVD keys+32(FP), R4
	MOVD stride+40(FP), R5
	MOVD ldd+48(FP), R12
	MOVD last+56(FP), R17
	LSL  $(WIDTH-1), R5
	LSL  $2, R12
	SUB  $2, R17
	MUL  R3, R17, R13
	LSL  $2, R13
	MUL  R12, R17

keys2:
	MOVD R1, R6
	ADD  R5, R6, R7
	ADD  R5, R7, R1
	MOVD q+8(FP), R8
	ADD  R3<<2, R8, R9
	ADD  R3<<2, R9, R10
	ADD  R13, R10, R11
	MOVD R3, R14
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

dims:
	LOAD8P(16, 17, 6)
	LOAD8P(18, 19, 7)
	QUERY(8, 0, 1, 2, 3)
	QUERY(9, 4, 5, 6, 7)
	QUERY(10, 24, 25, 26, 27)
	QUERY(11, 28, 29, 30, 31)
	SUBS $8, R14
	BNE  dims

	MOVD R0, R15
	STORE2(0, 1, 2, 3)
	ADD  R12, R15
	STORE2(4, 5, 6, 7)
	ADD  R12, R15
	STORE2(24, 25, 26, 27)
	ADD  R17, R15
	STORE2(28, 29, 30, 31)
	ADD  $8, R0
	SUBS $2, R4
	BNE  keys2
	RET

// WEIGH adds 8 elements of a value in V16 and V17, times the weight of one head,
// to its stretch of y.
#define WEIGH(p, lo, hi) \
	LDR1P(20, p)                       \
	FMLA(lo, 16, 20); FMLA(hi, 17, 20)

// func(y, p *float32, v *element, size, n, stride, ldp, last int)
//
// size is a multiple of 8, n is not 0.
// R0 to R3 y, R4 values, R5 bytes from value to value, R6 cursor in values,
// R7 4*ldp, R15 bytes from the third to the fourth row of p, R8 to R11 cursors
// in p, R12 elements of y left, R14 values left
TEXT WEIGHTEDSUM4(SB), NOSPLIT, $0-64
	MOVD y+0(FP), R0
	MOVD v+16(FP), R4
	MOVD size+24(FP), R12
	MOVD stride+40(FP), R5
	MOVD ldp+48(FP), R7
	MOVD last+56(FP), R15
	LSL  $(WIDTH-1), R5
	LSL  $2, R7
	SUB  $2, R15
	MUL  R12, R15, R13
	MUL  R7, R15
	ADD  R12<<2, R0, R1
	ADD  R12<<2, R1, R2
	ADD  R13<<2, R2, R3

dims8:
	LDQ(0, 0, 0)
	LDQ(1, 0, 16)
	LDQ(2, 1, 0)
	LDQ(3, 1, 16)
	LDQ(4, 2, 0)
	LDQ(5, 2, 16)
	LDQ(6, 3, 0)
	LDQ(7, 3, 16)
	MOVD R4, R6
	MOVD p+8(FP), R8
	ADD  R7, R8, R9
	ADD  R7, R9, R10
	ADD  R15, R10, R11
	MOVD n+32(FP), R14

values:
	LOAD8(16, 17, 6, 0)
	WEIGH(8, 0, 1)
	WEIGH(9, 2, 3)
	WEIGH(10, 4, 5)
	WEIGH(11, 6, 7)
	ADD  R5, R6
	SUBS $1, R14
	BNE  values

	STQP(0, 0)
	STQP(1, 0)
	STQP(2, 1)
	STQP(3, 1)
	STQP(4, 2)
	STQP(5, 2)
	STQP(6, 3)
	STQP(7, 3)
	ADD  $(8*WIDTH), R4
	SUBS $8, R12
	BNE  dims8
	RET
