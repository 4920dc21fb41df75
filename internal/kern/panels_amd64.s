//go:build !purego

#include "textflag.h"

// Products of a matrix in panels of 64 rows (panels.go). An element is 32 bits: a
// float32, or two numbers in bfloat16. Every output is summed in a lane of its own, in
// the order of the elements, and then stored or added to what is there.
//
// The assembler does not know VDPBF16PS, so it is spelled out: DPBF16 adds to Z(8h+a)
// the products of the pairs of Z(16+m) and Z(20+v).
#define DPBF16(p0, p1, modrm) BYTE $0x62; BYTE $p0; BYTE $p1; BYTE $0x40; BYTE $0x52; BYTE $modrm

// STEP takes one element of 4 vectors and of 64 rows.
#define STEPF32 \
	VFMADD231PS Z16, Z20, Z0 \
	VFMADD231PS Z16, Z21, Z1 \
	VFMADD231PS Z16, Z22, Z2 \
	VFMADD231PS Z16, Z23, Z3 \
	VFMADD231PS Z17, Z20, Z4 \
	VFMADD231PS Z17, Z21, Z5 \
	VFMADD231PS Z17, Z22, Z6 \
	VFMADD231PS Z17, Z23, Z7 \
	VFMADD231PS Z18, Z20, Z8 \
	VFMADD231PS Z18, Z21, Z9 \
	VFMADD231PS Z18, Z22, Z10 \
	VFMADD231PS Z18, Z23, Z11 \
	VFMADD231PS Z19, Z20, Z12 \
	VFMADD231PS Z19, Z21, Z13 \
	VFMADD231PS Z19, Z22, Z14 \
	VFMADD231PS Z19, Z23, Z15

#define STEPBF16 \
	DPBF16(0xB2, 0x5E, 0xC0) \
	DPBF16(0xB2, 0x56, 0xC8) \
	DPBF16(0xB2, 0x4E, 0xD0) \
	DPBF16(0xB2, 0x46, 0xD8) \
	DPBF16(0xB2, 0x5E, 0xE1) \
	DPBF16(0xB2, 0x56, 0xE9) \
	DPBF16(0xB2, 0x4E, 0xF1) \
	DPBF16(0xB2, 0x46, 0xF9) \
	DPBF16(0x32, 0x5E, 0xC2) \
	DPBF16(0x32, 0x56, 0xCA) \
	DPBF16(0x32, 0x4E, 0xD2) \
	DPBF16(0x32, 0x46, 0xDA) \
	DPBF16(0x32, 0x5E, 0xE3) \
	DPBF16(0x32, 0x56, 0xEB) \
	DPBF16(0x32, 0x4E, 0xF3) \
	DPBF16(0x32, 0x46, 0xFB)

// LASTF32 and LASTBF16 are for one vector.
#define LASTF32 \
	VFMADD231PS Z16, Z20, Z0 \
	VFMADD231PS Z16, Z21, Z1 \
	VFMADD231PS Z16, Z22, Z2 \
	VFMADD231PS Z16, Z23, Z3

#define LASTBF16 \
	DPBF16(0xB2, 0x5E, 0xC0) \
	DPBF16(0xB2, 0x56, 0xC8) \
	DPBF16(0xB2, 0x4E, 0xD0) \
	DPBF16(0xB2, 0x46, 0xD8)

// ADDROW adds 64 outputs, as far as there are rows, and STOREROW stores them.
#define ADDROW(p, a, b, c, d) \
	VADDPS (p), a, K1, a    \
	VADDPS 64(p), b, K2, b  \
	VADDPS 128(p), c, K3, c \
	VADDPS 192(p), d, K4, d

#define STOREROW(p, a, b, c, d) \
	VMOVUPS a, K1, (p)    \
	VMOVUPS b, K2, 64(p)  \
	VMOVUPS c, K3, 128(p) \
	VMOVUPS d, K4, 192(p)

#define CLEARROW(a, b, c, d) \
	VPXORD a, a, a \
	VPXORD b, b, b \
	VPXORD c, c, c \
	VPXORD d, d, d

#define LOADPANEL \
	VMOVUPS (SI), Z20    \
	VMOVUPS 64(SI), Z21  \
	VMOVUPS 128(SI), Z22 \
	VMOVUPS 192(SI), Z23 \
	ADDQ    $256, SI

