//go:build !purego

#include "textflag.h"

// Float64 matrix products, added to what is there. Every output has one
// accumulator per lane, added up across lanes in one order, whichever kernel
// computes it. They are for packing alone, so one AVX2 version serves both x86
// tiers.

// func rowsF64AVX2(dst, w, x *float64, rows, cols, ldw int)
//
// rows times one token; cols is a multiple of 4, not 0.
// SI row, R8 bytes of cols, R9, R11: 1 and 3 times 8*ldw
TEXT ·rowsF64AVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ cols+32(FP), R8
	MOVQ ldw+40(FP), R9
	SHLQ $3, R8
	SHLQ $3, R9
	LEAQ (R9)(R9*2), R11

rows4:
	SUBQ $4, CX
	JL   tail
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	XORL AX, AX

cols4:
	VMOVUPD (DX)(AX*1), Y8
	VFMADD231PD (SI), Y8, Y0
	VFMADD231PD (SI)(R9*1), Y8, Y1
	VFMADD231PD (SI)(R9*2), Y8, Y2
	VFMADD231PD (SI)(R11*1), Y8, Y3
	ADDQ $32, SI
	ADDQ $32, AX
	CMPQ AX, R8
	JLT  cols4

	VHADDPD Y1, Y0, Y0
	VHADDPD Y3, Y2, Y2
	VEXTRACTF128 $1, Y0, X1
	VEXTRACTF128 $1, Y2, X3
	VADDPD X1, X0, X0
	VADDPD X3, X2, X2
	VADDPD (DI), X0, X0
	VADDPD 16(DI), X2, X2
	VMOVUPD X0, (DI)
	VMOVUPD X2, 16(DI)
	ADDQ $32, DI
	SUBQ R8, SI
	LEAQ (SI)(R9*4), SI
	JMP  rows4

tail:
	ADDQ $4, CX

rows1:
	SUBQ $1, CX
	JL   done
	VXORPD Y0, Y0, Y0
	XORL AX, AX

cols1:
	VMOVUPD (DX)(AX*1), Y8
	VFMADD231PD (SI)(AX*1), Y8, Y0
	ADDQ $32, AX
	CMPQ AX, R8
	JLT  cols1

	VHADDPD Y0, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDSD X1, X0, X0
	VADDSD (DI), X0, X0
	VMOVSD X0, (DI)
	ADDQ $8, DI
	ADDQ R9, SI
	JMP  rows1

done:
	VZEROUPPER
	RET

