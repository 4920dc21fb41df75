//go:build !purego

#include "textflag.h"

// Fields of Sums.
#define D     0
#define ROWS  24
#define N     32
#define ZERO  40
#define SUM   48
#define SCALE 72
#define LD    96
#define FIRST 104
#define ROW   112

// func finishAVX2(s *Sums, y *float32, ldy, rows int)
//
// rows is a multiple of 8, not 0.
// AX s, DI y, SI sums, R8 4*ldy, R9 4*rows, R10 4*Rows, R11 activations' sum, R12
// their scale, R13 4*Ld, R14 row scales or 0, CX tokens left, BX 4*row, Y15 zero
// if the results count as 0, else ones
TEXT ·finishAVX2(SB), NOSPLIT, $0-32
	MOVQ s+0(FP), AX
	MOVQ y+8(FP), DI
	MOVQ ldy+16(FP), R8
	MOVQ rows+24(FP), R9
	SHLQ $2, R8
	SHLQ $2, R9
	MOVQ D(AX), SI
	MOVQ ROWS(AX), R10
	SHLQ $2, R10
	MOVQ N(AX), CX
	MOVQ SUM(AX), R11
	MOVQ SCALE(AX), R12
	MOVQ LD(AX), R13
	SHLQ $2, R13
	MOVQ ROW(AX), R14
	VPCMPEQD Y15, Y15, Y15
	CMPB FIRST(AX), $0
	JEQ  token
	VPXOR Y15, Y15, Y15

token:
	MOVL ZERO(AX), DX
	IMULL (R11), DX
	VMOVD DX, X14
	VPBROADCASTD X14, Y14
	VBROADCASTSS (R12), Y13
	XORL BX, BX
	TESTQ R14, R14
	JNZ  last

row:
	VMOVDQU (SI)(BX*1), Y0
	VPSUBD Y14, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y13, Y0, Y0
	VANDPS (DI)(BX*1), Y15, Y1
	VADDPS Y0, Y1, Y0
	VMOVUPS Y0, (DI)(BX*1)
	ADDQ $32, BX
	CMPQ BX, R9
	JLT  row
	JMP  next

last:
	VMOVDQU (SI)(BX*1), Y0
	VPSUBD Y14, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y13, Y0, Y0
	VANDPS (DI)(BX*1), Y15, Y1
	VADDPS Y0, Y1, Y0
	VMULPS (R14)(BX*1), Y0, Y0
	VMOVUPS Y0, (DI)(BX*1)
	ADDQ $32, BX
	CMPQ BX, R9
	JLT  last

next:
	ADDQ R10, SI
	ADDQ R8, DI
	ADDQ R13, R11
	ADDQ R13, R12
	DECQ CX
	JNZ  token
	VZEROUPPER
	RET

// func sumPanelsAVX2(y *float32, d *int32, stride int, center *int32, scale, row *float32, rows, panels int)
//
// rows is a multiple of 8, not 0; two vectors of rows at a time while there are.
// DI y, SI d, R8 4*stride, R9 center, R10 scale, R11 row, CX rows left, R12
// panels, AX cursor in d, BX panel
TEXT ·sumPanelsAVX2(SB), NOSPLIT, $0-64
	MOVQ y+0(FP), DI
	MOVQ d+8(FP), SI
	MOVQ stride+16(FP), R8
	SHLQ $2, R8
	MOVQ center+24(FP), R9
	MOVQ scale+32(FP), R10
	MOVQ row+40(FP), R11
	MOVQ rows+48(FP), CX
	MOVQ panels+56(FP), R12

two:
	CMPQ CX, $16
	JLT  one
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	MOVQ SI, AX
	XORL BX, BX

panel2:
	VPBROADCASTD (R9)(BX*4), Y4
	VBROADCASTSS (R10)(BX*4), Y5
	VMOVDQU (AX), Y2
	VMOVDQU 32(AX), Y3
	VPSUBD Y4, Y2, Y2
	VPSUBD Y4, Y3, Y3
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y5, Y2, Y2
	VMULPS Y5, Y3, Y3
	VADDPS Y2, Y0, Y0
	VADDPS Y3, Y1, Y1
	ADDQ R8, AX
	INCQ BX
	CMPQ BX, R12
	JLT  panel2
	VMULPS (R11), Y0, Y0
	VMULPS 32(R11), Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	ADDQ $64, SI
	ADDQ $64, DI
	ADDQ $64, R11
	SUBQ $16, CX
	JMP  two

one:
	TESTQ CX, CX
	JZ   done
	VXORPS Y0, Y0, Y0
	MOVQ SI, AX
	XORL BX, BX

panel1:
	VPBROADCASTD (R9)(BX*4), Y4
	VMOVDQU (AX), Y2
	VPSUBD Y4, Y2, Y2
	VCVTDQ2PS Y2, Y2
	VBROADCASTSS (R10)(BX*4), Y5
	VMULPS Y5, Y2, Y2
	VADDPS Y2, Y0, Y0
	ADDQ R8, AX
	INCQ BX
	CMPQ BX, R12
	JLT  panel1
	VMULPS (R11), Y0, Y0
	VMOVUPS Y0, (DI)

done:
	VZEROUPPER
	RET
