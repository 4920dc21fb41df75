//go:build !purego

#include "textflag.h"
#include "gemm8_amd64.h"

// Int8 products that go to the results without a detour through memory.

// FINISH adds 32 rows of one token to y, at BX, as Sums.AddTo does, and steps to the
// next: Z24 offset of the weights, Z26 and Z27 row scales, AX sum and R13 scale of
// the activations, K1 lanes of y that count.
#define FINISH(lo, hi) \
	VPBROADCASTD (AX), Z16      \
	VPMULLD      Z24, Z16, Z16  \
	VBROADCASTSS (R13), Z17     \
	VPSUBD       Z16, lo, lo    \
	VPSUBD       Z16, hi, hi    \
	VCVTDQ2PS    lo, lo         \
	VCVTDQ2PS    hi, hi         \
	VMOVUPS.Z    (BX), K1, Z18  \
	VMOVUPS.Z    64(BX), K1, Z19 \
	VMULPS       Z17, lo, lo    \
	VMULPS       Z17, hi, hi    \
	VADDPS       lo, Z18, lo    \
	VADDPS       hi, Z19, hi    \
	VMULPS       Z26, lo, lo    \
	VMULPS       Z27, hi, hi    \
	VMOVUPS      lo, (BX)       \
	VMOVUPS      hi, 64(BX)     \
	ADDQ         R14, AX        \
	ADDQ         R14, R13       \
	ADDQ         R9, BX

// AHEAD fetches 32 rows of one token of y and steps to the next.
#define AHEAD \
	PREFETCHT0 (BX)   \
	PREFETCHT0 64(BX) \
	ADDQ       R9, BX

// Fields of Sums.
#define ZERO  40
#define SUM   48
#define SCALE 72
#define LD    96
#define FIRST 104
#define ROW   112

DATA one<>+0(SB)/4, $0x3f800000
GLOBL one<>(SB), RODATA|NOPTR, $4

// func tileSumsAVX512(s *Sums, y *float32, pack *byte, x *int8, row, cols, n, ldy, ldx int)
//
// 32 packed rows, from row on, times n tokens, a multiple of 8; y is that of the row.
// DI y, SI pack, DX x, CX tokens left, R9 4*ldy, R10, R11, R12, R15: 1, 3, 5, 7 times
// ldx, R14 4*Ld; row is overwritten by the place of the activations' sum, cols+40(FP)
// stays, s by that of their scale.
// AX cursor in pack, R13 in x, BX in y, R8 columns left
TEXT ·tileSumsAVX512(SB), NOSPLIT, $0-72
	MOVQ s+0(FP), AX
	MOVQ y+8(FP), DI
	MOVQ pack+16(FP), SI
	MOVQ x+24(FP), DX
	MOVQ n+48(FP), CX
	MOVQ ldy+56(FP), R9
	MOVQ ldx+64(FP), R10
	SHLQ $2, R9
	LEAQ (R10)(R10*2), R11
	LEAQ (R10)(R10*4), R12
	LEAQ (R11)(R10*4), R15
	VPBROADCASTD ZERO(AX), Z24
	VBROADCASTSS one<>(SB), Z26
	VMOVAPS Z26, Z27
	MOVQ ROW(AX), BX
	TESTQ BX, BX
	JZ   unscaled
	MOVQ row+32(FP), R8
	VMOVUPS (BX)(R8*4), Z26
	VMOVUPS 64(BX)(R8*4), Z27

unscaled:
	KXNORW K1, K1, K1
	CMPB FIRST(AX), $0
	JEQ  added
	KXORW K1, K1, K1

added:
	MOVQ LD(AX), R14
	SHLQ $2, R14
	MOVQ SUM(AX), BX
	MOVQ BX, row+32(FP)
	MOVQ SCALE(AX), BX
	MOVQ BX, s+0(FP)

tokens:
	SUBQ $8, CX
	JL   done
	MOVQ DI, BX
	AHEAD
	AHEAD
	AHEAD
	AHEAD
	AHEAD
	AHEAD
	AHEAD
	AHEAD
	ZERO16
	MOVQ SI, AX
	MOVQ DX, R13
	MOVQ cols+40(FP), R8

cols:
	TOKENS8
	ADDQ $128, AX
	ADDQ $4, R13
	SUBQ $4, R8
	JNZ  cols

	MOVQ DI, BX
	MOVQ row+32(FP), AX
	MOVQ s+0(FP), R13
	FINISH(Z0, Z1)
	FINISH(Z2, Z3)
	FINISH(Z4, Z5)
	FINISH(Z6, Z7)
	FINISH(Z8, Z9)
	FINISH(Z10, Z11)
	FINISH(Z12, Z13)
	FINISH(Z14, Z15)
	MOVQ AX, row+32(FP)
	MOVQ R13, s+0(FP)
	MOVQ BX, DI
	LEAQ (DX)(R10*8), DX
	JMP  tokens

done:
	VZEROUPPER
	RET
