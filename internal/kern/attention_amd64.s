//go:build !purego

#include "textflag.h"

// Products of int16 rows with panels: each pair of a row, broadcast, meets the same
// pair of 16 lanes.

// ROW2 adds the products of one pair of a row with a strip, in Y8 and Y9.
#define ROW2(x, lo, hi) \
	VPBROADCASTD x, Y10      \
	VPMADDWD Y8, Y10, Y11    \
	VPMADDWD Y9, Y10, Y12    \
	VPADDD   Y11, lo, lo     \
	VPADDD   Y12, hi, hi

// SUM2 adds what two vectors of dst hold to a row's sums: all or, by Y15, nothing.
#define SUM2(p, q, lo, hi) \
	VPAND  p, Y15, Y11  \
	VPAND  q, Y15, Y12  \
	VPADDD Y11, lo, lo  \
	VPADDD Y12, hi, hi  \
	VMOVDQU lo, p       \
	VMOVDQU hi, q

// func matMulI16AVX2(dst *int32, ldd int, a *int16, lda int, panel *int16, lds, rows, strips, cols int, add bool)
//
// Strip by strip, four rows at a time, then one. cols is even, nothing is 0.
// DX strip, DI dst and SI a of the row at hand, CX rows left, R8 4*ldd, R9 3*R8,
// R11 2*lda, R12 3*R11, R10 pairs, AX, BX cursors in a and strip, R13 pairs left
TEXT ·matMulI16AVX2(SB), NOSPLIT, $0-73
	MOVQ panel+32(FP), DX
	MOVQ ldd+8(FP), R8
	SHLQ $2, R8
	LEAQ (R8)(R8*2), R9
	MOVQ lda+24(FP), R11
	SHLQ $1, R11
	LEAQ (R11)(R11*2), R12
	MOVQ cols+64(FP), R10
	SHRQ $1, R10
	MOVBLZX add+72(FP), AX
	NEGL AX
	VMOVD AX, X15
	VPBROADCASTD X15, Y15

strip:
	MOVQ dst+0(FP), DI
	MOVQ a+16(FP), SI
	MOVQ rows+48(FP), CX

rows4:
	SUBQ $4, CX
	JL   tail
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPXOR Y4, Y4, Y4
	VPXOR Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7
	MOVQ SI, AX
	MOVQ DX, BX
	MOVQ R10, R13

pair4:
	VMOVDQU (BX), Y8
	VMOVDQU 32(BX), Y9
	ROW2((AX), Y0, Y1)
	ROW2((AX)(R11*1), Y2, Y3)
	ROW2((AX)(R11*2), Y4, Y5)
	ROW2((AX)(R12*1), Y6, Y7)
	ADDQ $64, BX
	ADDQ $4, AX
	DECQ R13
	JNZ  pair4

	SUM2((DI), 32(DI), Y0, Y1)
	SUM2((DI)(R8*1), 32(DI)(R8*1), Y2, Y3)
	SUM2((DI)(R8*2), 32(DI)(R8*2), Y4, Y5)
	SUM2((DI)(R9*1), 32(DI)(R9*1), Y6, Y7)
	LEAQ (DI)(R8*4), DI
	LEAQ (SI)(R11*4), SI
	JMP  rows4

tail:
	ADDQ $4, CX

rows1:
	SUBQ $1, CX
	JL   next
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	MOVQ SI, AX
	MOVQ DX, BX
	MOVQ R10, R13

pair1:
	VMOVDQU (BX), Y8
	VMOVDQU 32(BX), Y9
	ROW2((AX), Y0, Y1)
	ADDQ $64, BX
	ADDQ $4, AX
	DECQ R13
	JNZ  pair1

	SUM2((DI), 32(DI), Y0, Y1)
	ADDQ R8, DI
	ADDQ R11, SI
	JMP  rows1

next:
	ADDQ $64, dst+0(FP)
	MOVQ lds+40(FP), AX
	LEAQ (DX)(AX*2), DX
	DECQ strips+56(FP)
	JNZ  strip
	VZEROUPPER
	RET

// CLEAR4 empties four sums.
#define CLEAR4(a, b, c, d) \
	VPXORD a, a, a \
	VPXORD b, b, b \
	VPXORD c, c, c \
	VPXORD d, d, d

// ROW4 adds the products of one pair of a row with four strips, in Z16 to Z19.
#define ROW4(x, a, b, c, d) \
	VPBROADCASTD x, Z20     \
	VPDPWSSD Z16, Z20, a    \
	VPDPWSSD Z17, Z20, b    \
	VPDPWSSD Z18, Z20, c    \
	VPDPWSSD Z19, Z20, d

// SUM1 adds what dst holds to a row's sums: all or, by K1, nothing.
#define SUM1(p, a) \
	VMOVDQU32.Z p, K1, Z16 \
	VPADDD      Z16, a, a