// PANEL is the body of both products.
// DI dst, DX x, CX vectors left, R8 steps, R9, R11 1 and 3 times the bytes between
// vectors, R10 those between elements, R12 those between outputs, R14 whether to add,
// SI panel, AX x, BX steps left, R13 cursor in dst
#define PANEL(STEP, LAST) \
	MOVQ  dst+0(FP), DI    \
	MOVQ  x+16(FP), DX     \
	MOVQ  n+24(FP), CX     \
	MOVQ  steps+32(FP), R8 \
	MOVQ  row+40(FP), R9   \
	MOVQ  step+48(FP), R10 \
	MOVQ  ldd+56(FP), R12  \
	MOVQ  mask+64(FP), AX  \
	KMOVW AX, K1           \
	SHRQ  $16, AX          \
	KMOVW AX, K2           \
	SHRQ  $16, AX          \
	KMOVW AX, K3           \
	SHRQ  $16, AX          \
	KMOVW AX, K4           \
	MOVBLZX add+72(FP), R14 \
	SHLQ  $2, R9           \
	SHLQ  $2, R10          \
	SHLQ  $2, R12          \
	LEAQ  (R9)(R9*2), R11  \
fours:                   \
	SUBQ  $4, CX           \
	JL    ones             \
	CLEARROW(Z0, Z1, Z2, Z3) \
	CLEARROW(Z4, Z5, Z6, Z7) \
	CLEARROW(Z8, Z9, Z10, Z11) \
	CLEARROW(Z12, Z13, Z14, Z15) \
	MOVQ  panel+8(FP), SI  \
	MOVQ  DX, AX           \
	MOVQ  R8, BX           \
steps4:                  \
	VBROADCASTSS (AX), Z16 \
	VBROADCASTSS (AX)(R9*1), Z17 \
	VBROADCASTSS (AX)(R9*2), Z18 \
	VBROADCASTSS (AX)(R11*1), Z19 \
	LOADPANEL              \
	STEP                   \
	ADDQ  R10, AX          \
	DECQ  BX               \
	JNZ   steps4           \
	TESTQ R14, R14         \
	JZ    store4           \
	MOVQ  DI, R13          \
	ADDROW(R13, Z0, Z1, Z2, Z3) \
	ADDQ  R12, R13         \
	ADDROW(R13, Z4, Z5, Z6, Z7) \
	ADDQ  R12, R13         \
	ADDROW(R13, Z8, Z9, Z10, Z11) \
	ADDQ  R12, R13         \
	ADDROW(R13, Z12, Z13, Z14, Z15) \
store4:                  \
	STOREROW(DI, Z0, Z1, Z2, Z3) \
	ADDQ  R12, DI          \
	STOREROW(DI, Z4, Z5, Z6, Z7) \
	ADDQ  R12, DI          \
	STOREROW(DI, Z8, Z9, Z10, Z11) \
	ADDQ  R12, DI          \
	STOREROW(DI, Z12, Z13, Z14, Z15) \
	ADDQ  R12, DI          \
	LEAQ  (DX)(R9*4), DX   \
	JMP   fours            \
ones:                    \
	ADDQ  $4, CX           \
one:                     \
	SUBQ  $1, CX           \
	JL    done             \
	CLEARROW(Z0, Z1, Z2, Z3) \
	MOVQ  panel+8(FP), SI  \
	MOVQ  DX, AX           \
	MOVQ  R8, BX           \
steps1:                  \
	VBROADCASTSS (AX), Z16 \
	LOADPANEL              \
	LAST                   \
	ADDQ  R10, AX          \
	DECQ  BX               \
	JNZ   steps1           \
	TESTQ R14, R14         \
	JZ    store1           \
	ADDROW(DI, Z0, Z1, Z2, Z3) \
store1:                  \
	STOREROW(DI, Z0, Z1, Z2, Z3) \
	ADDQ  R12, DI          \
	ADDQ  R9, DX           \
	JMP   one              \
done:                    \
	VZEROUPPER             \
	RET

// func panelF32AVX512(dst, panel, x *float32, n, steps, row, step, ldd int, mask uint64, add bool)
//
// n and steps are not 0.
TEXT ·panelF32AVX512(SB), NOSPLIT, $0-73
	PANEL(STEPF32, LASTF32)

// func panelBF16AVX512(dst, panel, x *float32, n, steps, row, step, ldd int, mask uint64, add bool)
//
// n and steps are not 0.
TEXT ·panelBF16AVX512(SB), NOSPLIT, $0-73
	PANEL(STEPBF16, LASTBF16)

