// Attention over keys and values of WIDTH bytes an element. LOAD8(lo, hi, n, off)
// widens eight at [Xn + off] to float32 in Vlo and Vhi, LOAD8P at [Xn] and steps
// over them. Included once per format.

// KEY adds 8 products of the query (V16, V17) with the key at [Xk] to lo and hi.
#define KEY(k, lo, hi) \
	LOAD8P(21, 22, k) \
	FMLA(lo, 21, 16)  \
	FMLA(hi, 22, 17)

// func(dst, q []float32, k *element, stride int)
//
// len(q) is a multiple of 8, not 0. Every score has eight partial sums; four
// keys run side by side, a lone one is added up in the same order.
// R0 dst, R1 keys left, R2 q, R3 len(q), R4 key, R5 bytes from key to key,
// R6 to R9 cursors in keys, R10 in q, R11 elements left
TEXT SCORES(SB), NOSPLIT, $0-64
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R1
	MOVD q_base+24(FP), R2
	MOVD q_len+32(FP), R3
	MOVD k+48(FP), R4
	MOVD stride+56(FP), R5
	LSL  $(WIDTH-1), R5

keys4:
	SUBS $4, R1
	BLT  tail
	MOVD R4, R6
	ADD  R5, R6, R7
	ADD  R5, R7, R8
	ADD  R5, R8, R9
	ADD  R5, R9, R4
	MOVD R2, R10
	MOVD R3, R11
	ZERO(0)
	ZERO(1)
	ZERO(2)
	ZERO(3)
	ZERO(4)
	ZERO(5)
	ZERO(6)
	ZERO(7)

dims4:
	LDQP(16, 10)
	LDQP(17, 10)
	KEY(6, 0, 4)
	KEY(7, 1, 5)
	KEY(8, 2, 6)
	KEY(9, 3, 7)
	SUBS $8, R11
	BNE  dims4

	FADD(0, 0, 4)
	FADD(1, 1, 5)
	FADD(2, 2, 6)
	FADD(3, 3, 7)
	FADDP(0, 0, 1)
	FADDP(2, 2, 3)
	FADDP(0, 0, 2)
	STQP(0, 0)
	B keys4

tail:
	ADD $4, R1

keys1:
	SUBS $1, R1
	BLT  done
	MOVD R4, R6
	ADD  R5, R4
	MOVD R2, R10
	MOVD R3, R11
	ZERO(0)
	ZERO(4)

dims1:
	LDQP(16, 10)
	LDQP(17, 10)
	KEY(6, 0, 4)
	SUBS $8, R11
	BNE  dims1

	FADD(0, 0, 4)
	FADDP(0, 0, 0)
	FADDP(0, 0, 0)
	STSP(0, 0)
	B keys1

done:
	RET

// VALUE adds 8 products of the weight in V16 with the value off elements from R6.
#define VALUE(off, lo, hi) \
	LOAD8(21, 22, 6, off*WIDTH) \
	FMLA(lo, 21, 16)            \
	FMLA(hi, 22, 16)

// func(y, p []float32, v *element, stride int)
//
// len(y) is a multiple of 8; p is not empty. A stretch of y stays in registers
// while the kernel walks down the values.
// R0 y, R1 elements left, R2 p, R3 len(p), R4 values, R5 bytes from value to
// value, R6 cursor in values, R10 in p, R11 values left
TEXT WEIGHTEDSUM(SB), NOSPLIT, $0-64
	MOVD y_base+0(FP), R0
	MOVD y_len+8(FP), R1
	MOVD p_base+24(FP), R2
	MOVD p_len+32(FP), R3
	MOVD v+48(FP), R4
	MOVD stride+56(FP), R5
	LSL  $(WIDTH-1), R5

dims32:
	SUBS $32, R1
	BLT  tail
	LDQ(0, 0, 0)
	LDQ(1, 0, 16)
	LDQ(2, 0, 32)
	LDQ(3, 0, 48)
	LDQ(4, 0, 64)
	LDQ(5, 0, 80)
	LDQ(6, 0, 96)
	LDQ(7, 0, 112)
	MOVD R4, R6
	MOVD R2, R10
	MOVD R3, R11

values32:
	LDR1P(16, 10)
	VALUE(0, 0, 1)
	VALUE(8, 2, 3)
	VALUE(16, 4, 5)
	VALUE(24, 6, 7)
	ADD  R5, R6
	SUBS $1, R11
	BNE  values32

	STQP(0, 0)
	STQP(1, 0)
	STQP(2, 0)
	STQP(3, 0)
	STQP(4, 0)
	STQP(5, 0)
	STQP(6, 0)
	STQP(7, 0)
	ADD $(32*WIDTH), R4
	B dims32

tail:
	ADD $32, R1

dims8:
	SUBS $8, R1
	BLT  done
	LDQ(0, 0, 0)
	LDQ(1, 0, 16)
	MOVD R4, R6
	MOVD R2, R10
	MOVD R3, R11

values8:
	LDR1P(16, 10)
	VALUE(0, 0, 1)
	ADD  R5, R6
	SUBS $1, R11
	BNE  values8

	STQP(0, 0)
	STQP(1, 0)
	ADD $(8*WIDTH), R4
	B dims8

done:
	RET
