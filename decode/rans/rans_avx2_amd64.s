//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// The tables of a class are shuffles of 16 bytes: see binTables. A lane group is
// decoded as two halves of 32 lanes, side by side; states stay in kernelArgs, so
// that one loop over groups serves all widths.
//
//	AX   arguments
//	SI   next byte of the stream     DX  raw planes
//	BX   tables                      DI  8 * group, the index of pointers; lanes are at 8*DI
//	CX   rows left in the block      R15 class of the next row
//	R8   offset of the row's class   R14 expandTable
//	R9 to R13 temporaries
//	Y0, Y1 low state bytes           Y2, Y3 bins, then frequencies
//	Y12, Y13 ranks                   Y7, Y10 slot - start
//	Y9, Y15 levels                   Y4 to Y6 temporaries
//	Y8 products of the row           Y11 zeros   Y14 words of 0x00ff

#define CONST(name, v) \
DATA name<>+0(SB)/8, v; \
DATA name<>+8(SB)/8, v; \
DATA name<>+16(SB)/8, v; \
DATA name<>+24(SB)/8, v; \
GLOBL name<>(SB), RODATA|NOPTR, $32

CONST(low4, $0x0f0f0f0f0f0f0f0f)
CONST(low7, $0x7f7f7f7f7f7f7f7f)
CONST(ones, $0x0101010101010101)
CONST(bit3, $0x0808080808080808)
CONST(word1, $0x0001000100010001)
CONST(wordff, $0x00ff00ff00ff00ff)
CONST(lanebit, $0x8040201008040201)

// Which byte of a raw plane holds a lane.
DATA spread<>+0(SB)/8, $0x0000000000000000
DATA spread<>+8(SB)/8, $0x0101010101010101
DATA spread<>+16(SB)/8, $0x0202020202020202
DATA spread<>+24(SB)/8, $0x0303030303030303
DATA spread<>+32(SB)/8, $0x0404040404040404
DATA spread<>+40(SB)/8, $0x0505050505050505
DATA spread<>+48(SB)/8, $0x0606060606060606
DATA spread<>+56(SB)/8, $0x0707070707070707
GLOBL spread<>(SB), RODATA|NOPTR, $64

// next[state][parity] for an index of state + 8*parity.
DATA transition<>+0(SB)/8, $0x0403050206010700
DATA transition<>+8(SB)/8, $0x0601070004030502
GLOBL transition<>(SB), RODATA|NOPTR, $16

#define LO kernelArgs_cursor+cursor_lo
#define HI kernelArgs_cursor+cursor_hi
#define DQ kernelArgs_cursor+cursor_dq

// SPLICE(mask, p, t, x): x = the next bytes of the stream at p, spread over the
// lanes of the low 8 bits of mask, in its low half; mask moves on.
#define SPLICE(mask, p, t, x) \
	MOVBLZX mask, t; \
	VMOVQ   (p), x; \
	VPSHUFB (R14)(t*8), x, x; \
	POPCNTL t, t; \
	ADDQ    t, p; \
	SHRL    $8, mask

#define LASTSPLICE(mask, p, x) \
	VMOVQ   (p), x; \
	VPSHUFB (R14)(mask*8), x, x

// MULTIPLY(off, f, bias, even, s, t): x = f*(x>>8) + bias in words, odd lanes in f.
#define MULTIPLY(off, f, bias, even, s, t) \
	VMOVDQU HI+off(AX)(DI*8), s; \
	VPAND   Y14, s, even; \
	VPAND   Y14, f, t; \
	VPMULLW t, even, even; \
	VPSRLW  $8, s, s; \
	VPSRLW  $8, f, f; \
	VPMULLW s, f, f; \
	VPAND   Y14, bias, t; \
	VPADDW  t, even, even; \
	VPSRLW  $8, bias, bias; \
	VPADDW  bias, f, f

// JOIN(off, lo, hi, odd, even, mask, z): state bytes of words; lanes below 256 are
// in mask, their high byte is shifted, their low byte zero.
#define JOIN(off, lo, hi, odd, even, mask, z) \
	VPSRLW    $8, even, hi; \
	VPBLENDVB Y14, hi, odd, hi; \
	VPCMPEQB  Y11, hi, z; \
	VPMOVMSKB z, mask; \
	VPSLLW    $8, odd, lo; \
	VPBLENDVB Y14, even, lo, lo; \
	VPAND     z, lo, even; \
	VPOR      even, hi, hi; \
	VMOVDQU   hi, HI+off(AX)(DI*8); \
	VPANDN    lo, z, lo