// TURN transposes Z0 to Z15, 16 x 16 elements.
#define TURN \
	VUNPCKLPS Z1, Z0, Z16 \
	VUNPCKHPS Z1, Z0, Z17 \
	VUNPCKLPS Z3, Z2, Z18 \
	VUNPCKHPS Z3, Z2, Z19 \
	VUNPCKLPS Z5, Z4, Z20 \
	VUNPCKHPS Z5, Z4, Z21 \
	VUNPCKLPS Z7, Z6, Z22 \
	VUNPCKHPS Z7, Z6, Z23 \
	VUNPCKLPS Z9, Z8, Z24 \
	VUNPCKHPS Z9, Z8, Z25 \
	VUNPCKLPS Z11, Z10, Z26 \
	VUNPCKHPS Z11, Z10, Z27 \
	VUNPCKLPS Z13, Z12, Z28 \
	VUNPCKHPS Z13, Z12, Z29 \
	VUNPCKLPS Z15, Z14, Z30 \
	VUNPCKHPS Z15, Z14, Z31 \
	VUNPCKLPD Z18, Z16, Z0 \
	VUNPCKHPD Z18, Z16, Z1 \
	VUNPCKLPD Z19, Z17, Z2 \
	VUNPCKHPD Z19, Z17, Z3 \
	VUNPCKLPD Z22, Z20, Z4 \
	VUNPCKHPD Z22, Z20, Z5 \
	VUNPCKLPD Z23, Z21, Z6 \
	VUNPCKHPD Z23, Z21, Z7 \
	VUNPCKLPD Z26, Z24, Z8 \
	VUNPCKHPD Z26, Z24, Z9 \
	VUNPCKLPD Z27, Z25, Z10 \
	VUNPCKHPD Z27, Z25, Z11 \
	VUNPCKLPD Z30, Z28, Z12 \
	VUNPCKHPD Z30, Z28, Z13 \
	VUNPCKLPD Z31, Z29, Z14 \
	VUNPCKHPD Z31, Z29, Z15 \
	VSHUFF32X4 $0x88, Z4, Z0, Z16 \
	VSHUFF32X4 $0xdd, Z4, Z0, Z20 \
	VSHUFF32X4 $0x88, Z12, Z8, Z24 \
	VSHUFF32X4 $0xdd, Z12, Z8, Z28 \
	VSHUFF32X4 $0x88, Z5, Z1, Z17 \
	VSHUFF32X4 $0xdd, Z5, Z1, Z21 \
	VSHUFF32X4 $0x88, Z13, Z9, Z25 \
	VSHUFF32X4 $0xdd, Z13, Z9, Z29 \
	VSHUFF32X4 $0x88, Z6, Z2, Z18 \
	VSHUFF32X4 $0xdd, Z6, Z2, Z22 \
	VSHUFF32X4 $0x88, Z14, Z10, Z26 \
	VSHUFF32X4 $0xdd, Z14, Z10, Z30 \
	VSHUFF32X4 $0x88, Z7, Z3, Z19 \
	VSHUFF32X4 $0xdd, Z7, Z3, Z23 \
	VSHUFF32X4 $0x88, Z15, Z11, Z27 \
	VSHUFF32X4 $0xdd, Z15, Z11, Z31 \
	VSHUFF32X4 $0x88, Z24, Z16, Z0 \
	VSHUFF32X4 $0xdd, Z24, Z16, Z8 \
	VSHUFF32X4 $0x88, Z28, Z20, Z4 \
	VSHUFF32X4 $0xdd, Z28, Z20, Z12 \
	VSHUFF32X4 $0x88, Z25, Z17, Z1 \
	VSHUFF32X4 $0xdd, Z25, Z17, Z9 \
	VSHUFF32X4 $0x88, Z29, Z21, Z5 \
	VSHUFF32X4 $0xdd, Z29, Z21, Z13 \
	VSHUFF32X4 $0x88, Z26, Z18, Z2 \
	VSHUFF32X4 $0xdd, Z26, Z18, Z10 \
	VSHUFF32X4 $0x88, Z30, Z22, Z6 \
	VSHUFF32X4 $0xdd, Z30, Z22, Z14 \
	VSHUFF32X4 $0x88, Z27, Z19, Z3 \
	VSHUFF32X4 $0xdd, Z27, Z19, Z11 \
	VSHUFF32X4 $0x88, Z31, Z23, Z7 \
	VSHUFF32X4 $0xdd, Z31, Z23, Z15

