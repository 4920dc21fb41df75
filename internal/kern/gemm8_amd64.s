//go:build !purego

#include "textflag.h"
#include "gemm8_amd64.h"

// Int8 products: unsigned weights times signed activations.
//
// AVX2 has no four-way dot product: VPMADDUBSW adds pairs of products to 16
// bits, which weights of at most 127 cannot saturate (2*127*128 = 32512), and
// VPMADDWD by ones adds pairs of those to 32 bits.

DATA ones16<>+0(SB)/4, $0x00010001
GLOBL ones16<>(SB), RODATA|NOPTR, $4

// gather8 takes elements 0 and 1 of each 128-bit lane of a ZMM register.
DATA gather8<>+0(SB)/4, $0
DATA gather8<>+4(SB)/4, $4
DATA gather8<>+8(SB)/4, $8
DATA gather8<>+12(SB)/4, $12
DATA gather8<>+16(SB)/4, $1
DATA gather8<>+20(SB)/4, $5
DATA gather8<>+24(SB)/4, $9
DATA gather8<>+28(SB)/4, $13
GLOBL gather8<>(SB), RODATA|NOPTR, $32

// ACC2 adds w (u8) times x (s8), 32 of each, to acc. Y15 holds ones.
#define ACC2(x, w, tmp, acc) \
	VPMADDUBSW x, w, tmp   \
	VPMADDWD   Y15, tmp, tmp \
	VPADDD     tmp, acc, acc

// func dotsAVX2(dst []int32, w []byte, x []int8)
//
// DI dst, CX rows left, SI row, DX x, R8 cols, R9 3*cols, BX column
TEXT ·dotsAVX2(SB), NOSPLIT, $0-72
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ w_base+24(FP), SI
	MOVQ x_base+48(FP), DX
	MOVQ x_len+56(FP), R8
	LEAQ (R8)(R8*2), R9
	VPBROADCASTD ones16<>(SB), Y15

rows4:
	SUBQ $4, CX
	JL   tail
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	XORL BX, BX

cols4:
	CMPQ BX, R8
	JGE  sum4
	VMOVDQU (DX)(BX*1), Y8
	VMOVDQU (SI), Y4
	VMOVDQU (SI)(R8*1), Y5
	VMOVDQU (SI)(R8*2), Y6
	VMOVDQU (SI)(R9*1), Y7
	ACC2(Y8, Y4, Y4, Y0)
	ACC2(Y8, Y5, Y5, Y1)
	ACC2(Y8, Y6, Y6, Y2)
	ACC2(Y8, Y7, Y7, Y3)
	ADDQ $32, SI
	ADDQ $32, BX
	JMP  cols4

sum4:
	VPHADDD Y1, Y0, Y0
	VPHADDD Y3, Y2, Y2
	VPHADDD Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VMOVDQU X0, (DI)
	ADDQ $16, DI
	ADDQ R9, SI // SI stands one row on
	JMP  rows4

tail:
	ADDQ $4, CX

rows1:
	SUBQ $1, CX
	JL   done
	VPXOR Y0, Y0, Y0
	XORL BX, BX

cols1:
	CMPQ BX, R8
	JGE  sum1
	VMOVDQU (DX)(BX*1), Y8
	VMOVDQU (SI), Y4
	ACC2(Y8, Y4, Y4, Y0)
	ADDQ $32, SI
	ADDQ $32, BX
	JMP  cols1

sum1:
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VPHADDD X0, X0, X0
	VPHADDD X0, X0, X0
	VMOVD X0, (DI)
	ADDQ $4, DI
	JMP  rows1

done:
	VZEROUPPER
	RET

// func tileAVX2(dst *int32, w *byte, x *int8, rows, cols, ldd, ldx int)
//
// Four tokens times an even number of rows, two at a time.
// SI w, DX x, R8 cols, R10 ldx, R11 3*ldx, R12 column, R13 cursor in x
TEXT ·tileAVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ cols+32(FP), R8
	MOVQ ldd+40(FP), R9
	MOVQ ldx+48(FP), R10
	SHLQ $2, R9
	LEAQ (R10)(R10*2), R11
	LEAQ (R9)(R9*2), AX
	VPBROADCASTD ones16<>(SB), Y15

rows2:
	SUBQ $2, CX
	JL   done
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPXOR Y4, Y4, Y4
	VPXOR Y5, Y5, Y5
	VPXOR Y6, Y6, Y6
	VPXOR Y7, Y7, Y7
	MOVQ DX, R13
	MOVQ R8, R12