// ADVANCE: the states of the group, from frequencies and slot - start.
#define ADVANCE \
	MULTIPLY(0, Y2, Y7, Y4, Y0, Y5); \
	MULTIPLY(32, Y3, Y10, Y6, Y1, Y5); \
	JOIN(0, Y0, Y7, Y2, Y4, R9, Y5); \
	JOIN(32, Y1, Y10, Y3, Y6, R10, Y12); \
	POPCNTL     R9, R11; \
	ADDQ        SI, R11; \
	POPCNTL     R10, R12; \
	ADDQ        R11, R12; \
	MOVQ        R12, kernelArgs_next(AX)(DI*1); \
	SPLICE(R9, SI, R12, X2); \
	SPLICE(R10, R11, R13, X3); \
	SPLICE(R9, SI, R12, X4); \
	SPLICE(R10, R11, R13, X5); \
	SPLICE(R9, SI, R12, X6); \
	SPLICE(R10, R11, R13, X7); \
	LASTSPLICE(R9, SI, X10); \
	LASTSPLICE(R10, R11, X12); \
	VPUNPCKLQDQ X4, X2, X2; \
	VPUNPCKLQDQ X5, X3, X3; \
	VPUNPCKLQDQ X10, X6, X6; \
	VPUNPCKLQDQ X12, X7, X7; \
	VINSERTI128 $1, X6, Y2, Y2; \
	VINSERTI128 $1, X7, Y3, Y3; \
	VPOR        Y2, Y0, Y0; \
	VPOR        Y3, Y1, Y1; \
	VMOVDQU     Y0, LO+0(AX)(DI*8); \
	VMOVDQU     Y1, LO+32(AX)(DI*8)

// LOOKUP(k, i, j, y, z): y and z = table k at i and j.
#define LOOKUP(k, i, j, y, z) \
	VBROADCASTI128 (k)*16(BX), Y4; \
	VPSHUFB        i, Y4, y; \
	VPSHUFB        j, Y4, z

// ABOVE(y, z): one more for the ranks of slots above the thresholds in y and z.
#define ABOVE(y, z) \
	VPCMPGTB y, Y0, y; \
	VPCMPGTB z, Y1, z; \
	VPSUBB   y, Y12, Y12; \
	VPSUBB   z, Y13, Y13

#define SLOTS \
	VMOVDQU LO+0(AX)(DI*8), Y0; \
	VMOVDQU LO+32(AX)(DI*8), Y1; \
	VPSRLW  $4, Y0, Y2; \
	VPSRLW  $4, Y1, Y3; \
	VPAND   low4<>(SB), Y2, Y2; \
	VPAND   low4<>(SB), Y3, Y3

// SCALAR: one symbol for each lane.
#define SCALAR \
	SLOTS; \
	LOOKUP(0, Y2, Y3, Y12, Y13); \
	LOOKUP(1, Y2, Y3, Y5, Y6); \
	ABOVE(Y5, Y6); \
	LOOKUP(2, Y2, Y3, Y5, Y6); \
	ABOVE(Y5, Y6); \
	LOOKUP(4, Y12, Y13, Y2, Y3); \
	LOOKUP(5, Y12, Y13, Y7, Y10); \
	VPSUBB Y7, Y0, Y7; \
	VPSUBB Y10, Y1, Y10; \
	LOOKUP(3, Y12, Y13, Y9, Y15); \
	ADVANCE

// LOOKUP2(k, i, j, y, z, s, t): LOOKUP in the tables of two quantisers. A byte of
// Y5 and Y6 is that of i and j for quantiser 1, and has its top bit set, which
// selects nothing, for quantiser 0.
#define LOOKUP2(k, i, j, y, z, s, t) \
	LOOKUP(2*k, i, j, y, z); \
	LOOKUP(2*k+1, Y5, Y6, s, t); \
	VPXOR s, y, y; \
	VPXOR t, z, z

