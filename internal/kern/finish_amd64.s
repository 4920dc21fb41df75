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
