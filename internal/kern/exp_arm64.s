//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// The exponential of exp.go: the same reduction and polynomial, with fused
// multiply-add.

DATA expConst<>+0(SB)/4, $0x3fb8aa3b  // log2 e
DATA expConst<>+4(SB)/4, $0x3f317200  // ln 2, high
DATA expConst<>+8(SB)/4, $0x35bfbe8e  // ln 2, low
DATA expConst<>+12(SB)/4, $0x3ab61a8e // c6
DATA expConst<>+16(SB)/4, $0x3c0923bc // c5
DATA expConst<>+20(SB)/4, $0x3d2aab1d // c4
DATA expConst<>+24(SB)/4, $0x3e2aaa3e // c3
DATA expConst<>+28(SB)/4, $0x3effffff // c2
DATA expConst<>+32(SB)/4, $0x3f800000 // 1
DATA expConst<>+36(SB)/4, $0xc2aeac4f // smallest argument, -87.33654
DATA expConst<>+40(SB)/4, $0x42b17217 // largest argument, 88.72283
DATA expConst<>+44(SB)/4, $0x7f800000 // infinity
GLOBL expConst<>(SB), RODATA|NOPTR, $48

// CONST fills V16 to V27 for EXP. It uses R5.
#define CONST \
	MOVD $expConst<>(SB), R5 \
	LDR1P(16, 5) \
	LDR1P(17, 5) \
	LDR1P(18, 5) \
	LDR1P(19, 5) \
	LDR1P(20, 5) \
	LDR1P(21, 5) \
	LDR1P(22, 5) \
	LDR1P(23, 5) \
	LDR1P(24, 5) \
	LDR1P(25, 5) \
	LDR1P(26, 5) \
	LDR1P(27, 5)

// EXP replaces V0 by its exponential, using V1 to V4. NaNs fail both
// comparisons and come out of the polynomial.
#define EXP \
	FMUL(1, 0, 16)                \
	FRINTN(1, 1)                  \
	MOVV(2, 0)                    \
	FMLS(2, 1, 17)                \
	FMLS(2, 1, 18)                \
	MOVV(3, 20); FMLA(3, 19, 2)   \
	MOVV(4, 21); FMLA(4, 3, 2)    \
	MOVV(3, 22); FMLA(3, 4, 2)    \
	MOVV(4, 23); FMLA(4, 3, 2)    \
	FMUL(4, 4, 2)                 \
	MOVV(3, 2); FMLA(3, 4, 2)     \
	FADD(3, 3, 24)                \
	FCVTNS(1, 1)                  \
	SHL23(1, 1)                   \
	IADD(3, 3, 1)                 \
	FCMGT(4, 25, 0); BIC(3, 3, 4) \
	FCMGT(4, 0, 26); BIT(3, 27, 4) \
	MOVV(0, 3)

// func expIntoNEON(dst, x []float32, shift float32) float32
TEXT ·expIntoNEON(SB), NOSPLIT, $0-60
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1
	FMOVS shift+48(FP), F30
	VDUP V30.S[0], V30.S4
	ZERO(31)
	CONST

loop:
	LDQP(0, 1)
	FSUB(0, 0, 30)
	EXP
	STQP(0, 0)
	FADD(31, 31, 0)
	SUBS $4, R4
	BNE  loop

	FADDP(31, 31, 31)
	FADDP(31, 31, 31)
	FMOVS F31, ret+56(FP)
	RET

// func swiGLUNEON(dst, gate, up []float32)
TEXT ·swiGLUNEON(SB), NOSPLIT, $0-72
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD gate_base+24(FP), R1
	MOVD up_base+48(FP), R2
	CONST

loop:
	LDQP(30, 1)
	FNEG(0, 30)
	EXP
	FADD(0, 0, 24)
	FDIV(0, 30, 0)
	LDQP(5, 2)
	FMUL(0, 0, 5)
	STQP(0, 0)
	SUBS $4, R4
	BNE  loop
	RET