// func tileF64AVX2(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)
//
// Four tokens times an even number of rows; cols is a multiple of 4, not 0.
// SI row, R8 bytes of cols, R9 of ldw, R10, BX: 1 and 3 times 8*ldd,
// R11, R12: 1 and 3 times 8*ldx, R13 cursor in x, AX bytes left
TEXT ·tileF64AVX2(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ rows+24(FP), CX
	MOVQ cols+32(FP), R8
	MOVQ ldd+40(FP), R10
	MOVQ ldw+48(FP), R9
	MOVQ ldx+56(FP), R11
	SHLQ $3, R8
	SHLQ $3, R9
	SHLQ $3, R10
	SHLQ $3, R11
	LEAQ (R10)(R10*2), BX
	LEAQ (R11)(R11*2), R12

rows2:
	SUBQ $2, CX
	JL   done
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	VXORPD Y4, Y4, Y4
	VXORPD Y5, Y5, Y5
	VXORPD Y6, Y6, Y6
	VXORPD Y7, Y7, Y7
	MOVQ DX, R13
	MOVQ R8, AX

cols:
	VMOVUPD (SI), Y8
	VMOVUPD (SI)(R9*1), Y9
	VMOVUPD (R13), Y10
	VMOVUPD (R13)(R11*1), Y11
	VMOVUPD (R13)(R11*2), Y12
	VMOVUPD (R13)(R12*1), Y13
	VFMADD231PD Y8, Y10, Y0
	VFMADD231PD Y9, Y10, Y1
	VFMADD231PD Y8, Y11, Y2
	VFMADD231PD Y9, Y11, Y3
	VFMADD231PD Y8, Y12, Y4
	VFMADD231PD Y9, Y12, Y5
	VFMADD231PD Y8, Y13, Y6
	VFMADD231PD Y9, Y13, Y7
	ADDQ $32, SI
	ADDQ $32, R13
	SUBQ $32, AX
	JNZ  cols

	VHADDPD Y1, Y0, Y0
	VHADDPD Y3, Y2, Y2
	VHADDPD Y5, Y4, Y4
	VHADDPD Y7, Y6, Y6
	VEXTRACTF128 $1, Y0, X1
	VEXTRACTF128 $1, Y2, X3
	VEXTRACTF128 $1, Y4, X5
	VEXTRACTF128 $1, Y6, X7
	VADDPD X1, X0, X0
	VADDPD X3, X2, X2
	VADDPD X5, X4, X4
	VADDPD X7, X6, X6
	VADDPD (DI), X0, X0
	VADDPD (DI)(R10*1), X2, X2
	VADDPD (DI)(R10*2), X4, X4
	VADDPD (DI)(BX*1), X6, X6
	VMOVUPD X0, (DI)
	VMOVUPD X2, (DI)(R10*1)
	VMOVUPD X4, (DI)(R10*2)
	VMOVUPD X6, (DI)(BX*1)
	ADDQ $16, DI
	SUBQ R8, SI
	LEAQ (SI)(R9*2), SI
	JMP  rows2

done:
	VZEROUPPER
	RET

// func rotateAVX2(z, cs *float64, n int)
//
// n rotations, at least 1, of 16 vectors: Y0 to Y3 hold the elements that are
// passed on. DI element i+1
TEXT ·rotateAVX2(SB), NOSPLIT, $0-24
	MOVQ z+0(FP), DI
	MOVQ cs+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ CX, AX
	SHLQ $7, AX
	ADDQ AX, DI
	VMOVUPD (DI), Y0
	VMOVUPD 32(DI), Y1
	VMOVUPD 64(DI), Y2
	VMOVUPD 96(DI), Y3

next:
	VBROADCASTSD (SI), Y14
	VBROADCASTSD 8(SI), Y15
	VMOVUPD -128(DI), Y4
	VMOVUPD -96(DI), Y5
	VMOVUPD -64(DI), Y6
	VMOVUPD -32(DI), Y7
	VMULPD Y14, Y0, Y8
	VMULPD Y14, Y1, Y9
	VMULPD Y14, Y2, Y10
	VMULPD Y14, Y3, Y11
	VFMADD231PD Y15, Y4, Y8
	VFMADD231PD Y15, Y5, Y9
	VFMADD231PD Y15, Y6, Y10
	VFMADD231PD Y15, Y7, Y11
	VMULPD Y14, Y4, Y4
	VMULPD Y14, Y5, Y5
	VMULPD Y14, Y6, Y6
	VMULPD Y14, Y7, Y7
	VFNMADD213PD Y4, Y15, Y0 // c*x - s*f
	VFNMADD213PD Y5, Y15, Y1
	VFNMADD213PD Y6, Y15, Y2
	VFNMADD213PD Y7, Y15, Y3
	VMOVUPD Y8, (DI)
	VMOVUPD Y9, 32(DI)
	VMOVUPD Y10, 64(DI)
	VMOVUPD Y11, 96(DI)
	SUBQ $128, DI
	ADDQ $16, SI
	SUBQ $1, CX
	JNZ  next

	VMOVUPD Y0, (DI)
	VMOVUPD Y1, 32(DI)
	VMOVUPD Y2, 64(DI)
	VMOVUPD Y3, 96(DI)
	VZEROUPPER
	RET