#define SUM4(p, a, b, c, d) \
	SUM1((p), a)    \
	SUM1(64(p), b)  \
	SUM1(128(p), c) \
	SUM1(192(p), d)

#define STORE4(p, a, b, c, d) \
	VMOVDQU32 a, (p)    \
	VMOVDQU32 b, 64(p)  \
	VMOVDQU32 c, 128(p) \
	VMOVDQU32 d, 192(p)

// func matMulI16AVX512(dst *int32, ldd int, a *int16, lda int, panel *int16, lds, rows, strips, cols int, add bool)
//
// Four strips at a time, then one; of each, four rows at a time (or a last three, of
// which one counts twice), then one. cols is even, nothing is 0.
// DX strip, DI dst and SI a of the row at hand, CX rows left, R8, R9 2 and 6*lds,
// R10 pairs, R11 2*lda, R12 2*lda times the distance of the fourth row, R14 4*ldd,
// R15 that times the distance, AX, BX cursors in a and strip, R13 pairs left
TEXT ·matMulI16AVX512(SB), NOSPLIT, $0-73
	MOVQ panel+32(FP), DX
	MOVQ ldd+8(FP), R14
	SHLQ $2, R14
	MOVQ lds+40(FP), R8
	SHLQ $1, R8
	LEAQ (R8)(R8*2), R9
	MOVQ lda+24(FP), R11
	SHLQ $1, R11
	MOVQ cols+64(FP), R10
	SHRQ $1, R10
	MOVBLZX add+72(FP), AX
	NEGL AX
	KMOVW AX, K1

strips4:
	SUBQ $4, strips+56(FP)
	JL   strips
	MOVQ dst+0(FP), DI
	MOVQ a+16(FP), SI
	MOVQ rows+48(FP), CX
	LEAQ (R11)(R11*2), R12
	LEAQ (R14)(R14*2), R15

wide4:
	SUBQ $4, CX
	JGE  wide4go
	CMPQ CX, $-1
	JNE  wideTail
	LEAQ (R11)(R11*1), R12
	LEAQ (R14)(R14*1), R15

wide4go:
	CLEAR4(Z0, Z1, Z2, Z3)
	CLEAR4(Z4, Z5, Z6, Z7)
	CLEAR4(Z8, Z9, Z10, Z11)
	CLEAR4(Z12, Z13, Z14, Z15)
	MOVQ SI, AX
	MOVQ DX, BX
	MOVQ R10, R13

widePair4:
	VMOVDQU32 (BX), Z16
	VMOVDQU32 (BX)(R8*1), Z17
	VMOVDQU32 (BX)(R8*2), Z18
	VMOVDQU32 (BX)(R9*1), Z19
	ROW4((AX), Z0, Z1, Z2, Z3)
	ROW4((AX)(R11*1), Z4, Z5, Z6, Z7)
	ROW4((AX)(R11*2), Z8, Z9, Z10, Z11)
	ROW4((AX)(R12*1), Z12, Z13, Z14, Z15)
	ADDQ $64, BX
	ADDQ $4, AX
	DECQ R13
	JNZ  widePair4

	LEAQ (DI)(R14*1), AX
	LEAQ (DI)(R14*2), BX
	LEAQ (DI)(R15*1), R13
	SUM4(DI, Z0, Z1, Z2, Z3)
	SUM4(AX, Z4, Z5, Z6, Z7)
	SUM4(BX, Z8, Z9, Z10, Z11)
	SUM4(R13, Z12, Z13, Z14, Z15)
	STORE4(DI, Z0, Z1, Z2, Z3)
	STORE4(AX, Z4, Z5, Z6, Z7)
	STORE4(BX, Z8, Z9, Z10, Z11)
	STORE4(R13, Z12, Z13, Z14, Z15)
	LEAQ (DI)(R14*4), DI
	LEAQ (SI)(R11*4), SI
	TESTQ CX, CX
	JG   wide4
	JMP  wideNext

wideTail:
	ADDQ $4, CX

wide1:
	SUBQ $1, CX
	JL   wideNext
	CLEAR4(Z0, Z1, Z2, Z3)
	MOVQ SI, AX
	MOVQ DX, BX
	MOVQ R10, R13

widePair1:
	VPBROADCASTD (AX), Z20
	VPDPWSSD (BX), Z20, Z0
	VPDPWSSD (BX)(R8*1), Z20, Z1
	VPDPWSSD (BX)(R8*2), Z20, Z2
	VPDPWSSD (BX)(R9*1), Z20, Z3
	ADDQ $64, BX
	ADDQ $4, AX
	DECQ R13
	JNZ  widePair1

	SUM4(DI, Z0, Z1, Z2, Z3)
	STORE4(DI, Z0, Z1, Z2, Z3)
	ADDQ R14, DI
	ADDQ R11, SI
	JMP  wide1

