//go:build !purego

#include "textflag.h"

// Element-wise kernels and reductions of vectors. They are bound by loads and
// stores, so AVX2 serves both x86 tiers.

DATA negInf<>+0(SB)/4, $0xff800000
GLOBL negInf<>(SB), RODATA|NOPTR, $4

DATA magnitude<>+0(SB)/4, $0x7fffffff
GLOBL magnitude<>(SB), RODATA|NOPTR, $4

// unpack8 undoes the lane order that two 256-bit packs leave.
DATA unpack8<>+0(SB)/4, $0
DATA unpack8<>+4(SB)/4, $4
DATA unpack8<>+8(SB)/4, $1
DATA unpack8<>+12(SB)/4, $5
DATA unpack8<>+16(SB)/4, $2
DATA unpack8<>+20(SB)/4, $6
DATA unpack8<>+24(SB)/4, $3
DATA unpack8<>+28(SB)/4, $7
GLOBL unpack8<>(SB), RODATA|NOPTR, $32

// EACH8 runs STEP(byte offset, register) on CX elements of 4 bytes, a multiple of
// 8, eight at a time, with the registers Y0 to Y3 in turn. DI, SI, DX and BX may
// be cursors into the operands.
#define EACH8(STEP) \
	SUBQ $32, CX  \
	JL   rest     \
	loop32:       \
	STEP(0, Y0)   \
	STEP(32, Y1)  \
	STEP(64, Y2)  \
	STEP(96, Y3)  \
	ADDQ $128, DI \
	ADDQ $128, SI \
	ADDQ $128, DX \
	ADDQ $128, BX \
	SUBQ $32, CX  \
	JGE  loop32   \
	rest:         \
	ADDQ $32, CX  \
	JZ   done     \
	loop8:        \
	STEP(0, Y0)   \
	ADDQ $32, DI  \
	ADDQ $32, SI  \
	ADDQ $32, DX  \
	ADDQ $32, BX  \
	SUBQ $8, CX   \
	JNZ  loop8    \
	done:

#define AXPY(o, a) \
	VMULPS o(SI), Y15, a \
	VADDPS o(DI), a, a   \
	VMOVUPS a, o(DI)

// func axpySIMD(y []float32, a float32, x []float32)
TEXT ·axpySIMD(SB), NOSPLIT, $0-56
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	VBROADCASTSS a+24(FP), Y15
	MOVQ x_base+32(FP), SI
	EACH8(AXPY)
	VZEROUPPER
	RET

#define SUM(o, a) \
	VMOVUPS o(SI), a   \
	VADDPS o(DI), a, a \
	VMOVUPS a, o(DI)

// func addSIMD(dst, x []float32)
TEXT ·addSIMD(SB), NOSPLIT, $0-48
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	EACH8(SUM)
	VZEROUPPER
	RET

#define BUTTERFLY(o, a) \
	VMOVUPS o(DI), a    \
	VMOVUPS o(SI), Y4   \
	VSUBPS Y4, a, Y5    \
	VADDPS Y4, a, a     \
	VMOVUPS a, o(DI)    \
	VMOVUPS Y5, o(SI)

// func butterflySIMD(lo, hi []float32)
TEXT ·butterflySIMD(SB), NOSPLIT, $0-48
	MOVQ lo_base+0(FP), DI
	MOVQ lo_len+8(FP), CX
	MOVQ hi_base+24(FP), SI
	EACH8(BUTTERFLY)
	VZEROUPPER
	RET

#define MUL(o, a) \
	VMOVUPS o(SI), a   \
	VMULPS o(DX), a, a \
	VMOVUPS a, o(DI)

// func mulSIMD(dst, x, s []float32)
TEXT ·mulSIMD(SB), NOSPLIT, $0-72
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	MOVQ s_base+48(FP), DX
	EACH8(MUL)
	VZEROUPPER
	RET

#define SCALEDMUL(o, a) \
	VMULPS o(SI), Y15, a \
	VMULPS o(DX), a, a   \
	VMOVUPS a, o(DI)

// func scaledMulSIMD(dst, x, w []float32, s float32)
TEXT ·scaledMulSIMD(SB), NOSPLIT, $0-76
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	MOVQ w_base+48(FP), DX
	VBROADCASTSS s+72(FP), Y15
	EACH8(SCALEDMUL)
	VZEROUPPER
	RET

#define SCALE(o, a) \
	VMULPS o(DI), Y15, a \
	VMOVUPS a, o(DI)

// func scaleBySIMD(x []float32, s float32)
TEXT ·scaleBySIMD(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), DI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS s+24(FP), Y15
	EACH8(SCALE)
	VZEROUPPER
	RET

#define ROTATE(o, a) \
	VMOVUPS o(DI), Y4    \
	VMOVUPS o(SI), Y5    \
	VMOVUPS o(DX), Y6    \
	VMOVUPS o(BX), Y7    \
	VMULPS Y6, Y4, Y8    \
	VMULPS Y7, Y5, Y9    \
	VMULPS Y6, Y5, Y10   \
	VMULPS Y7, Y4, Y11   \
	VSUBPS Y9, Y8, Y8    \
	VADDPS Y11, Y10, Y10 \
	VMOVUPS Y8, o(DI)    \
	VMOVUPS Y10, o(SI)

