//go:build !purego

#include "textflag.h"

// Weights in nibbles and bit planes with trellis states; see Nibbles.
//
// A column's state is one byte: the quantiser in bit 4, the state in bits 3 to 1.
// With a nibble's low bit put into bit 0 it is an index into the step table;
// with the nibble in bits 3 to 0 it is an index into the level table.

#define LEVEL  0
#define STEP   32
#define SHIFT  48
#define UNIT   56
#define PLANES 57

DATA bit2<>+0(SB)/4, $0x04040404
GLOBL bit2<>(SB), RODATA|NOPTR, $4

DATA ones8<>+0(SB)/4, $0x01010101
GLOBL ones8<>(SB), RODATA|NOPTR, $4
DATA low4<>+0(SB)/4, $0x0f0f0f0f
GLOBL low4<>(SB), RODATA|NOPTR, $4
DATA words1<>+0(SB)/4, $0x00010001
GLOBL words1<>(SB), RODATA|NOPTR, $4

#define PAIR 60 // both tables of the paired form

// CONST512 loads tables: R12 is the Nibbles. Z16 bit 2 of every byte, Z18 levels
// of the upper row, Z19 of the lower one, Z21 to Z23 what the planes add.
#define CONST512 \
	VPBROADCASTD bit2<>(SB), Z16   \
	VMOVDQU64    PAIR(R12), Z18    \
	VMOVDQU64    PAIR+64(R12), Z19 \
	VPBROADCASTB UNIT(R12), Z21    \
	VPADDB       Z21, Z21, Z22     \
	VPADDB       Z22, Z22, Z23

// SEED sets the states of a group: x, y, z are q[r-1], q[r], q[r+1] in bit 2.
#define SEED(x, y, z) \
	KMOVQ      (SI), K1      \
	VMOVDQU8.Z Z16, K1, x    \
	KMOVQ      8(SI), K1     \
	VMOVDQU8.Z Z16, K1, y    \
	KMOVQ      16(SI), K1    \
	VMOVDQU8.Z Z16, K1, z    \
	ADDQ       $24, SI

// SEEDS sets those of all groups, R8 in number.
#define SEEDS \
	SEED(Z0, Z1, Z2)  \
	CMPQ R8, $2       \
	JLT  seeded       \
	SEED(Z3, Z4, Z5)  \
	CMPQ R8, $3       \
	JLT  seeded       \
	SEED(Z6, Z7, Z8)  \
	CMPQ R8, $4       \
	JLT  seeded       \
	SEED(Z9, Z10, Z11) \
	seeded:

// NEXT makes the levels of two rows of a group in Z28 and Z27 and moves the states
// on. $0xd8 takes bit 2 from a state and the rest from the byte, $0x96 is the sum
// of three.
#define NEXT(x, y, z) \
	VMOVDQU64  (SI), Z26            \
	VPSRLW     $2, Z26, Z27         \
	VMOVDQA64  Z26, Z28             \
	VPTERNLOGD $0xd8, Z16, y, Z28   \
	VPERMB     Z18, Z28, Z28        \
	VPXORD     z, y, y              \
	VPTERNLOGD $0x96, Z27, y, x     \
	VPTERNLOGD $0xd8, Z16, z, Z27   \
	VPERMB     Z19, Z27, Z27        \
	VPTERNLOGD $0x96, Z26, x, y     \
	VMOVDQA64  z, Z26               \
	VMOVDQA64  y, z                 \
	VMOVDQA64  x, y                 \
	VMOVDQA64  Z26, x

#define PLANE(o, unit, level) \
	KMOVQ  o(SI), K1 \
	VPADDB unit, level, K1, level

#define ROWS0(x, y, z) \
	NEXT(x, y, z) \
	ADDQ $64, SI

#define ROWS1(x, y, z) \
	NEXT(x, y, z)       \
	PLANE(64, Z21, Z28) \
	PLANE(72, Z21, Z27) \
	ADDQ $80, SI

#define ROWS2(x, y, z) \
	NEXT(x, y, z)       \
	PLANE(64, Z21, Z28) \
	PLANE(72, Z22, Z28) \
	PLANE(80, Z21, Z27) \
	PLANE(88, Z22, Z27) \
	ADDQ $96, SI

