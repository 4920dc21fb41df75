// Panels out of keys and values of WIDTH bytes an element. LOAD8(q, n) loads eight of
// them from [Xn] on as int16, and steps Xn behind them. Included once per format.

// KEYS4 transposes eight elements of four keys, at R5 to R8, in pairs: pair i goes to
// [R0 + 64*i + o].
#define KEYS4(o) \
	LOAD8(0, 5)       \
	LOAD8(1, 6)       \
	LOAD8(2, 7)       \
	LOAD8(3, 8)       \
	TRNS1(4, 0, 1)    \
	TRNS2(5, 0, 1)    \
	TRNS1(6, 2, 3)    \
	TRNS2(7, 2, 3)    \
	TRND1(0, 4, 6)    \
	TRND1(1, 5, 7)    \
	TRND2(2, 4, 6)    \
	TRND2(3, 5, 7)    \
	STQ(0, 0, o)      \
	STQ(1, 0, (o+64))   \
	STQ(2, 0, (o+128))  \
	STQ(3, 0, (o+192))

// func(dst *int16, k *element, size, stride int)
//
// size is a multiple of 8, not 0. Four keys at a time.
// R0 dst, R2 elements left, R3 stride, R4 key, R5 to R8 cursors, R9 dst, R10 size
TEXT PACKKEYS(SB), NOSPLIT, $0-32
	MOVD dst+0(FP), R9
	MOVD k+8(FP), R4
	MOVD size+16(FP), R10
	MOVD stride+24(FP), R3
	MOVD $WIDTH, R5
	MUL  R5, R3, R3
	MOVD $4, R11

keys4:
	MOVD R4, R5
	ADD  R3, R5, R6
	ADD  R3, R6, R7
	ADD  R3, R7, R8
	ADD  R3, R8, R4
	MOVD R9, R0
	MOVD R10, R2

keys:
	KEYS4(0)
	ADD  $256, R0
	SUBS $8, R2
	BNE  keys
	ADD  $16, R9
	SUBS $1, R11
	BNE  keys4
	RET

// func(dst *int16, lds int, v *element, n, strips, stride int)
//
// n is even, neither it nor strips is 0.
// R0 pair of the first strip, R1 2*lds-64, R2 value, R3 values left, R4 strips, R5
// stride, R6, R7, R8 cursors in the strips and both values, R9 strips left
TEXT PACKVALUES(SB), NOSPLIT, $0-48
	MOVD dst+0(FP), R0
	MOVD lds+8(FP), R1
	MOVD v+16(FP), R2
	MOVD n+24(FP), R3
	MOVD strips+32(FP), R4
	MOVD stride+40(FP), R5
	LSL  $1, R1, R1
	SUB  $64, R1, R1
	MOVD $WIDTH, R6
	MUL  R6, R5, R5

pair:
	MOVD R0, R6
	MOVD R2, R7
	ADD  R5, R2, R8
	ADD  R5, R8, R2
	MOVD R4, R9

strip:
	LOAD8(0, 7)
	LOAD8(1, 7)
	LOAD8(2, 8)
	LOAD8(3, 8)
	ZIPH1(4, 0, 2)
	ZIPH2(5, 0, 2)
	ZIPH1(6, 1, 3)
	ZIPH2(7, 1, 3)
	STQP(4, 6)
	STQP(5, 6)
	STQP(6, 6)
	STQP(7, 6)
	ADD  R1, R6, R6
	SUBS $1, R9
	BNE  strip
	ADD  $64, R0
	SUBS $2, R3
	BNE  pair
	RET