// DEPENDENT: the same in mode DQ.
#define DEPENDENT \
	SLOTS; \
	VMOVDQU  DQ+0(AX)(DI*8), Y5; \
	VMOVDQU  DQ+32(AX)(DI*8), Y6; \
	VPAND    ones<>(SB), Y5, Y5; \
	VPAND    ones<>(SB), Y6, Y6; \
	VPCMPEQB Y11, Y5, Y5; \
	VPCMPEQB Y11, Y6, Y6; \
	VPOR     Y2, Y5, Y5; \
	VPOR     Y3, Y6, Y6; \
	LOOKUP2(0, Y2, Y3, Y12, Y13, Y7, Y10); \
	LOOKUP2(1, Y2, Y3, Y7, Y10, Y9, Y15); \
	ABOVE(Y7, Y10); \
	LOOKUP2(2, Y2, Y3, Y7, Y10, Y9, Y15); \
	ABOVE(Y7, Y10); \
	VPCMPGTB Y5, Y11, Y5; \
	VPCMPGTB Y6, Y11, Y6; \
	VPOR     Y12, Y5, Y5; \
	VPOR     Y13, Y6, Y6; \
	LOOKUP2(4, Y12, Y13, Y2, Y3, Y7, Y10); \
	LOOKUP2(5, Y12, Y13, Y7, Y10, Y9, Y15); \
	VPSUBB   Y7, Y0, Y7; \
	VPSUBB   Y10, Y1, Y10; \
	LOOKUP2(3, Y12, Y13, Y9, Y15, Y12, Y13); \
	ADVANCE

// PLANES: append the raw bits below the levels in Y9 and Y15.
#define PLANES(loop) \
	MOVQ         kernelArgs_planes(AX), R9; \
loop: \
	VPBROADCASTQ (DX), Y2; \
	ADDQ         $8, DX; \
	VPSHUFB      spread<>+0(SB), Y2, Y3; \
	VPSHUFB      spread<>+32(SB), Y2, Y2; \
	VPAND        Y7, Y3, Y3; \
	VPAND        Y7, Y2, Y2; \
	VPCMPEQB     Y7, Y3, Y3; \
	VPCMPEQB     Y7, Y2, Y2; \
	VPADDB       Y9, Y9, Y9; \
	VPADDB       Y15, Y15, Y15; \
	VPSUBB       Y3, Y9, Y9; \
	VPSUBB       Y2, Y15, Y15; \
	DECQ         R9; \
	JNZ          loop

// EMIT(done): multiply the levels in Y9 and Y15 with the group's activations, or
// store them. Levels are at most 127, so pairs of products fit 16 bits.
#define EMIT(store, done) \
	MOVQ       kernelArgs_act(AX), R9; \
	TESTQ      R9, R9; \
	JZ         store; \
	VPMADDUBSW (R9)(DI*8), Y9, Y2; \
	VPMADDUBSW 32(R9)(DI*8), Y15, Y3; \
	VPMADDWD   word1<>(SB), Y2, Y2; \
	VPMADDWD   word1<>(SB), Y3, Y3; \
	VPADDD     Y2, Y8, Y8; \
	VPADDD     Y3, Y8, Y8; \
	JMP        done; \
store: \
	MOVQ       kernelArgs_at(AX), R9; \
	VMOVDQU    Y9, (R9); \
	VMOVDQU    Y15, 32(R9); \
	ADDQ       $64, kernelArgs_at(AX); \
done:

// GROUP: pointers of group DI/8.
#define GROUP \
	MOVQ kernelArgs_next(AX)(DI*1), SI; \
	MOVQ kernelArgs_tab(AX)(DI*1), BX; \
	ADDQ R8, BX

// REDUCE4(n): dots of rows n to n+3 of the block, to (R9).
#define REDUCE4(n) \
	VMOVDQU      kernelArgs_sums+(n+0)*32(AX), Y0; \
	VMOVDQU      kernelArgs_sums+(n+2)*32(AX), Y1; \
	VPHADDD      kernelArgs_sums+(n+1)*32(AX), Y0, Y0; \
	VPHADDD      kernelArgs_sums+(n+3)*32(AX), Y1, Y1; \
	VPHADDD      Y1, Y0, Y0; \
	VEXTRACTI128 $1, Y0, X1; \
	VPADDD       X1, X0, X0; \
	VPADDD       X2, X0, X0; \
	VMOVDQU      X0, n*4(R9)

// CLAMP(g): a stream that has overrun stays one byte past its end, so that a
// block never reads further than Slack bytes beyond the chunk.
#define CLAMP(g) \
	MOVQ    kernelArgs_last+g*8(AX), R9; \
	MOVQ    kernelArgs_next+g*8(AX), R10; \
	INCQ    R9; \
	CMPQ    R10, R9; \
	CMOVQHI R9, R10; \
	MOVQ    R10, kernelArgs_next+g*8(AX)

#define BEGIN \
	MOVQ    a+0(FP), AX; \
	MOVQ    kernelArgs_class(AX), R15; \
	MOVQ    kernelArgs_rawAt(AX), DX; \
	MOVQ    kernelArgs_expand(AX), R14; \
	VPXOR   Y11, Y11, Y11; \
	VMOVDQU wordff<>(SB), Y14; \
	MOVQ    kernelArgs_groups(AX), R13; \
	SHLQ    $3, R13; \
	MOVQ    R13, groups-16(SP)

