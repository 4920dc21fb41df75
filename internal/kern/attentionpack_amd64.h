// Panels out of keys and values of WIDTH bytes an element. LOAD8(m, x) loads eight
// of them as int16, INSERT8(m, y) eight more into the upper half of y, with Y8 as
// scratch, LOAD16(m, y) sixteen. Included once per format.

// KEYS8 transposes eight elements of eight keys, four from a on and four from b on,
// in pairs: pair i of all keys goes to o + 64*i.
#define KEYS8(a, b, o) \
	LOAD8((a), X0)           \
	LOAD8((a)(R8*1), X1)     \
	LOAD8((a)(R8*2), X2)     \
	LOAD8((a)(R9*1), X3)     \
	INSERT8((b), Y0)         \
	INSERT8((b)(R8*1), Y1)   \
	INSERT8((b)(R8*2), Y2)   \
	INSERT8((b)(R9*1), Y3)   \
	VPUNPCKLDQ  Y1, Y0, Y4   \
	VPUNPCKHDQ  Y1, Y0, Y5   \
	VPUNPCKLDQ  Y3, Y2, Y6   \
	VPUNPCKHDQ  Y3, Y2, Y7   \
	VPUNPCKLQDQ Y6, Y4, Y0   \
	VPUNPCKHQDQ Y6, Y4, Y1   \
	VPUNPCKLQDQ Y7, Y5, Y2   \
	VPUNPCKHQDQ Y7, Y5, Y3   \
	VMOVDQU Y0, (o)(DI)      \
	VMOVDQU Y1, (o+64)(DI)   \
	VMOVDQU Y2, (o+128)(DI)  \
	VMOVDQU Y3, (o+192)(DI)

// func(dst *int16, k *element, size, stride int)
//
// size is a multiple of 8, not 0.
// SI, R10, R11, R12 keys 0, 4, 8 and 12, R8, R9 1 and 3 strides, CX elements left
TEXT PACKKEYS(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ k+8(FP), SI
	MOVQ size+16(FP), CX
	MOVQ stride+24(FP), R8
	IMULQ $WIDTH, R8
	LEAQ (R8)(R8*2), R9
	LEAQ (SI)(R8*4), R10
	LEAQ (R10)(R8*4), R11
	LEAQ (R11)(R8*4), R12

keys:
	KEYS8(SI, R10, 0)
	KEYS8(R11, R12, 32)
	ADDQ $(8*WIDTH), SI
	ADDQ $(8*WIDTH), R10
	ADDQ $(8*WIDTH), R11
	ADDQ $(8*WIDTH), R12
	ADDQ $256, DI
	SUBQ $8, CX
	JNZ  keys
	VZEROUPPER
	RET

// func(dst *int16, lds int, v *element, n, strips, stride int)
//
// n is even, neither it nor strips is 0.
// DI pair of the first strip, R9 2*lds, SI value, R8 stride, CX values left, DX
// strips, AX, BX, R10 cursors in the strips and both values, R11 strips left
TEXT PACKVALUES(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ lds+8(FP), R9
	MOVQ v+16(FP), SI
	MOVQ n+24(FP), CX
	MOVQ strips+32(FP), DX
	MOVQ stride+40(FP), R8
	SHLQ $1, R9
	IMULQ $WIDTH, R8

pair:
	MOVQ DI, AX
	MOVQ SI, BX
	LEAQ (SI)(R8*1), R10
	MOVQ DX, R11

strip:
	LOAD16((BX), Y0)
	LOAD16((R10), Y1)
	VPUNPCKLWD Y1, Y0, Y2
	VPUNPCKHWD Y1, Y0, Y3
	VPERM2I128 $0x20, Y3, Y2, Y0
	VPERM2I128 $0x31, Y3, Y2, Y1
	VMOVDQU Y0, (AX)
	VMOVDQU Y1, 32(AX)
	ADDQ $(16*WIDTH), BX
	ADDQ $(16*WIDTH), R10
	ADDQ R9, AX
	DECQ R11
	JNZ  strip

	ADDQ $64, DI
	LEAQ (SI)(R8*2), SI
	SUBQ $2, CX
	JNZ  pair
	VZEROUPPER
	RET
