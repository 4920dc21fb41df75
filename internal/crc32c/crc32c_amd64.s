//go:build !purego

#include "textflag.h"

// FOLD moves a on by the constants in k and adds b, which is left in a.
#define FOLD(a, k, b, t) \
	VPCLMULQDQ $0x00, k, a, t; \
	VPCLMULQDQ $0x11, k, a, a; \
	VPTERNLOGQ $0x96, b, t, a

// func fold(state uint32, p *byte, n int, k *[24]uint64) uint32
TEXT ·fold(SB), NOSPLIT, $0-36
	MOVL state+0(FP), AX
	MOVQ p+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ k+24(FP), DX

	VMOVDQU64 (DX), Z8
	VMOVDQU64 64(DX), Z9
	VMOVDQU64 128(DX), Z10
	VMOVDQU64 (SI), Z0
	VMOVDQU64 64(SI), Z1
	VMOVDQU64 128(SI), Z2
	VMOVDQU64 192(SI), Z3
	VMOVD     AX, X4
	VPXORQ    Z4, Z0, Z0
	JMP       next

again:
	FOLD(Z0, Z8, (SI), Z4)
	FOLD(Z1, Z8, 64(SI), Z5)
	FOLD(Z2, Z8, 128(SI), Z6)
	FOLD(Z3, Z8, 192(SI), Z7)

next:
	ADDQ $256, SI
	SUBQ $256, CX
	JNZ  again

	// One register is left, then one lane.
	FOLD(Z0, Z9, Z1, Z4)
	FOLD(Z0, Z9, Z2, Z4)
	FOLD(Z0, Z9, Z3, Z4)
	VEXTRACTI32X4 $3, Z0, X3
	VPCLMULQDQ $0x00, Z10, Z0, Z4
	VPCLMULQDQ $0x11, Z10, Z0, Z0
	VPXORQ     Z4, Z0, Z0
	VEXTRACTI64X4 $1, Z0, Y1
	VPXOR      Y1, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPTERNLOGQ $0x96, X1, X3, X0

	// The checksum of 16 bytes that stand for all.
	VMOVQ   X0, AX
	VPEXTRQ $1, X0, BX
	XORL    DX, DX
	CRC32Q  AX, DX
	CRC32Q  BX, DX
	VZEROUPPER
	MOVL    DX, ret+32(FP)
	RET