// BLOCK(end): CX = the rows of the next block.
#define BLOCK(end) \
	MOVQ    kernelArgs_rows(AX), R9; \
	MOVQ    $16, CX; \
	CMPQ    R9, CX; \
	CMOVQLT R9, CX; \
	SUBQ    CX, R9; \
	MOVQ    R9, kernelArgs_rows(AX); \
	TESTQ   CX, CX; \
	JZ      end; \
	LEAQ    kernelArgs_sums(AX), R9; \
	MOVQ    R9, sums-8(SP)

#define ROW(stride) \
	MOVBLZX (R15), R8; \
	INCQ    R15; \
	IMULQ   $stride, R8; \
	VPXOR   Y8, Y8, Y8; \
	XORL    DI, DI

// NEXT: on to the next group, row and block.
#define NEXT(group, row, block) \
	ADDQ         $8, DI; \
	CMPQ         DI, groups-16(SP); \
	JLT          group; \
	MOVQ         sums-8(SP), R9; \
	VMOVDQU      Y8, (R9); \
	ADDQ         $32, sums-8(SP); \
	DECQ         CX; \
	JNZ          row; \
	CLAMP(0); \
	CLAMP(1); \
	CLAMP(2); \
	CLAMP(3); \
	CMPQ         kernelArgs_act(AX), $0; \
	JEQ          block; \
	MOVQ         kernelArgs_at(AX), R9; \
	VPBROADCASTD kernelArgs_bias(AX), X2; \
	REDUCE4(0); \
	REDUCE4(4); \
	REDUCE4(8); \
	REDUCE4(12); \
	ADDQ         $64, kernelArgs_at(AX); \
	JMP          block

#define END \
	MOVQ DX, kernelArgs_rawAt(AX); \
	VZEROUPPER; \
	RET

// func rowsScalarAVX2(a *kernelArgs)
TEXT ·rowsScalarAVX2(SB), NOSPLIT, $16-8
	BEGIN

block:
	BLOCK(end)

row:
	ROW(96)

group:
	GROUP
	SCALAR
	CMPQ    kernelArgs_planes(AX), $0
	JEQ     emit
	VMOVDQU lanebit<>(SB), Y7
	PLANES(planes)

emit:
	EMIT(store, done)
	NEXT(group, row, block)

end:
	END

// func rowsDQAVX2(a *kernelArgs)
TEXT ·rowsDQAVX2(SB), NOSPLIT, $16-8
	BEGIN

block:
	BLOCK(end)

row:
	ROW(192)

group:
	GROUP
	DEPENDENT
	VMOVDQU DQ+0(AX)(DI*8), Y6
	VMOVDQU DQ+32(AX)(DI*8), Y7
	CMPQ    kernelArgs_planes(AX), $0
	JNE     deep

	// Levels come with the parity of the index in bit 7.
	VPSRLW  $4, Y9, Y2
	VPSRLW  $4, Y15, Y3
	VPAND   low7<>(SB), Y9, Y9
	VPAND   low7<>(SB), Y15, Y15

emit:
	VBROADCASTI128 transition<>(SB), Y4
	VPAND          bit3<>(SB), Y2, Y2
	VPAND          bit3<>(SB), Y3, Y3
	VPOR           Y6, Y2, Y2
	VPOR           Y7, Y3, Y3
	VPSHUFB        Y2, Y4, Y2
	VPSHUFB        Y3, Y4, Y3
	VMOVDQU        Y2, DQ+0(AX)(DI*8)
	VMOVDQU        Y3, DQ+32(AX)(DI*8)
	EMIT(store, done)
	NEXT(group, row, block)

deep:
	// The level is 2u + 1 - q for the index u.
	VMOVDQU  lanebit<>(SB), Y7
	PLANES(planes)
	VMOVDQU  DQ+32(AX)(DI*8), Y7
	VPAND    ones<>(SB), Y6, Y0
	VPAND    ones<>(SB), Y7, Y1
	VPCMPEQB Y11, Y0, Y0
	VPCMPEQB Y11, Y1, Y1
	VPSLLW   $3, Y9, Y2
	VPSLLW   $3, Y15, Y3
	VPADDB   Y9, Y9, Y9
	VPADDB   Y15, Y15, Y15
	VPSUBB   Y0, Y9, Y9
	VPSUBB   Y1, Y15, Y15
	JMP      emit

end:
	END