#define ROWS3(x, y, z) \
	NEXT(x, y, z)        \
	PLANE(64, Z21, Z28)  \
	PLANE(72, Z22, Z28)  \
	PLANE(80, Z23, Z28)  \
	PLANE(88, Z21, Z27)  \
	PLANE(96, Z22, Z27)  \
	PLANE(104, Z23, Z27) \
	ADDQ $112, SI

// HALVES adds the halves of a row's sums. DWORDS and QWORDS then add what is
// next to each other within 128 bits, for two rows at a time.
#define HALVES(o, y) \
	VMOVDQU32 o(R13), y     \
	VPADDD    o+32(R13), y, y

#define DWORDS(a, b, t) \
	VPUNPCKHDQ b, a, t \
	VPUNPCKLDQ b, a, a \
	VPADDD     t, a, a

#define QWORDS(a, b, t) \
	VPUNPCKHQDQ b, a, t \
	VPUNPCKLQDQ b, a, a \
	VPADDD      t, a, a

// DOTS is the body of the dots kernels: eight rows at a time, whose sums wait in
// memory until they are added across lanes together.
// DI dst, SI w, CX rows left, R8 groups, R10 cursor in sums, R11 pairs of the
// eight left, R13 sums, BX rows of the eight
#define DOTS(ROWS) \
	CONST512                       \
	LEAQ sums-576(SP), R13         \
	ADDQ $63, R13                  \
	ANDQ $-64, R13                 \
	VMOVDQU64 (DX), Z12            \
	CMPQ R8, $2                    \
	JLT  seeds                     \
	VMOVDQU64 64(DX), Z13          \
	CMPQ R8, $3                    \
	JLT  seeds                     \
	VMOVDQU64 128(DX), Z14         \
	CMPQ R8, $4                    \
	JLT  seeds                     \
	VMOVDQU64 192(DX), Z15         \
	seeds:                         \
	SEEDS                          \
	eight:                         \
	MOVQ $8, BX                    \
	CMPQ CX, BX                    \
	CMOVQLT CX, BX                 \
	MOVQ R13, R10                  \
	LEAQ 1(BX), R11                \
	SHRQ $1, R11                   \
	pair:                          \
	VPXORD Z24, Z24, Z24           \
	VPXORD Z25, Z25, Z25           \
	ROWS(Z0, Z1, Z2)               \
	VPDPBUSD Z12, Z28, Z24         \
	VPDPBUSD Z12, Z27, Z25         \
	CMPQ R8, $2                    \
	JLT  next                      \
	ROWS(Z3, Z4, Z5)               \
	VPDPBUSD Z13, Z28, Z24         \
	VPDPBUSD Z13, Z27, Z25         \
	CMPQ R8, $3                    \
	JLT  next                      \
	ROWS(Z6, Z7, Z8)               \
	VPDPBUSD Z14, Z28, Z24         \
	VPDPBUSD Z14, Z27, Z25         \
	CMPQ R8, $4                    \
	JLT  next                      \
	ROWS(Z9, Z10, Z11)             \
	VPDPBUSD Z15, Z28, Z24         \
	VPDPBUSD Z15, Z27, Z25         \
	next:                          \
	VMOVDQA64 Z24, (R10)           \
	VMOVDQA64 Z25, 64(R10)         \
	SUBQ $-128, R10                \
	DECQ R11                       \
	JNZ  pair                      \
	HALVES(0, Y24)                 \
	HALVES(64, Y25)                \
	HALVES(128, Y26)               \
	HALVES(192, Y27)               \
	HALVES(256, Y28)               \
	HALVES(320, Y29)               \
	HALVES(384, Y30)               \
	HALVES(448, Y31)               \
	DWORDS(Y24, Y25, Y17)          \
	DWORDS(Y26, Y27, Y17)          \
	DWORDS(Y28, Y29, Y17)          \
	DWORDS(Y30, Y31, Y17)          \
	QWORDS(Y24, Y26, Y17)          \
	QWORDS(Y28, Y30, Y17)          \
	VSHUFI32X4 $3, Y28, Y24, Y17   \
	VSHUFI32X4 $0, Y28, Y24, Y24   \
	VPADDD Y17, Y24, Y17           \
	MOVL $-1, AX                   \
	BZHIL BX, AX, AX               \
	KMOVW AX, K2                   \
	VMOVDQU32 Y17, K2, (DI)        \
	ADDQ $32, DI                   \
	SUBQ BX, CX                    \
	JNZ  eight                     \
	VZEROUPPER