wideNext:
	ADDQ $256, dst+0(FP)
	LEAQ (DX)(R8*4), DX
	JMP  strips4

strips:
	ADDQ $4, strips+56(FP)

strip:
	SUBQ $1, strips+56(FP)
	JL   done
	MOVQ dst+0(FP), DI
	MOVQ a+16(FP), SI
	MOVQ rows+48(FP), CX
	LEAQ (R11)(R11*2), R12
	LEAQ (R14)(R14*2), R15

rows4:
	SUBQ $4, CX
	JGE  rows4go
	CMPQ CX, $-1
	JNE  tail
	LEAQ (R11)(R11*1), R12
	LEAQ (R14)(R14*1), R15

rows4go:
	CLEAR4(Z0, Z1, Z2, Z3)
	MOVQ SI, AX
	MOVQ DX, BX
	MOVQ R10, R13

pair4:
	VMOVDQU32 (BX), Z16
	VPDPWSSD.BCST (AX), Z16, Z0
	VPDPWSSD.BCST (AX)(R11*1), Z16, Z1
	VPDPWSSD.BCST (AX)(R11*2), Z16, Z2
	VPDPWSSD.BCST (AX)(R12*1), Z16, Z3
	ADDQ $64, BX
	ADDQ $4, AX
	DECQ R13
	JNZ  pair4

	SUM1((DI), Z0)
	SUM1((DI)(R14*1), Z1)
	SUM1((DI)(R14*2), Z2)
	SUM1((DI)(R15*1), Z3)
	VMOVDQU32 Z0, (DI)
	VMOVDQU32 Z1, (DI)(R14*1)
	VMOVDQU32 Z2, (DI)(R14*2)
	VMOVDQU32 Z3, (DI)(R15*1)
	LEAQ (DI)(R14*4), DI
	LEAQ (SI)(R11*4), SI
	TESTQ CX, CX
	JG   rows4
	JMP  next

tail:
	ADDQ $4, CX

rows1:
	SUBQ $1, CX
	JL   next
	VPXORD Z0, Z0, Z0
	MOVQ SI, AX
	MOVQ DX, BX
	MOVQ R10, R13

pair1:
	VMOVDQU32 (BX), Z16
	VPDPWSSD.BCST (AX), Z16, Z0
	ADDQ $64, BX
	ADDQ $4, AX
	DECQ R13
	JNZ  pair1

	SUM1((DI), Z0)
	VMOVDQU32 Z0, (DI)
	ADDQ R14, DI
	ADDQ R11, SI
	JMP  rows1

next:
	ADDQ $64, dst+0(FP)
	ADDQ R8, DX
	JMP  strip

done:
	VZEROUPPER
	RET

// func widenI8SIMD(dst []int16, x []int8)
//
// The length is a multiple of 8, not 0.
TEXT ·widenI8SIMD(SB), NOSPLIT, $0-48
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	SUBQ $32, CX
	JL   rest

widen32:
	VPMOVSXBW (SI), Y0
	VPMOVSXBW 16(SI), Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	ADDQ $32, SI
	ADDQ $64, DI
	SUBQ $32, CX
	JGE  widen32

rest:
	ADDQ $32, CX
	JZ   done

widen8:
	VPMOVSXBW (SI), X0
	VMOVDQU X0, (DI)
	ADDQ $8, SI
	ADDQ $16, DI
	SUBQ $8, CX
	JNZ  widen8

done:
	VZEROUPPER
	RET

// func round16SIMD(dst []int16, x []float32, inv float32)
//
// The length is a multiple of 8, not 0. The conversion rounds to nearest even, the
// default of MXCSR.
TEXT ·round16SIMD(SB), NOSPLIT, $0-52
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	VBROADCASTSS inv+48(FP), Y15

round:
	VMULPS    (SI), Y15, Y0
	VCVTPS2DQ Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPACKSSDW X1, X0, X0
	VMOVDQU   X0, (DI)
	ADDQ $16, DI
	ADDQ $32, SI
	SUBQ $8, CX
	JNZ  round
	VZEROUPPER
	RET

// func mergeSIMD(y []float32, d []int32, own, unit, other float32)
//
// The length is a multiple of 8, not 0.
TEXT ·mergeSIMD(SB), NOSPLIT, $0-60
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ d_base+24(FP), SI
	VBROADCASTSS own+48(FP), Y13
	VBROADCASTSS unit+52(FP), Y14
	VBROADCASTSS other+56(FP), Y15

next8:
	VCVTDQ2PS (SI), Y0
	VMULPS Y14, Y0, Y0
	VMULPS (DI), Y13, Y1
	VMULPS Y15, Y0, Y0
	VADDPS Y0, Y1, Y0
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, SI
	SUBQ $8, CX
	JNZ  next8
	VZEROUPPER
	RET
