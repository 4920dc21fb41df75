//go:build !purego

#include "textflag.h"

// Float64 matrix products in AVX-512, added to what is there. Every output has
// one accumulator per lane, added up across lanes in one order, whichever kernel
// computes it: see FOLD4.

// FOLD4 adds up the lanes of a, b, c and d, (0+4)+(1+5) + (2+6)+(3+7), and leaves
// the sums of a and b in xa, of c and d in xc; Y16 is lost.
#define FOLD4(za, ya, xa, zb, yb, zc, yc, xc, zd, yd) \
	VEXTRACTF64X4 $1, za, Y16 \
	VADDPD Y16, ya, ya \
	VEXTRACTF64X4 $1, zb, Y16 \
	VADDPD Y16, yb, yb \
	VEXTRACTF64X4 $1, zc, Y16 \
	VADDPD Y16, yc, yc \
	VEXTRACTF64X4 $1, zd, Y16 \
	VADDPD Y16, yd, yd \
	VHADDPD yb, ya, ya \
	VHADDPD yd, yc, yc \
	VEXTRACTF64X2 $1, ya, X16 \
	VADDPD X16, xa, xa \
	VEXTRACTF64X2 $1, yc, X16 \
	VADDPD X16, xc, xc

// func rowsF64AVX512(dst, w, x *float64, rows, cols, ldw int)
//
// rows times one token; cols is a multiple of 8, not 0.
// SI row, R8 bytes of cols, R9, R11: 1 and 3 times 8*ldw
TEXT ·rowsF64AVX512(SB), NOSPLIT, $0-48
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
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	XORL AX, AX

cols4:
	VMOVUPD (DX)(AX*1), Z8
	VFMADD231PD (SI), Z8, Z0
	VFMADD231PD (SI)(R9*1), Z8, Z1
	VFMADD231PD (SI)(R9*2), Z8, Z2
	VFMADD231PD (SI)(R11*1), Z8, Z3
	ADDQ $64, SI
	ADDQ $64, AX
	CMPQ AX, R8
	JLT  cols4

	FOLD4(Z0, Y0, X0, Z1, Y1, Z2, Y2, X2, Z3, Y3)
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
	VPXORQ Z0, Z0, Z0
	XORL AX, AX

cols1:
	VMOVUPD (DX)(AX*1), Z8
	VFMADD231PD (SI)(AX*1), Z8, Z0
	ADDQ $64, AX
	CMPQ AX, R8
	JLT  cols1

	VEXTRACTF64X4 $1, Z0, Y1
	VADDPD Y1, Y0, Y0
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

// func tileF64AVX512(dst, w, x *float64, rows, cols, ldd, ldw, ldx int)
//
// Four tokens times a multiple of four rows; cols is a multiple of 8, not 0.
// SI row, R8 bytes of cols, R9, R14: 1 and 3 times 8*ldw, R10, BX: of 8*ldd,
// R11, R12: of 8*ldx, R13 cursor in x, AX bytes left
TEXT ·tileF64AVX512(SB), NOSPLIT, $0-64
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
	LEAQ (R9)(R9*2), R14

rows4:
	SUBQ $4, CX
	JL   done
	VPXORQ Z0, Z0, Z0
	VPXORQ Z1, Z1, Z1
	VPXORQ Z2, Z2, Z2
	VPXORQ Z3, Z3, Z3
	VPXORQ Z4, Z4, Z4
	VPXORQ Z5, Z5, Z5
	VPXORQ Z6, Z6, Z6
	VPXORQ Z7, Z7, Z7
	VPXORQ Z8, Z8, Z8
	VPXORQ Z9, Z9, Z9
	VPXORQ Z10, Z10, Z10
	VPXORQ Z11, Z11, Z11
	VPXORQ Z12, Z12, Z12
	VPXORQ Z13, Z13, Z13
	VPXORQ Z14, Z14, Z14
	VPXORQ Z15, Z15, Z15
	MOVQ DX, R13
	MOVQ R8, AX

