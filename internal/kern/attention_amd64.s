//go:build !purego

#include "textflag.h"

// Attention over binary16 keys and values, widened as they are loaded.
//
// Every score has one accumulator per lane, and four keys run side by side to
// hide the latency of the additions. A lone key is added up in the same order.

#define KEY8(k, acc, tmp) \
	VCVTPH2PS   k, tmp      \
	VFMADD231PS tmp, Y4, acc

// func scoresAVX2(dst, q []float32, k *uint16, stride int)
//
// len(q) is a multiple of 8.
// SI key, R8 bytes from key to key, R9 3*R8, R10 rewind, DX q, BX 4*len(q), AX cursor
TEXT ·scoresAVX2(SB), NOSPLIT, $0-64
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ q_base+24(FP), DX
	MOVQ q_len+32(FP), BX
	MOVQ k+48(FP), SI
	MOVQ stride+56(FP), R8
	ADDQ R8, R8
	LEAQ (R8)(R8*2), R9
	LEAQ (BX)(BX*1), R10
	SHLQ $2, BX

keys4:
	SUBQ $4, CX
	JL   tail
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	XORL AX, AX

dims4:
	VMOVUPS (DX)(AX*1), Y4
	KEY8((SI), Y0, Y5)
	KEY8((SI)(R8*1), Y1, Y6)
	KEY8((SI)(R8*2), Y2, Y7)
	KEY8((SI)(R9*1), Y3, Y8)
	ADDQ $16, SI
	ADDQ $32, AX
	CMPQ AX, BX
	JLT  dims4

	VHADDPS Y1, Y0, Y0
	VHADDPS Y3, Y2, Y2
	VHADDPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVUPS X0, (DI)
	ADDQ $16, DI
	SUBQ R10, SI
	LEAQ (SI)(R8*4), SI
	JMP  keys4

tail:
	ADDQ $4, CX

keys1:
	SUBQ $1, CX
	JL   done
	VXORPS Y0, Y0, Y0
	XORL AX, AX

dims1:
	VMOVUPS (DX)(AX*1), Y4
	KEY8((SI), Y0, Y5)
	ADDQ $16, SI
	ADDQ $32, AX
	CMPQ AX, BX
	JLT  dims1

	VHADDPS Y0, Y0, Y0
	VHADDPS Y0, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVSS X0, (DI)
	ADDQ $4, DI
	SUBQ R10, SI
	ADDQ R8, SI
	JMP  keys1

done:
	VZEROUPPER
	RET

#define KEY16(k, acc, tmp) \
	VCVTPH2PS   k, tmp      \
	VFMADD231PS tmp, Z4, acc

// HALVES adds the halves of a and b: a's sums into the low half of a, b's into
// the high half. QUARTERS does the same with the quarters of two such pairs.
#define HALVES(a, b, t) \
	VSHUFF32X4 $0xee, b, a, t \
	VSHUFF32X4 $0x44, b, a, a \
	VADDPS     t, a, a

#define QUARTERS(a, b, t) \
	VSHUFF32X4 $0xdd, b, a, t \
	VSHUFF32X4 $0x88, b, a, a \
	VADDPS     t, a, a

// LANESUM leaves the sum of each 128-bit lane of a in all of its elements.
#define LANESUM(a, t) \
	VSHUFPS $0xb1, a, a, t \
	VADDPS  t, a, a        \
	VSHUFPS $0x4e, a, a, t \
	VADDPS  t, a, a

DATA lane4<>+0(SB)/4, $0
DATA lane4<>+4(SB)/4, $4
DATA lane4<>+8(SB)/4, $8
DATA lane4<>+12(SB)/4, $12
GLOBL lane4<>(SB), RODATA|NOPTR, $16

// func scoresAVX512(dst, q []float32, k *uint16, stride int)
//
// len(q) is a multiple of 16. Registers as in scoresAVX2.
TEXT ·scoresAVX512(SB), NOSPLIT, $0-64
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ q_base+24(FP), DX
	MOVQ q_len+32(FP), BX
	MOVQ k+48(FP), SI
	MOVQ stride+56(FP), R8
	ADDQ R8, R8
	LEAQ (R8)(R8*2), R9
	LEAQ (BX)(BX*1), R10
	SHLQ $2, BX
	VMOVDQU lane4<>(SB), X15

keys4:
	SUBQ $4, CX
	JL   tail
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	XORL AX, AX

dims4:
	VMOVUPS (DX)(AX*1), Z4
	KEY16((SI), Z0, Z5)
	KEY16((SI)(R8*1), Z1, Z6)
	KEY16((SI)(R8*2), Z2, Z7)
	KEY16((SI)(R9*1), Z3, Z8)
	ADDQ $32, SI
	ADDQ $64, AX
	CMPQ AX, BX
	JLT  dims4

	HALVES(Z0, Z1, Z5)
	HALVES(Z2, Z3, Z6)
	QUARTERS(Z0, Z2, Z5)
	LANESUM(Z0, Z5)
	VPERMPS Z0, Z15, Z0
	VMOVUPS X0, (DI)
	ADDQ $16, DI
	SUBQ R10, SI
	LEAQ (SI)(R8*4), SI
	JMP  keys4

