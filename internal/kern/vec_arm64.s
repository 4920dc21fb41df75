//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Element-wise kernels and reductions of vectors. Lengths are multiples of 8,
// not 0.

// EACH8 runs STEP(byte offset, register) on R4 elements of 4 bytes, eight at a
// time, with the registers V0 and V1. R0 to R3 are cursors into the operands.
#define EACH8(STEP) \
	loop:           \
	STEP(0, 0)      \
	STEP(16, 1)     \
	ADD  $32, R0    \
	ADD  $32, R1    \
	ADD  $32, R2    \
	ADD  $32, R3    \
	SUBS $8, R4     \
	BNE  loop

#define AXPY(o, a) \
	LDQ(a, 1, o); FMUL(a, a, 15) \
	LDQ(4, 0, o); FADD(a, a, 4)  \
	STQ(a, 0, o)

// func axpySIMD(y []float32, a float32, x []float32)
TEXT ·axpySIMD(SB), NOSPLIT, $0-56
	MOVD y_base+0(FP), R0
	MOVD y_len+8(FP), R4
	FMOVS a+24(FP), F15
	VDUP V15.S[0], V15.S4
	MOVD x_base+32(FP), R1
	EACH8(AXPY)
	RET

#define SUM(o, a) \
	LDQ(a, 1, o); LDQ(4, 0, o) \
	FADD(a, a, 4)              \
	STQ(a, 0, o)

// func addSIMD(dst, x []float32)
TEXT ·addSIMD(SB), NOSPLIT, $0-48
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1
	EACH8(SUM)
	RET

#define BUTTERFLY(o, a) \
	LDQ(a, 0, o); LDQ(4, 1, o)      \
	FSUB(5, a, 4); FADD(a, a, 4)    \
	STQ(a, 0, o); STQ(5, 1, o)

// func butterflySIMD(lo, hi []float32)
TEXT ·butterflySIMD(SB), NOSPLIT, $0-48
	MOVD lo_base+0(FP), R0
	MOVD lo_len+8(FP), R4
	MOVD hi_base+24(FP), R1
	EACH8(BUTTERFLY)
	RET

#define MUL(o, a) \
	LDQ(a, 1, o); LDQ(4, 2, o) \
	FMUL(a, a, 4)              \
	STQ(a, 0, o)

// func mulSIMD(dst, x, s []float32)
TEXT ·mulSIMD(SB), NOSPLIT, $0-72
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1
	MOVD s_base+48(FP), R2
	EACH8(MUL)
	RET

#define SCALEDMUL(o, a) \
	LDQ(a, 1, o); FMUL(a, a, 15) \
	LDQ(4, 2, o); FMUL(a, a, 4)  \
	STQ(a, 0, o)

// func scaledMulSIMD(dst, x, w []float32, s float32)
TEXT ·scaledMulSIMD(SB), NOSPLIT, $0-76
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1
	MOVD w_base+48(FP), R2
	FMOVS s+72(FP), F15
	VDUP V15.S[0], V15.S4
	EACH8(SCALEDMUL)
	RET

#define SCALE(o, a) \
	LDQ(a, 0, o)   \
	FMUL(a, a, 15) \
	STQ(a, 0, o)

// func scaleBySIMD(x []float32, s float32)
TEXT ·scaleBySIMD(SB), NOSPLIT, $0-28
	MOVD x_base+0(FP), R0
	MOVD x_len+8(FP), R4
	FMOVS s+24(FP), F15
	VDUP V15.S[0], V15.S4
	EACH8(SCALE)
	RET

#define ROTATE(o, a) \
	LDQ(4, 0, o); LDQ(5, 1, o)     \
	LDQ(6, 2, o); LDQ(7, 3, o)     \
	FMUL(16, 4, 6); FMUL(17, 5, 7) \
	FMUL(18, 5, 6); FMUL(19, 4, 7) \
	FSUB(16, 16, 17)               \
	FADD(18, 18, 19)               \
	STQ(16, 0, o); STQ(18, 1, o)

// func ropeSIMD(lo, hi, cos, sin []float32)
TEXT ·ropeSIMD(SB), NOSPLIT, $0-96
	MOVD lo_base+0(FP), R0
	MOVD lo_len+8(FP), R4
	MOVD hi_base+24(FP), R1
	MOVD cos_base+48(FP), R2
	MOVD sin_base+72(FP), R3
	EACH8(ROTATE)
	RET