cols:
	VMOVUPD (SI), Z20
	VMOVUPD (SI)(R9*1), Z21
	VMOVUPD (SI)(R9*2), Z22
	VMOVUPD (SI)(R14*1), Z23
	VMOVUPD (R13), Z24
	VMOVUPD (R13)(R11*1), Z25
	VMOVUPD (R13)(R11*2), Z26
	VMOVUPD (R13)(R12*1), Z27
	VFMADD231PD Z20, Z24, Z0
	VFMADD231PD Z21, Z24, Z1
	VFMADD231PD Z22, Z24, Z2
	VFMADD231PD Z23, Z24, Z3
	VFMADD231PD Z20, Z25, Z4
	VFMADD231PD Z21, Z25, Z5
	VFMADD231PD Z22, Z25, Z6
	VFMADD231PD Z23, Z25, Z7
	VFMADD231PD Z20, Z26, Z8
	VFMADD231PD Z21, Z26, Z9
	VFMADD231PD Z22, Z26, Z10
	VFMADD231PD Z23, Z26, Z11
	VFMADD231PD Z20, Z27, Z12
	VFMADD231PD Z21, Z27, Z13
	VFMADD231PD Z22, Z27, Z14
	VFMADD231PD Z23, Z27, Z15
	ADDQ $64, SI
	ADDQ $64, R13
	SUBQ $64, AX
	JNZ  cols

	FOLD4(Z0, Y0, X0, Z1, Y1, Z2, Y2, X2, Z3, Y3)
	FOLD4(Z4, Y4, X4, Z5, Y5, Z6, Y6, X6, Z7, Y7)
	FOLD4(Z8, Y8, X8, Z9, Y9, Z10, Y10, X10, Z11, Y11)
	FOLD4(Z12, Y12, X12, Z13, Y13, Z14, Y14, X14, Z15, Y15)
	VADDPD (DI), X0, X0
	VADDPD 16(DI), X2, X2
	VMOVUPD X0, (DI)
	VMOVUPD X2, 16(DI)
	VADDPD (DI)(R10*1), X4, X4
	VADDPD 16(DI)(R10*1), X6, X6
	VMOVUPD X4, (DI)(R10*1)
	VMOVUPD X6, 16(DI)(R10*1)
	VADDPD (DI)(R10*2), X8, X8
	VADDPD 16(DI)(R10*2), X10, X10
	VMOVUPD X8, (DI)(R10*2)
	VMOVUPD X10, 16(DI)(R10*2)
	VADDPD (DI)(BX*1), X12, X12
	VADDPD 16(DI)(BX*1), X14, X14
	VMOVUPD X12, (DI)(BX*1)
	VMOVUPD X14, 16(DI)(BX*1)
	ADDQ $32, DI
	SUBQ R8, SI
	LEAQ (SI)(R9*4), SI
	JMP  rows4

done:
	VZEROUPPER
	RET

// func rotateAVX512(z, cs *float64, n int)
//
// n rotations, at least 1, of 16 vectors: Z0 and Z1 hold the elements that are
// passed on. DI element i+1
TEXT ·rotateAVX512(SB), NOSPLIT, $0-24
	MOVQ z+0(FP), DI
	MOVQ cs+8(FP), SI
	MOVQ n+16(FP), CX
	MOVQ CX, AX
	SHLQ $7, AX
	ADDQ AX, DI
	VMOVUPD (DI), Z0
	VMOVUPD 64(DI), Z1

next:
	VBROADCASTSD (SI), Z14
	VBROADCASTSD 8(SI), Z15
	VMOVUPD -128(DI), Z4
	VMOVUPD -64(DI), Z5
	VMULPD Z14, Z0, Z8
	VMULPD Z14, Z1, Z9
	VFMADD231PD Z15, Z4, Z8
	VFMADD231PD Z15, Z5, Z9
	VMULPD Z14, Z4, Z4
	VMULPD Z14, Z5, Z5
	VFNMADD213PD Z4, Z15, Z0 // c*x - s*f
	VFNMADD213PD Z5, Z15, Z1
	VMOVUPD Z8, (DI)
	VMOVUPD Z9, 64(DI)
	SUBQ $128, DI
	ADDQ $16, SI
	SUBQ $1, CX
	JNZ  next

	VMOVUPD Z0, (DI)
	VMOVUPD Z1, 64(DI)
	VZEROUPPER
	RET