tail:
	ADDQ $4, CX

keys1:
	SUBQ $1, CX
	JL   done
	VXORPS Y0, Y0, Y0
	XORL AX, AX

dims1:
	VMOVUPS (DX)(AX*1), Z4
	KEY16((SI), Z0, Z5)
	ADDQ $32, SI
	ADDQ $64, AX
	CMPQ AX, BX
	JLT  dims1

	HALVES(Z0, Z0, Z5)
	QUARTERS(Z0, Z0, Z5)
	LANESUM(Z0, Z5)
	VMOVSS X0, (DI)
	ADDQ $4, DI
	SUBQ R10, SI
	ADDQ R8, SI
	JMP  keys1

done:
	VZEROUPPER
	RET

// The weighted sums hold a stretch of y in registers while they walk down the
// values.

#define VALUE8(o, acc, tmp) \
	VCVTPH2PS   o(AX), tmp    \
	VFMADD231PS tmp, Y12, acc

// func weightedSumAVX2(y, p []float32, v *uint16, stride int)
//
// len(y) is a multiple of 8; p is not empty.
// DI y, CX elements of y left, SI value, AX cursor, R8 bytes from value to value,
// DX p, R9 len(p), R10 index in p
TEXT ·weightedSumAVX2(SB), NOSPLIT, $0-64
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ p_base+24(FP), DX
	MOVQ p_len+32(FP), R9
	MOVQ v+48(FP), SI
	MOVQ stride+56(FP), R8
	ADDQ R8, R8

dims64:
	SUBQ $64, CX
	JL   tail
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS 64(DI), Y2
	VMOVUPS 96(DI), Y3
	VMOVUPS 128(DI), Y4
	VMOVUPS 160(DI), Y5
	VMOVUPS 192(DI), Y6
	VMOVUPS 224(DI), Y7
	MOVQ SI, AX
	XORL R10, R10

values64:
	VBROADCASTSS (DX)(R10*4), Y12
	VALUE8(0, Y0, Y8)
	VALUE8(16, Y1, Y9)
	VALUE8(32, Y2, Y10)
	VALUE8(48, Y3, Y11)
	VALUE8(64, Y4, Y8)
	VALUE8(80, Y5, Y9)
	VALUE8(96, Y6, Y10)
	VALUE8(112, Y7, Y11)
	ADDQ R8, AX
	INCQ R10
	CMPQ R10, R9
	JLT  values64

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ $256, DI
	ADDQ $128, SI
	JMP  dims64

tail:
	ADDQ $64, CX

dims8:
	SUBQ $8, CX
	JL   done
	VMOVUPS (DI), Y0
	MOVQ SI, AX
	XORL R10, R10

values8:
	VBROADCASTSS (DX)(R10*4), Y12
	VALUE8(0, Y0, Y8)
	ADDQ R8, AX
	INCQ R10
	CMPQ R10, R9
	JLT  values8

	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $16, SI
	JMP  dims8

done:
	VZEROUPPER
	RET

#define VALUE16(o, acc, tmp) \
	VCVTPH2PS   o(AX), tmp    \
	VFMADD231PS tmp, Z12, acc

// func weightedSumAVX512(y, p []float32, v *uint16, stride int)
//
// len(y) is a multiple of 16; p is not empty. Registers as in weightedSumAVX2.
TEXT ·weightedSumAVX512(SB), NOSPLIT, $0-64
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ p_base+24(FP), DX
	MOVQ p_len+32(FP), R9
	MOVQ v+48(FP), SI
	MOVQ stride+56(FP), R8
	ADDQ R8, R8

dims64:
	SUBQ $64, CX
	JL   tail
	VMOVUPS (DI), Z0
	VMOVUPS 64(DI), Z1
	VMOVUPS 128(DI), Z2
	VMOVUPS 192(DI), Z3
	MOVQ SI, AX
	XORL R10, R10

values64:
	VBROADCASTSS (DX)(R10*4), Z12
	VALUE16(0, Z0, Z8)
	VALUE16(32, Z1, Z9)
	VALUE16(64, Z2, Z10)
	VALUE16(96, Z3, Z11)
	ADDQ R8, AX
	INCQ R10
	CMPQ R10, R9
	JLT  values64

	VMOVUPS Z0, (DI)
	VMOVUPS Z1, 64(DI)
	VMOVUPS Z2, 128(DI)
	VMOVUPS Z3, 192(DI)
	ADDQ $256, DI
	ADDQ $128, SI
	JMP  dims64

tail:
	ADDQ $64, CX

dims16:
	SUBQ $16, CX
	JL   done
	VMOVUPS (DI), Z0
	MOVQ SI, AX
	XORL R10, R10

values16:
	VBROADCASTSS (DX)(R10*4), Z12
	VALUE16(0, Z0, Z8)
	ADDQ R8, AX
	INCQ R10
	CMPQ R10, R9
	JLT  values16

	VMOVUPS Z0, (DI)
	ADDQ $64, DI
	ADDQ $32, SI
	JMP  dims16

done:
	VZEROUPPER
	RET