cols:
	VMOVDQU (SI), Y8
	VMOVDQU (SI)(R8*1), Y9
	ACC2((R13), Y8, Y10, Y0)
	ACC2((R13), Y9, Y11, Y1)
	ACC2((R13)(R10*1), Y8, Y12, Y2)
	ACC2((R13)(R10*1), Y9, Y13, Y3)
	ACC2((R13)(R10*2), Y8, Y10, Y4)
	ACC2((R13)(R10*2), Y9, Y11, Y5)
	ACC2((R13)(R11*1), Y8, Y12, Y6)
	ACC2((R13)(R11*1), Y9, Y13, Y7)
	ADDQ $32, SI
	ADDQ $32, R13
	SUBQ $32, R12
	JNZ  cols

	VPHADDD Y1, Y0, Y0
	VPHADDD Y3, Y2, Y2
	VPHADDD Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0 // both rows of token 0, then of token 1
	VPHADDD Y5, Y4, Y4
	VPHADDD Y7, Y6, Y6
	VPHADDD Y6, Y4, Y4
	VEXTRACTI128 $1, Y4, X5
	VPADDD X5, X4, X4
	VMOVQ X0, (DI)
	VMOVHPS X0, (DI)(R9*1)
	VMOVQ X4, (DI)(R9*2)
	VMOVHPS X4, (DI)(AX*1)
	ADDQ $8, DI
	ADDQ R8, SI
	JMP  rows2

done:
	VZEROUPPER
	RET

// FOLD packs the sums of the halves of a and b: a's into the low half of a,
// b's into the high half. LANES does the same with quarters of two such pairs.
#define FOLD(a, b, t) \
	VSHUFI32X4 $0xee, b, a, t \
	VSHUFI32X4 $0x44, b, a, a \
	VPADDD     t, a, a

#define LANES(a, b, t) \
	VSHUFI32X4 $0xdd, b, a, t \
	VSHUFI32X4 $0x88, b, a, a \
	VPADDD     t, a, a

// func dotsAVX512(dst []int32, w []byte, x []int8)
//
// DI dst, CX rows left, SI row, DX x, R8 cols, R9, R10, R11: 3, 5, 7 times cols
TEXT ·dotsAVX512(SB), NOSPLIT, $0-72
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ w_base+24(FP), SI
	MOVQ x_base+48(FP), DX
	MOVQ x_len+56(FP), R8
	LEAQ (R8)(R8*2), R9
	LEAQ (R8)(R8*4), R10
	LEAQ (R9)(R8*4), R11
	VMOVDQU32 gather8<>(SB), Y31

rows8:
	SUBQ $8, CX
	JL   tail
	ZERO8
	XORL BX, BX

cols8:
	CMPQ BX, R8
	JGE  sum8
	VMOVDQU64 (DX)(BX*1), Z16
	VMOVDQU64 (SI), Z8
	VMOVDQU64 (SI)(R8*1), Z9
	VMOVDQU64 (SI)(R8*2), Z10
	VMOVDQU64 (SI)(R9*1), Z11
	VMOVDQU64 (SI)(R8*4), Z12
	VMOVDQU64 (SI)(R10*1), Z13
	VMOVDQU64 (SI)(R9*2), Z14
	VMOVDQU64 (SI)(R11*1), Z15
	VPDPBUSD Z16, Z8, Z0
	VPDPBUSD Z16, Z9, Z1
	VPDPBUSD Z16, Z10, Z2
	VPDPBUSD Z16, Z11, Z3
	VPDPBUSD Z16, Z12, Z4
	VPDPBUSD Z16, Z13, Z5
	VPDPBUSD Z16, Z14, Z6
	VPDPBUSD Z16, Z15, Z7
	ADDQ $64, SI
	ADDQ $64, BX
	JMP  cols8

sum8:
	FOLD(Z0, Z1, Z8)
	FOLD(Z2, Z3, Z9)
	FOLD(Z4, Z5, Z10)
	FOLD(Z6, Z7, Z11)
	LANES(Z0, Z2, Z8) // rows 0 to 3, one per lane
	LANES(Z4, Z6, Z9) // rows 4 to 7
	VPUNPCKLDQ Z4, Z0, Z1
	VPUNPCKHDQ Z4, Z0, Z2
	VPADDD Z2, Z1, Z0
	VPSHUFD $0x4e, Z0, Z1
	VPADDD Z1, Z0, Z0
	VPERMD Z0, Z31, Z0
	VMOVDQU Y0, (DI)
	ADDQ $32, DI
	ADDQ R11, SI // SI stands one row on
	JMP  rows8

tail:
	ADDQ $8, CX