#define ARGSDOTS \
	MOVQ dst+0(FP), DI    \
	MOVQ w+8(FP), SI      \
	MOVQ x+16(FP), DX     \
	MOVQ rows+24(FP), CX  \
	MOVQ groups+32(FP), R8 \
	MOVQ t+40(FP), R12

#define ARGSEXPAND \
	MOVQ dst+0(FP), DI     \
	MOVQ w+8(FP), SI       \
	MOVQ rows+16(FP), CX   \
	MOVQ groups+24(FP), R8 \
	MOVQ t+32(FP), R12

// func dots0AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
TEXT ·dots0AVX512(SB), NOSPLIT, $576-48
	ARGSDOTS
	DOTS(ROWS0)
	RET

// func dots1AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
TEXT ·dots1AVX512(SB), NOSPLIT, $576-48
	ARGSDOTS
	DOTS(ROWS1)
	RET

// func dots2AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
TEXT ·dots2AVX512(SB), NOSPLIT, $576-48
	ARGSDOTS
	DOTS(ROWS2)
	RET

// func dots3AVX512(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
TEXT ·dots3AVX512(SB), NOSPLIT, $576-48
	ARGSDOTS
	DOTS(ROWS3)
	RET

// PUT2 stores the levels of a group in two rows, the second of which may not be
// there.
#define PUT2 \
	VMOVDQU64 Z28, (DI)              \
	VMOVDQU8  Z27, K3, (DI)(R9*1)    \
	ADDQ      $64, DI

// EXPAND is the body of the expand kernels. R9 size of a row, CX rows left, less 2
#define EXPAND(ROWS) \
	CONST512            \
	SEEDS               \
	MOVQ R8, R9         \
	SHLQ $6, R9         \
	MOVQ $-1, AX        \
	KMOVQ AX, K3        \
	pair:               \
	SUBQ $2, CX         \
	JGE  both           \
	KXORQ K3, K3, K3    \
	both:               \
	ROWS(Z0, Z1, Z2)    \
	PUT2                \
	CMPQ R8, $2         \
	JLT  next           \
	ROWS(Z3, Z4, Z5)    \
	PUT2                \
	CMPQ R8, $3         \
	JLT  next           \
	ROWS(Z6, Z7, Z8)    \
	PUT2                \
	CMPQ R8, $4         \
	JLT  next           \
	ROWS(Z9, Z10, Z11)  \
	PUT2                \
	next:               \
	ADDQ R9, DI         \
	CMPQ CX, $0         \
	JGT  pair           \
	VZEROUPPER

// func expand0AVX512(dst, w *byte, rows, groups int, t *Nibbles)
TEXT ·expand0AVX512(SB), NOSPLIT, $0-40
	ARGSEXPAND
	EXPAND(ROWS0)
	RET

// func expand1AVX512(dst, w *byte, rows, groups int, t *Nibbles)
TEXT ·expand1AVX512(SB), NOSPLIT, $0-40
	ARGSEXPAND
	EXPAND(ROWS1)
	RET

// func expand2AVX512(dst, w *byte, rows, groups int, t *Nibbles)
TEXT ·expand2AVX512(SB), NOSPLIT, $0-40
	ARGSEXPAND
	EXPAND(ROWS2)
	RET

// func expand3AVX512(dst, w *byte, rows, groups int, t *Nibbles)
TEXT ·expand3AVX512(SB), NOSPLIT, $0-40
	ARGSEXPAND
	EXPAND(ROWS3)
	RET

// spread gives each of 32 lanes the byte of a plane that holds its bit, bits
// selects that bit.
DATA spread<>+0(SB)/8, $0
DATA spread<>+8(SB)/8, $0x0101010101010101
DATA spread<>+16(SB)/8, $0x0202020202020202
DATA spread<>+24(SB)/8, $0x0303030303030303
GLOBL spread<>(SB), RODATA|NOPTR, $32
DATA bits<>+0(SB)/8, $0x8040201008040201
GLOBL bits<>(SB), RODATA|NOPTR, $8