// STORECOLUMNS stores Z0 to Z15 256 bytes apart.
#define STORECOLUMNS \
	VMOVUPS Z0, 0(DI) \
	VMOVUPS Z1, 256(DI) \
	VMOVUPS Z2, 512(DI) \
	VMOVUPS Z3, 768(DI) \
	VMOVUPS Z4, 1024(DI) \
	VMOVUPS Z5, 1280(DI) \
	VMOVUPS Z6, 1536(DI) \
	VMOVUPS Z7, 1792(DI) \
	VMOVUPS Z8, 2048(DI) \
	VMOVUPS Z9, 2304(DI) \
	VMOVUPS Z10, 2560(DI) \
	VMOVUPS Z11, 2816(DI) \
	VMOVUPS Z12, 3072(DI) \
	VMOVUPS Z13, 3328(DI) \
	VMOVUPS Z14, 3584(DI) \
	VMOVUPS Z15, 3840(DI)

// LOADF32 loads 16 elements of a row.
#define LOADF32(z) \
	VMOVUPS.Z (AX), K1, z \
	ADDQ R9, AX

// LOADBF16 loads 32 numbers of a row, rounded to 16 elements.
#define LOADBF16(z, t) \
	VMOVDQU32.Z (AX), K1, z   \
	VMOVDQU32.Z 64(AX), K2, t \
	VPADDD   Z30, z, z        \
	VPADDD   Z30, t, t        \
	VPERMT2W t, Z31, z        \
	ADDQ     R9, AX

// func packF32AVX512(dst, w *float32, cols, ld int)
//
// 16 rows of a panel. cols is not 0; whole blocks of 16 elements are stored.
// DI dst, SI row, CX cols left, R9 bytes of ld, AX cursor
TEXT ·packF32AVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ cols+16(FP), CX
	MOVQ ld+24(FP), R9
	SHLQ $2, R9

block:
	MOVQ  $-1, DX
	CMPQ  CX, $16
	JGE   whole
	MOVQ  $1, DX
	SHLQ  CX, DX
	DECQ  DX

whole:
	KMOVW DX, K1
	MOVQ  SI, AX
	LOADF32(Z0)
	LOADF32(Z1)
	LOADF32(Z2)
	LOADF32(Z3)
	LOADF32(Z4)
	LOADF32(Z5)
	LOADF32(Z6)
	LOADF32(Z7)
	LOADF32(Z8)
	LOADF32(Z9)
	LOADF32(Z10)
	LOADF32(Z11)
	LOADF32(Z12)
	LOADF32(Z13)
	LOADF32(Z14)
	LOADF32(Z15)
	TURN
	STORECOLUMNS
	ADDQ $4096, DI
	ADDQ $64, SI
	SUBQ $16, CX
	JG   block
	VZEROUPPER
	RET

