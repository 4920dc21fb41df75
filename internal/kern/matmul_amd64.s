//go:build !purego

#include "textflag.h"

// Float32 matrix products. Every output has one accumulator per lane, added up
// across lanes in one order, whichever kernel computes it. Only reference
// computations in float32 run this, so one AVX2 version serves both x86 tiers.

// func rowsF32SIMD(dst, w, x *float32, rows, cols, ld int)
//
// rows times one token; cols is a multiple of 8, not 0.
// SI row, R8 bytes of cols, R9, R11: 1 and 3 times 4*ld, R12 rewind
TEXT ·rowsF32SIMD(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ cols+32(FP), R8
	MOVQ ld+40(FP), R9
	SHLQ $2, R8
	SHLQ $2, R9
	LEAQ (R9)(R9*2), R11

rows4:
	SUBQ $4, CX
	JL   tail
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	XORL AX, AX

cols4:
	VMOVUPS (DX)(AX*1), Y8
	VFMADD231PS (SI), Y8, Y0
	VFMADD231PS (SI)(R9*1), Y8, Y1
	VFMADD231PS (SI)(R9*2), Y8, Y2
	VFMADD231PS (SI)(R11*1), Y8, Y3
	ADDQ $32, SI
	ADDQ $32, AX
	CMPQ AX, R8
	JLT  cols4

	VHADDPS Y1, Y0, Y0
	VHADDPS Y3, Y2, Y2
	VHADDPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVUPS X0, (DI)
	ADDQ $16, DI
	SUBQ R8, SI
	LEAQ (SI)(R9*4), SI
	JMP  rows4

tail:
	ADDQ $4, CX

rows1:
	SUBQ $1, CX
	JL   done
	VXORPS Y0, Y0, Y0
	XORL AX, AX

cols1:
	VMOVUPS (DX)(AX*1), Y8
	VFMADD231PS (SI)(AX*1), Y8, Y0
	ADDQ $32, AX
	CMPQ AX, R8
	JLT  cols1

	VHADDPS Y0, Y0, Y0
	VHADDPS Y0, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVSS X0, (DI)
	ADDQ $4, DI
	ADDQ R9, SI
	JMP  rows1

done:
	VZEROUPPER
	RET

// func tileF32SIMD(dst, w, x *float32, rows, cols, ld, ldd int)
//
// Four tokens times an even number of rows; ld is the distance of both rows and
// tokens. cols is a multiple of 8, not 0.
// SI row, R8 bytes of cols, R9, R11: 1 and 3 times 4*ld, R10, BX: of 4*ldd,
// R13 cursor in x, AX columns left
TEXT ·tileF32SIMD(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ cols+32(FP), R8
	MOVQ ld+40(FP), R9
	MOVQ ldd+48(FP), R10
	SHLQ $2, R8
	SHLQ $2, R9
	SHLQ $2, R10
	LEAQ (R9)(R9*2), R11
	LEAQ (R10)(R10*2), BX

rows2:
	SUBQ $2, CX
	JL   done
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	MOVQ DX, R13
	MOVQ R8, AX

cols:
	VMOVUPS (SI), Y8
	VMOVUPS (SI)(R9*1), Y9
	VMOVUPS (R13), Y10
	VMOVUPS (R13)(R9*1), Y11
	VMOVUPS (R13)(R9*2), Y12
	VMOVUPS (R13)(R11*1), Y13
	VFMADD231PS Y8, Y10, Y0
	VFMADD231PS Y9, Y10, Y1
	VFMADD231PS Y8, Y11, Y2
	VFMADD231PS Y9, Y11, Y3
	VFMADD231PS Y8, Y12, Y4
	VFMADD231PS Y9, Y12, Y5
	VFMADD231PS Y8, Y13, Y6
	VFMADD231PS Y9, Y13, Y7
	ADDQ $32, SI
	ADDQ $32, R13
	SUBQ $32, AX
	JNZ  cols

	VHADDPS Y1, Y0, Y0
	VHADDPS Y3, Y2, Y2
	VHADDPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0 // both rows of token 0, then of token 1
	VHADDPS Y5, Y4, Y4
	VHADDPS Y7, Y6, Y6
	VHADDPS Y6, Y4, Y4
	VEXTRACTF128 $1, Y4, X5
	VADDPS X5, X4, X4
	VMOVLPS X0, (DI)
	VMOVHPS X0, (DI)(R10*1)
	VMOVLPS X4, (DI)(R10*2)
	VMOVHPS X4, (DI)(BX*1)
	ADDQ $8, DI
	SUBQ R8, SI
	LEAQ (SI)(R9*2), SI
	JMP  rows2

done:
	VZEROUPPER
	RET