// CONST256 loads tables: Y4 and Y5 levels of either quantiser, Y6 steps, Y7 low
// nibbles, Y8 ones, X13 shift of the planes, Y14 bits.
#define CONST256 \
	VBROADCASTI128 LEVEL(R12), Y4    \
	VBROADCASTI128 (LEVEL+16)(R12), Y5 \
	VBROADCASTI128 STEP(R12), Y6     \
	VPBROADCASTD   low4<>(SB), Y7    \
	VPBROADCASTD   ones8<>(SB), Y8   \
	VMOVQ          SHIFT(R12), X13   \
	VPBROADCASTQ   bits<>(SB), Y14

// SEED256 sets the states of group BX: lanes 0 to 31 in Y0, the rest in Y1.
#define SEED256 \
	MOVQ    BX, AX          \
	SHLQ    $5, AX          \
	VMOVDQU (SI)(AX*1), Y0  \
	VPSRLW  $4, Y0, Y1      \
	VPAND   Y7, Y0, Y0      \
	VPAND   Y7, Y1, Y1      \
	VPSHUFB Y0, Y6, Y0      \
	VPSHUFB Y1, Y6, Y1

// HALF turns nibbles k into levels and moves states s on. Y11 is lost.
#define HALF(k, s) \
	VPAND     Y8, k, Y11     \
	VPOR      Y11, s, Y11    \
	VPSLLW    $3, s, s       \
	VPSHUFB   k, Y4, Y12     \
	VPSHUFB   k, Y5, k       \
	VPBLENDVB s, k, Y12, k   \
	VPSHUFB   Y11, Y6, s

// PLANE256 adds the bits at o of a plane to twice h.
#define PLANE256(o, h) \
	VPBROADCASTD o, Y12           \
	VPSHUFB spread<>(SB), Y12, Y12 \
	VPAND   Y14, Y12, Y12         \
	VPCMPEQB Y14, Y12, Y12        \
	VPADDB  h, h, h               \
	VPSUBB  Y12, h, h

// NEXT256 makes the levels of the group's row at AX in Y9 and Y10. R10 counts
// planes, R13 is the number of them.
#define NEXT256 \
	VMOVDQU (AX), Y9        \
	VPSRLW  $4, Y9, Y10     \
	VPAND   Y7, Y9, Y9      \
	VPAND   Y7, Y10, Y10    \
	HALF(Y9, Y0)            \
	HALF(Y10, Y1)           \
	MOVQ    R13, R10        \
	TESTQ   R10, R10        \
	JZ      made            \
	VPXOR   Y11, Y11, Y11   \
	VPXOR   Y15, Y15, Y15   \
	plane:                  \
	PLANE256(24(AX)(R10*8), Y11) \
	PLANE256(28(AX)(R10*8), Y15) \
	DECQ    R10             \
	JNZ     plane           \
	VPSLLW  X13, Y11, Y11   \
	VPSLLW  X13, Y15, Y15   \
	VPADDB  Y11, Y9, Y9     \
	VPADDB  Y15, Y10, Y10   \
	made:

// func dotsNibblesAVX2(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
//
// Group by group over up to 8 rows, whose partial sums are in memory.
// DI dst, SI seeds, DX x, CX rows of the 8, R8 groups, R9 row size, R11 size of
// a group in a row, BX group, AX row, R14 cursor in sums, R15 rows left
TEXT ·dotsNibblesAVX2(SB), NOSPLIT, $536-48
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ groups+32(FP), R8
	MOVQ t+40(FP), R12
	CONST256
	MOVBQZX PLANES(R12), R13
	LEAQ 32(R13*8), R11
	MOVQ R11, R9
	IMULQ R8, R9
	MOVQ R8, AX
	SHLQ $5, AX
	ADDQ SI, AX
	MOVQ AX, next-536(SP)

	// States of all groups are kept behind the sums, from one 8 rows to the next.
	XORL BX, BX