// func packBF16AVX512(dst, w *float32, cols, ld int)
//
// 16 rows of a panel. cols is not 0; whole blocks of 16 elements are stored.
// DI dst, SI row, CX cols left, R9 bytes of ld, AX cursor
TEXT ·packBF16AVX512(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ cols+16(FP), CX
	MOVQ ld+24(FP), R9
	SHLQ $2, R9


block:
	MOVQ  $-1, DX
	CMPQ  CX, $32
	JGE   whole
	MOVQ  $1, DX
	SHLQ  CX, DX
	DECQ  DX

whole:
	KMOVW DX, K1
	SHRQ  $16, DX
	KMOVW DX, K2
	VPBROADCASTD halfBF16<>(SB), Z30
	VMOVDQU32 highs<>(SB), Z31
	MOVQ  SI, AX
	LOADBF16(Z0, Z16)
	LOADBF16(Z1, Z17)
	LOADBF16(Z2, Z18)
	LOADBF16(Z3, Z19)
	LOADBF16(Z4, Z20)
	LOADBF16(Z5, Z21)
	LOADBF16(Z6, Z22)
	LOADBF16(Z7, Z23)
	LOADBF16(Z8, Z16)
	LOADBF16(Z9, Z17)
	LOADBF16(Z10, Z18)
	LOADBF16(Z11, Z19)
	LOADBF16(Z12, Z20)
	LOADBF16(Z13, Z21)
	LOADBF16(Z14, Z22)
	LOADBF16(Z15, Z23)
	TURN
	STORECOLUMNS
	ADDQ $4096, DI
	ADDQ $128, SI
	SUBQ $32, CX
	JG   block
	VZEROUPPER
	RET

// JOIN makes elements of numbers that follow each other in a column: a first.
// Z30 holds the halves that are added before the low bits are cut off.
#define JOIN(a, b) \
	VPADDD Z30, a, a   \
	VPADDD Z30, b, b   \
	VPSRLD $16, a, a   \
	VPANDD Z31, b, b   \
	VPORD  a, b, b

// func joinBF16AVX512(dst, w *float32, rows, ld int, mask uint64)
//
// A panel whose rows are columns of w: elements are made of two of its rows, the
// last with zeros if there is no second. rows is not 0.
// DI dst, SI row, CX rows left, R9 bytes of ld
TEXT ·joinBF16AVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ rows+16(FP), CX
	MOVQ ld+24(FP), R9
	MOVQ mask+32(FP), AX
	KMOVW AX, K1
	SHRQ  $16, AX
	KMOVW AX, K2
	SHRQ  $16, AX
	KMOVW AX, K3
	SHRQ  $16, AX
	KMOVW AX, K4
	SHLQ  $2, R9
	VPBROADCASTD halfBF16<>(SB), Z30
	VPBROADCASTD highBF16<>(SB), Z31

rows2:
	VMOVDQU32.Z (SI), K1, Z0
	VMOVDQU32.Z 64(SI), K2, Z1
	VMOVDQU32.Z 128(SI), K3, Z2
	VMOVDQU32.Z 192(SI), K4, Z3
	ADDQ R9, SI
	CMPQ CX, $1
	JEQ  odd
	VMOVDQU32.Z (SI), K1, Z4
	VMOVDQU32.Z 64(SI), K2, Z5
	VMOVDQU32.Z 128(SI), K3, Z6
	VMOVDQU32.Z 192(SI), K4, Z7
	ADDQ R9, SI
	JMP  join

odd:
	CLEARROW(Z4, Z5, Z6, Z7)

join:
	JOIN(Z0, Z4)
	JOIN(Z1, Z5)
	JOIN(Z2, Z6)
	JOIN(Z3, Z7)
	VMOVDQU32 Z4, (DI)
	VMOVDQU32 Z5, 64(DI)
	VMOVDQU32 Z6, 128(DI)
	VMOVDQU32 Z7, 192(DI)
	ADDQ $256, DI
	SUBQ $2, CX
	JG   rows2
	VZEROUPPER
	RET

// func roundBF16AVX512(dst, x *float32, n int)
//
// Numbers to elements, the last with zero if it has no second. n is not 0.
// DI dst, SI x, CX numbers left
TEXT ·roundBF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VPBROADCASTD halfBF16<>(SB), Z30
	VMOVDQU32 highs<>(SB), Z31
	MOVL  $-1, DX
	KMOVW DX, K1
	KMOVW DX, K2
	KMOVW DX, K3

block:
	CMPQ  CX, $32
	JGE   whole
	MOVQ  $1, DX
	SHLQ  CX, DX
	DECQ  DX
	KMOVW DX, K1
	SHRQ  $16, DX
	KMOVW DX, K2
	INCQ  CX
	SHRQ  $1, CX // elements
	MOVQ  $1, DX
	SHLQ  CX, DX
	DECQ  DX
	KMOVW DX, K3
	XORL  CX, CX

whole:
	VMOVDQU32.Z (SI), K1, Z0
	VMOVDQU32.Z 64(SI), K2, Z1
	VPADDD    Z30, Z0, Z0
	VPADDD    Z30, Z1, Z1
	VPERMT2W  Z1, Z31, Z0
	VMOVDQU32 Z0, K3, (DI)
	ADDQ $64, DI
	ADDQ $128, SI
	SUBQ $32, CX
	JG   block
	VZEROUPPER
	RET

DATA halfBF16<>+0(SB)/4, $0x8000
GLOBL halfBF16<>(SB), RODATA|NOPTR, $4

DATA highBF16<>+0(SB)/4, $0xffff0000
GLOBL highBF16<>(SB), RODATA|NOPTR, $4

// highs takes the high words of 32 numbers in two registers.
DATA highs<>+0(SB)/4, $0x00030001
DATA highs<>+4(SB)/4, $0x00070005
DATA highs<>+8(SB)/4, $0x000b0009
DATA highs<>+12(SB)/4, $0x000f000d
DATA highs<>+16(SB)/4, $0x00130011
DATA highs<>+20(SB)/4, $0x00170015
DATA highs<>+24(SB)/4, $0x001b0019
DATA highs<>+28(SB)/4, $0x001f001d
DATA highs<>+32(SB)/4, $0x00230021
DATA highs<>+36(SB)/4, $0x00270025
DATA highs<>+40(SB)/4, $0x002b0029
DATA highs<>+44(SB)/4, $0x002f002d
DATA highs<>+48(SB)/4, $0x00330031
DATA highs<>+52(SB)/4, $0x00370035
DATA highs<>+56(SB)/4, $0x003b0039
DATA highs<>+60(SB)/4, $0x003f003d
GLOBL highs<>(SB), RODATA|NOPTR, $64