#define ACCUMULATE(o, a) \
	LDQ(a, 1, o); LDQ(4, 0, o) \
	ISUB(a, a, 14)             \
	SCVTF(a, a)                \
	FMUL(a, a, 15)             \
	FADD(a, a, 4)              \
	STQ(a, 0, o)

// func accumulateCenteredSIMD(y []float32, d []int32, zero int32, s float32)
TEXT ·accumulateCenteredSIMD(SB), NOSPLIT, $0-56
	MOVD y_base+0(FP), R0
	MOVD y_len+8(FP), R4
	MOVD d_base+24(FP), R1
	MOVW zero+48(FP), R5
	VDUP R5, V14.S4
	FMOVS s+52(FP), F15
	VDUP V15.S[0], V15.S4
	EACH8(ACCUMULATE)
	RET

// A comparison with a NaN is false, so NaNs never become the maximum.
#define MAXIMUM(o, a) \
	LDQ(4, 0, o)      \
	FCMGT(5, 4, a)    \
	BIT(a, 4, 5)

// func maxOfSIMD(x []float32) float32
TEXT ·maxOfSIMD(SB), NOSPLIT, $0-28
	MOVD x_base+0(FP), R0
	MOVD x_len+8(FP), R4
	MOVW $0xff800000, R5 // -Inf
	VDUP R5, V0.S4
	VDUP R5, V1.S4
	EACH8(MAXIMUM)
	FCMGT(5, 1, 0)
	BIT(0, 1, 5)
	FMAXV(0, 0)
	FMOVS F0, ret+24(FP)
	RET

#define ABSMAX(o, a) \
	LDQ(4, 0, o)   \
	FABS(4, 4)     \
	UMAX(a, a, 4)

// func absMaxBitsSIMD(x []float32) uint32
TEXT ·absMaxBitsSIMD(SB), NOSPLIT, $0-28
	MOVD x_base+0(FP), R0
	MOVD x_len+8(FP), R4
	ZERO(0)
	ZERO(1)
	EACH8(ABSMAX)
	UMAX(0, 0, 1)
	UMAXV(0, 0)
	VMOV V0.S[0], R5
	MOVW R5, ret+24(FP)
	RET

#define DOT(o, a) \
	LDQ(4, 0, o); LDQ(5, 1, o) \
	FMLA(a, 4, 5)

// func dotSIMD(a, b []float32) float32
TEXT ·dotSIMD(SB), NOSPLIT, $0-52
	MOVD a_base+0(FP), R0
	MOVD a_len+8(FP), R4
	MOVD b_base+24(FP), R1
	ZERO(0)
	ZERO(1)
	ZERO(2)
	ZERO(3)
	ZERO(16)
	ZERO(17)
	ZERO(18)
	ZERO(19)
	SUBS $32, R4
	BLT  rest

loop32:
	DOT(0, 0)
	DOT(16, 1)
	DOT(32, 2)
	DOT(48, 3)
	DOT(64, 16)
	DOT(80, 17)
	DOT(96, 18)
	DOT(112, 19)
	ADD  $128, R0
	ADD  $128, R1
	SUBS $32, R4
	BGE  loop32

rest:
	ADDS $32, R4
	BEQ  done

loop8:
	DOT(0, 0)
	DOT(16, 1)
	ADD  $32, R0
	ADD  $32, R1
	SUBS $8, R4
	BNE  loop8

done:
	FADD(0, 0, 16)
	FADD(1, 1, 17)
	FADD(2, 2, 18)
	FADD(3, 3, 19)
	FADD(0, 0, 2)
	FADD(1, 1, 3)
	FADD(0, 0, 1)
	FADDP(0, 0, 0)
	FADDP(0, 0, 0)
	FMOVS F0, ret+48(FP)
	RET

// func quantizeSIMD(dst []int8, x []float32, inv float32)
TEXT ·quantizeSIMD(SB), NOSPLIT, $0-52
	MOVD dst_base+0(FP), R0
	MOVD dst_len+8(FP), R4
	MOVD x_base+24(FP), R1
	FMOVS inv+48(FP), F15
	VDUP V15.S[0], V15.S4

loop:
	LDQP(0, 1)
	LDQP(1, 1)
	FMUL(0, 0, 15)
	FMUL(1, 1, 15)
	FCVTNS(0, 0)
	FCVTNS(1, 1)
	SQXTN4(0, 0)
	SQXTN8(0, 1)
	SQXTNB(0, 0)
	STDP(0, 0)
	SUBS $8, R4
	BNE  loop
	RET
