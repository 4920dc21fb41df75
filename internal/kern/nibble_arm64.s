//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Weights in nibbles and bit planes with trellis states; see Nibbles.
//
// A column's state is one byte: the quantiser in bit 4, the state in bits 3 to 1.
// With a nibble's low bit put into bit 0 it is an index into the step table,
// which is there twice to take the quantiser's bit; the quantiser's bit and the
// nibble are an index into the level table. States of all groups wait in memory.

// CONSTANTS loads tables: R5 is the Nibbles. V16, V17 levels, V18, V19 steps,
// V20 low nibbles, V21 ones, V22 the quantiser's bit, V23 what the lowest plane
// adds, V14 which of two bytes has a lane's bit, V15 that bit. R8 planes.
#define CONSTANTS \
	VLD1  (R5), [V16.B16, V17.B16]  \
	ADD   $32, R5, R7               \
	VLD1  (R7), [V18.B16]           \
	VORR  V18.B16, V18.B16, V19.B16 \
	VMOVI $15, V20.B16              \
	VMOVI $1, V21.B16               \
	VMOVI $16, V22.B16              \
	MOVBU 56(R5), R7                \
	VDUP  R7, V23.B16               \
	MOVBU 57(R5), R8                \
	MOVD  $0x8040201008040201, R7   \
	VDUP  R7, V15.D2                \
	MOVD  $0x0101010101010101, R7   \
	VEOR  V14.B16, V14.B16, V14.B16 \
	VMOV  R7, V14.D[1]

// LOAD takes the nibbles of a group from R1: V4 to V7 hold 16 lanes each.
#define LOAD \
	VLD1.P 32(R1), [V4.B16, V5.B16] \
	VUSHR  $4, V4.B16, V6.B16       \
	VUSHR  $4, V5.B16, V7.B16       \
	VAND   V20.B16, V4.B16, V4.B16  \
	VAND   V20.B16, V5.B16, V5.B16

// SEEDS writes the states before the first row to R6. R7, R11 are lost.
#define SEEDS \
	MOVD R6, R7                                           \
	MOVD R4, R11                                          \
	seed:                                                 \
	LOAD                                                  \
	VTBL V4.B16, [V18.B16, V19.B16], V0.B16               \
	VTBL V5.B16, [V18.B16, V19.B16], V1.B16               \
	VTBL V6.B16, [V18.B16, V19.B16], V2.B16               \
	VTBL V7.B16, [V18.B16, V19.B16], V3.B16               \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R7)       \
	SUBS $1, R11                                          \
	BNE  seed

// NEXT turns nibbles k into levels and moves states s on.
#define NEXT(k, s) \
	VAND V21.B16, k.B16, V29.B16            \
	VAND V22.B16, s.B16, V30.B16            \
	VORR s.B16, V29.B16, V29.B16            \
	VORR k.B16, V30.B16, V30.B16            \
	VTBL V29.B16, [V18.B16, V19.B16], s.B16 \
	VTBL V30.B16, [V16.B16, V17.B16], k.B16

// PLANE adds 16 bits of a plane, worth V28, to levels l.
#define PLANE(l) \
	VLD1R.P 2(R1), [V29.H8]                \
	VTBL    V14.B16, [V29.B16], V29.B16    \
	VCMTST  V15.B16, V29.B16, V29.B16      \
	VAND    V28.B16, V29.B16, V29.B16      \
	VADD    V29.B16, l.B16, l.B16

// GROUP makes the levels of a group in V4 to V7; its states are at R7. R9 is lost.
#define GROUP \
	LOAD                                            \
	VLD1 (R7), [V0.B16, V1.B16, V2.B16, V3.B16]     \
	NEXT(V4, V0)                                    \
	NEXT(V5, V1)                                    \
	NEXT(V6, V2)                                    \
	NEXT(V7, V3)                                    \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(R7) \
	CBZ  R8, made                                   \
	MOVD R8, R9                                     \
	VORR V23.B16, V23.B16, V28.B16                  \
	plane:                                          \
	PLANE(V4)                                       \
	PLANE(V5)                                       \
	PLANE(V6)                                       \
	PLANE(V7)                                       \
	VADD V28.B16, V28.B16, V28.B16                  \
	SUBS $1, R9                                     \
	BNE  plane                                      \
	made:

// DOT16 adds products of w and x to the lanes of V31, by SDOT where the processor
// has it; MUL16 adds pairs of products in 16 bits, which cannot overflow.
#define DOT16(w, x) SDOT(31, w, x)

#define MUL16(w, x) \
	SMULL(29, w, x)  \
	SMLAL2(29, w, x) \
	SADALP(31, 29)

// DOTS is the body of the dots kernels.
// R0 dst, R1 w, R2 x, R3 rows left, R4 groups, R10 cursor in x, R11 groups left
#define DOTS(MUL) \
	CONSTANTS                                             \
	SEEDS                                                 \
	row:                                                  \
	MOVD R6, R7                                           \
	MOVD R2, R10                                          \
	MOVD R4, R11                                          \
	ZERO(31)                                              \
	group:                                                \
	GROUP                                                 \
	VLD1.P 64(R10), [V24.B16, V25.B16, V26.B16, V27.B16]  \
	MUL(4, 24)                                            \
	MUL(5, 25)                                            \
	MUL(6, 26)                                            \
	MUL(7, 27)                                            \
	SUBS $1, R11                                          \
	BNE  group                                            \
	IADDP(31, 31, 31)                                     \
	IADDP(31, 31, 31)                                     \
	STSP(31, 0)                                           \
	SUBS $1, R3                                           \
	BNE  row

// func dotsNibblesDot(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
TEXT ·dotsNibblesDot(SB), NOSPLIT, $256-48
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD x+16(FP), R2
	MOVD rows+24(FP), R3
	MOVD groups+32(FP), R4
	MOVD t+40(FP), R5
	MOVD $states-256(SP), R6
	DOTS(DOT16)
	RET

// func dotsNibblesMul(dst *int32, w *byte, x *int8, rows, groups int, t *Nibbles)
TEXT ·dotsNibblesMul(SB), NOSPLIT, $256-48
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD x+16(FP), R2
	MOVD rows+24(FP), R3
	MOVD groups+32(FP), R4
	MOVD t+40(FP), R5
	MOVD $states-256(SP), R6
	DOTS(MUL16)
	RET

// func expandNibblesNEON(dst, w *byte, rows, groups int, t *Nibbles)
TEXT ·expandNibblesNEON(SB), NOSPLIT, $256-40
	MOVD dst+0(FP), R0
	MOVD w+8(FP), R1
	MOVD rows+16(FP), R3
	MOVD groups+24(FP), R4
	MOVD t+32(FP), R5
	MOVD $states-256(SP), R6
	CONSTANTS
	SEEDS

row:
	MOVD R6, R7
	MOVD R4, R11

group:
	GROUP
	VST1.P [V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)
	SUBS $1, R11
	BNE  group
	SUBS $1, R3
	BNE  row
	RET