rows1:
	SUBQ $1, CX
	JL   done
	VPXORD Z0, Z0, Z0
	XORL BX, BX

cols1:
	CMPQ BX, R8
	JGE  sum1
	VMOVDQU64 (SI), Z8
	VPDPBUSD (DX)(BX*1), Z8, Z0
	ADDQ $64, SI
	ADDQ $64, BX
	JMP  cols1

sum1:
	VEXTRACTI64X4 $1, Z0, Y1
	VPADDD Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VPHADDD X0, X0, X0
	VPHADDD X0, X0, X0
	VMOVD X0, (DI)
	ADDQ $4, DI
	JMP  rows1

done:
	VZEROUPPER
	RET

// PAIRS interleaves 32-bit elements of a and b: a gets the low ones of each
// 128-bit lane, t the high ones.
#define PAIRS(a, b, t) \
	VPUNPCKHDQ b, a, t \
	VPUNPCKLDQ b, a, a

// FOURROWS loads 64 columns of 4 rows and transposes them within each 128-bit
// lane: then lane l of vector k holds columns 16*l+4*k to 16*l+4*k+3 of the rows,
// for k = 0 to 3 in a, b, c, d.
#define FOURROWS(p, a, b, c, d, s, t) \
	VMOVDQU64 (p), a          \
	VMOVDQU64 (p)(R12*1), b   \
	VMOVDQU64 (p)(R12*2), c   \
	VMOVDQU64 (p)(R13*1), d   \
	PAIRS(a, b, s)            \
	PAIRS(c, d, t)            \
	VPUNPCKHQDQ c, a, b       \
	VPUNPCKLQDQ c, a, a       \
	VPUNPCKLQDQ t, s, c       \
	VPUNPCKHQDQ t, s, d

// STORELANES collects each lane of a, b, c and d, 4 rows each, and stores it: the
// columns of lane l belong at o + 512*l.
#define STORELANES(o, a, b, c, d) \
	VSHUFI32X4 $0x44, b, a, Z16   \
	VSHUFI32X4 $0xee, b, a, Z17   \
	VSHUFI32X4 $0x44, d, c, Z18   \
	VSHUFI32X4 $0xee, d, c, Z19   \
	VSHUFI32X4 $0x88, Z18, Z16, Z20 \
	VSHUFI32X4 $0xdd, Z18, Z16, Z21 \
	VSHUFI32X4 $0x88, Z19, Z17, Z22 \
	VSHUFI32X4 $0xdd, Z19, Z17, Z23 \
	VMOVDQU64  Z20, (o)(DI)       \
	VMOVDQU64  Z21, (o+512)(DI)   \
	VMOVDQU64  Z22, (o+1024)(DI)  \
	VMOVDQU64  Z23, (o+1536)(DI)

// func packAVX512(dst, w *byte, cols, ld int)
//
// Transposes 16 rows of w in units of 4 columns: the vector of columns 4*k to
// 4*k+3, one row per 32-bit lane, goes to dst + 128*k, so that two calls
// interleave 32 rows. cols is a multiple of 64.
// R8 to R11 rows 0, 4, 8 and 12, R12 and R13: 1 and 3 times ld
TEXT ·packAVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), R8
	MOVQ cols+16(FP), CX
	MOVQ ld+24(FP), R12
	LEAQ (R12)(R12*2), R13
	LEAQ (R8)(R12*4), R9
	LEAQ (R9)(R12*4), R10
	LEAQ (R10)(R12*4), R11

loop:
	FOURROWS(R8, Z0, Z1, Z2, Z3, Z16, Z17)
	FOURROWS(R9, Z4, Z5, Z6, Z7, Z18, Z19)
	FOURROWS(R10, Z8, Z9, Z10, Z11, Z20, Z21)
	FOURROWS(R11, Z12, Z13, Z14, Z15, Z22, Z23)
	STORELANES(0, Z0, Z4, Z8, Z12)
	STORELANES(128, Z1, Z5, Z9, Z13)
	STORELANES(256, Z2, Z6, Z10, Z14)
	STORELANES(384, Z3, Z7, Z11, Z15)
	ADDQ $2048, DI
	ADDQ $64, R8
	ADDQ $64, R9
	ADDQ $64, R10
	ADDQ $64, R11
	SUBQ $64, CX
	JNZ  loop
	VZEROUPPER
	RET

// PHASE does what TOKEN does for columns off to off+3 of a lone token; four phases have sums of
// their own, to hide the latency.
#define PHASE(off, lo, hi) \
	VMOVDQU64     (2*16*off)(AX), Z30    \
	VMOVDQU64     (2*16*off+64)(AX), Z31 \
	VPDPBUSD.BCST off(R13), Z30, lo      \
	VPDPBUSD.BCST off(R13), Z31, hi