// func ropeSIMD(lo, hi, cos, sin []float32)
TEXT ·ropeSIMD(SB), NOSPLIT, $0-96
	MOVQ lo_base+0(FP), DI
	MOVQ lo_len+8(FP), CX
	MOVQ hi_base+24(FP), SI
	MOVQ cos_base+48(FP), DX
	MOVQ sin_base+72(FP), BX
	EACH8(ROTATE)
	VZEROUPPER
	RET

#define ACCUMULATE(o, a) \
	VMOVDQU   o(SI), a    \
	VPSUBD    Y14, a, a   \
	VCVTDQ2PS a, a        \
	VMULPS    Y15, a, a   \
	VADDPS    o(DI), a, a \
	VMOVUPS   a, o(DI)

// func accumulateCenteredSIMD(y []float32, d []int32, zero int32, s float32)
TEXT ·accumulateCenteredSIMD(SB), NOSPLIT, $0-56
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ d_base+24(FP), SI
	VBROADCASTSS zero+48(FP), Y14
	VBROADCASTSS s+52(FP), Y15
	EACH8(ACCUMULATE)
	VZEROUPPER
	RET

// The maximum of a NaN and anything is the second source (the first operand
// here): the running maximum.
#define MAXIMUM(o, a) \
	VMOVUPS o(SI), Y4 \
	VMAXPS a, Y4, a

// func maxOfSIMD(x []float32) float32
TEXT ·maxOfSIMD(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS negInf<>(SB), Y0
	VMOVAPS Y0, Y1
	VMOVAPS Y0, Y2
	VMOVAPS Y0, Y3
	EACH8(MAXIMUM)
	VMAXPS Y1, Y0, Y0
	VMAXPS Y3, Y2, Y2
	VMAXPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VMAXPS X1, X0, X0
	VSHUFPS $0x4e, X0, X0, X1
	VMAXPS X1, X0, X0
	VSHUFPS $0xb1, X0, X0, X1
	VMAXPS X1, X0, X0
	VMOVSS X0, ret+24(FP)
	VZEROUPPER
	RET

#define ABSMAX(o, a) \
	VANDPS o(SI), Y15, Y4 \
	VPMAXUD Y4, a, a

// func absMaxBitsSIMD(x []float32) uint32
TEXT ·absMaxBitsSIMD(SB), NOSPLIT, $0-28
	MOVQ x_base+0(FP), SI
	MOVQ x_len+8(FP), CX
	VBROADCASTSS magnitude<>(SB), Y15
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	EACH8(ABSMAX)
	VPMAXUD Y1, Y0, Y0
	VPMAXUD Y3, Y2, Y2
	VPMAXUD Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPMAXUD X1, X0, X0
	VPSHUFD $0x4e, X0, X1
	VPMAXUD X1, X0, X0
	VPSHUFD $0xb1, X0, X1
	VPMAXUD X1, X0, X0
	VMOVD X0, AX
	MOVL AX, ret+24(FP)
	VZEROUPPER
	RET

#define DOT(o, a) \
	VMOVUPS o(SI), Y4        \
	VFMADD231PS o(DI), Y4, a

// func dotSIMD(a, b []float32) float32
TEXT ·dotSIMD(SB), NOSPLIT, $0-52
	MOVQ a_base+0(FP), DI
	MOVQ a_len+8(FP), CX
	MOVQ b_base+24(FP), SI
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	EACH8(DOT)
	VADDPS Y1, Y0, Y0
	VADDPS Y3, Y2, Y2
	VADDPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VHADDPS X0, X0, X0
	VHADDPS X0, X0, X0
	VMOVSS X0, ret+48(FP)
	VZEROUPPER
	RET

#define ROUND8(o, a) \
	VMULPS    o(SI), Y15, a \
	VCVTPS2DQ a, a

// func quantizeSIMD(dst []int8, x []float32, inv float32)
//
// The conversion rounds to nearest even, the default of MXCSR.
TEXT ·quantizeSIMD(SB), NOSPLIT, $0-52
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ x_base+24(FP), SI
	VBROADCASTSS inv+48(FP), Y15
	VMOVDQU unpack8<>(SB), Y14
	SUBQ $32, CX
	JL   rest

loop32:
	ROUND8(0, Y0)
	ROUND8(32, Y1)
	ROUND8(64, Y2)
	ROUND8(96, Y3)
	VPACKSSDW Y1, Y0, Y0
	VPACKSSDW Y3, Y2, Y2
	VPACKSSWB Y2, Y0, Y0
	VPERMD Y0, Y14, Y0
	VMOVDQU Y0, (DI)
	ADDQ $32, DI
	ADDQ $128, SI
	SUBQ $32, CX
	JGE  loop32

rest:
	ADDQ $32, CX
	JZ   done

loop8:
	ROUND8(0, Y0)
	VEXTRACTI128 $1, Y0, X1
	VPACKSSDW X1, X0, X0
	VPACKSSWB X0, X0, X0
	VMOVQ X0, (DI)
	ADDQ $8, DI
	ADDQ $32, SI
	SUBQ $8, CX
	JNZ  loop8

done:
	VZEROUPPER
	RET