seed:
	SEED256
	LEAQ states-272(SP), R10
	MOVQ BX, AX
	SHLQ $6, AX
	VMOVDQU Y0, (R10)(AX*1)
	VMOVDQU Y1, 32(R10)(AX*1)
	INCQ BX
	CMPQ BX, R8
	JLT  seed
	MOVQ rows+24(FP), R15

many:
	MOVQ $8, CX
	CMPQ R15, CX
	CMOVQLT R15, CX
	XORL BX, BX

group:
	LEAQ states-272(SP), R10
	MOVQ BX, AX
	SHLQ $6, AX
	VMOVDQU (R10)(AX*1), Y0
	VMOVDQU 32(R10)(AX*1), Y1
	VMOVDQU (DX)(AX*1), Y2
	VMOVDQU 32(DX)(AX*1), Y3
	MOVQ BX, AX
	IMULQ R11, AX
	ADDQ next-536(SP), AX
	LEAQ sums-528(SP), R14
	MOVQ CX, R12

row:
	NEXT256
	VPBROADCASTD words1<>(SB), Y15
	VPMADDUBSW Y2, Y9, Y9
	VPMADDUBSW Y3, Y10, Y10
	VPMADDWD Y15, Y9, Y9
	VPMADDWD Y15, Y10, Y10
	VPADDD Y10, Y9, Y9
	TESTQ BX, BX
	JZ   first
	VPADDD (R14), Y9, Y9

first:
	VMOVDQU Y9, (R14)
	ADDQ $32, R14
	ADDQ R9, AX
	DECQ R12
	JNZ  row

	LEAQ states-272(SP), R10
	MOVQ BX, R12
	SHLQ $6, R12
	VMOVDQU Y0, (R10)(R12*1)
	VMOVDQU Y1, 32(R10)(R12*1)
	INCQ BX
	CMPQ BX, R8
	JLT  group

	MOVQ CX, R12
	IMULQ R9, R12
	ADDQ R12, next-536(SP)
	SUBQ CX, R15
	LEAQ sums-528(SP), R14

sum4:
	SUBQ $4, CX
	JL   tail
	VMOVDQU (R14), Y0
	VMOVDQU 64(R14), Y2
	VPHADDD 32(R14), Y0, Y0
	VPHADDD 96(R14), Y2, Y2
	VPHADDD Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VMOVDQU X0, (DI)
	ADDQ $16, DI
	ADDQ $128, R14
	JMP  sum4

tail:
	ADDQ $4, CX

sum1:
	SUBQ $1, CX
	JL   summed
	VMOVDQU (R14), Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDD X1, X0, X0
	VPHADDD X0, X0, X0
	VPHADDD X0, X0, X0
	VMOVD X0, (DI)
	ADDQ $4, DI
	ADDQ $32, R14
	JMP  sum1

summed:
	TESTQ R15, R15
	JNZ  many
	VZEROUPPER
	RET

// func expandNibblesAVX2(dst, w *byte, rows, groups int, t *Nibbles)
//
// Group by group over all rows.
// DI dst, SI seeds, CX rows left, R8 groups, R9 row size, R11 size of a group in
// a row, BX group, AX row, R14 row of dst, R15 its size
TEXT ·expandNibblesAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ groups+24(FP), R8
	MOVQ t+32(FP), R12
	CONST256
	MOVBQZX PLANES(R12), R13
	LEAQ 32(R13*8), R11
	MOVQ R11, R9
	IMULQ R8, R9
	MOVQ R8, R15
	SHLQ $6, R15
	XORL BX, BX

group:
	SEED256
	MOVQ R8, AX
	SHLQ $5, AX
	ADDQ SI, AX
	MOVQ BX, R14
	IMULQ R11, R14
	ADDQ R14, AX
	MOVQ BX, R14
	SHLQ $6, R14
	ADDQ DI, R14
	MOVQ rows+16(FP), CX

row:
	NEXT256
	VMOVDQU Y9, (R14)
	VMOVDQU Y10, 32(R14)
	ADDQ R15, R14
	ADDQ R9, AX
	DECQ CX
	JNZ  row
	INCQ BX
	CMPQ BX, R8
	JLT  group
	VZEROUPPER
	RET