// PUT stores 32 rows of one token and steps to the next; PLUS first adds what
// is there.
#define PUT(lo, hi) \
	VMOVDQU32 lo, (BX)   \
	VMOVDQU32 hi, 64(BX) \
	ADDQ      R9, BX

#define PLUS(lo, hi) \
	VPADDD (BX), lo, lo   \
	VPADDD 64(BX), hi, hi \
	ADDQ   R9, BX

// func tileAVX512(dst *int32, pack *byte, x *int8, cols, n, ldd, ldx, sum int)
//
// 32 packed rows times n tokens: eight at a time, then four, then one. If sum is not 0 the products
// are added to dst.
// DI dst, SI pack, DX x, R9 4*ldd, R10, R11, R12, R15: 1, 3, 5, 7 times ldx
// AX cursor in pack, R13 in x, BX in dst, R8 columns left, CX tokens left
TEXT ·tileAVX512(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), DI
	MOVQ pack+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ n+32(FP), CX
	MOVQ ldd+40(FP), R9
	MOVQ ldx+48(FP), R10
	SHLQ $2, R9
	LEAQ (R10)(R10*2), R11
	LEAQ (R10)(R10*4), R12
	LEAQ (R11)(R10*4), R15

tokens8:
	SUBQ $8, CX
	JL   tail
	ZERO16
	MOVQ SI, AX
	MOVQ DX, R13
	MOVQ cols+24(FP), R8

cols8:
	TOKENS8
	ADDQ $128, AX
	ADDQ $4, R13
	SUBQ $4, R8
	JNZ  cols8

	CMPQ sum+56(FP), $0
	JEQ  put8
	MOVQ DI, BX
	PLUS(Z0, Z1)
	PLUS(Z2, Z3)
	PLUS(Z4, Z5)
	PLUS(Z6, Z7)
	PLUS(Z8, Z9)
	PLUS(Z10, Z11)
	PLUS(Z12, Z13)
	PLUS(Z14, Z15)

put8:
	MOVQ DI, BX
	PUT(Z0, Z1)
	PUT(Z2, Z3)
	PUT(Z4, Z5)
	PUT(Z6, Z7)
	PUT(Z8, Z9)
	PUT(Z10, Z11)
	PUT(Z12, Z13)
	PUT(Z14, Z15)
	MOVQ BX, DI
	LEAQ (DX)(R10*8), DX
	JMP  tokens8

tail:
	ADDQ $4, CX // tokens left, less 4
	JL   tail4
	ZERO8
	MOVQ SI, AX
	MOVQ DX, R13
	MOVQ cols+24(FP), R8

cols4:
	TOKENS4
	ADDQ $128, AX
	ADDQ $4, R13
	SUBQ $4, R8
	JNZ  cols4

	CMPQ sum+56(FP), $0
	JEQ  put4
	MOVQ DI, BX
	PLUS(Z0, Z1)
	PLUS(Z2, Z3)
	PLUS(Z4, Z5)
	PLUS(Z6, Z7)

put4:
	MOVQ DI, BX
	PUT(Z0, Z1)
	PUT(Z2, Z3)
	PUT(Z4, Z5)
	PUT(Z6, Z7)
	MOVQ BX, DI
	LEAQ (DX)(R10*4), DX
	SUBQ $4, CX

tail4:
	ADDQ $4, CX

tokens1:
	SUBQ $1, CX
	JL   done
	ZERO8
	MOVQ SI, AX
	MOVQ DX, R13
	MOVQ cols+24(FP), R8

cols1:
	PHASE(0, Z0, Z1)
	PHASE(4, Z2, Z3)
	PHASE(8, Z4, Z5)
	PHASE(12, Z6, Z7)
	ADDQ $512, AX
	ADDQ $16, R13
	SUBQ $16, R8
	JNZ  cols1

	VPADDD Z2, Z0, Z0
	VPADDD Z3, Z1, Z1
	VPADDD Z6, Z4, Z4
	VPADDD Z7, Z5, Z5
	VPADDD Z4, Z0, Z0
	VPADDD Z5, Z1, Z1
	CMPQ sum+56(FP), $0
	JEQ  put1
	MOVQ DI, BX
	PLUS(Z0, Z1)

put1:
	MOVQ DI, BX
	PUT(Z0, Z1)
	MOVQ BX, DI
	ADDQ R10, DX
	JMP  tokens1

done:
	VZEROUPPER
	RET
