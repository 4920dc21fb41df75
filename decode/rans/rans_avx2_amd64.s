//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// The tables of a class are shuffles of 16 bytes: see binTables. A lane group is
// decoded as two halves of 32 lanes; states stay in kernelArgs, so that one loop
// over groups serves all widths and several groups are in flight at once.
//
//	AX   arguments
//	SI   next byte of the stream     DX  raw planes
//	BX   tables                      DI  8 * group, the index of pointers; lanes are at 8*DI
//	CX   rows left in the block      R15 class of the next row
//	R8   offset of the row's class   R14 expandTable
//	R9 to R13 temporaries
//	Y8   products of the row         Y5, Y9 levels of the halves
//	Y11  zeros   Y13 words of 1   Y14 words of 0x00ff   Y15 bytes of 15

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

// SPLICE: X2 = the next bytes of the stream, spread over the lanes of mask R9.
#define SPLICE(x) \
	MOVBLZX R9, R10; \
	VMOVQ   (SI), x; \
	VPSHUFB (R14)(R10*8), x, x; \
	POPCNTL R10, R10; \
	ADDQ    R10, SI; \
	SHRL    $8, R9

// ADVANCE(off): the states of a half, lo in Y0, with frequencies in Y6 and
// starts in Y7: x = f*(x>>8) + lo - start, then lanes below 256 shift in a byte.
#define ADVANCE(off) \
	VPSUBB      Y7, Y0, Y7; \
	VMOVDQU     HI+off(AX)(DI*8), Y1; \
	VPAND       Y14, Y1, Y2; \
	VPAND       Y14, Y6, Y4; \
	VPMULLW     Y4, Y2, Y4; \
	VPSRLW      $8, Y1, Y1; \
	VPSRLW      $8, Y6, Y6; \
	VPMULLW     Y6, Y1, Y6; \
	VPAND       Y14, Y7, Y2; \
	VPADDW      Y2, Y4, Y4; \
	VPSRLW      $8, Y7, Y7; \
	VPADDW      Y7, Y6, Y6; \
	VPSRLW      $8, Y4, Y1; \
	VPBLENDVB   Y14, Y1, Y6, Y1; \
	VPCMPEQB    Y11, Y1, Y7; \
	VPMOVMSKB   Y7, R9; \
	VPSLLW      $8, Y6, Y0; \
	VPBLENDVB   Y14, Y4, Y0, Y0; \
	VPAND       Y7, Y0, Y2; \
	VPOR        Y2, Y1, Y1; \
	VMOVDQU     Y1, HI+off(AX)(DI*8); \
	VPANDN      Y0, Y7, Y0; \
	SPLICE(X2); \
	SPLICE(X3); \
	SPLICE(X4); \
	SPLICE(X6); \
	VPUNPCKLQDQ X3, X2, X2; \
	VPUNPCKLQDQ X6, X4, X4; \
	VINSERTI128 $1, X4, Y2, Y2; \
	VPOR        Y2, Y0, Y0; \
	VMOVDQU     Y0, LO+off(AX)(DI*8)

// LOOKUP(k, index, y): y = table k at index.
#define LOOKUP(k, index, y) \
	VBROADCASTI128 k*16(BX), y; \
	VPSHUFB        index, y, y

// SCALAR(off, level): one symbol for each lane of a half.
#define SCALAR(off, level) \
	VMOVDQU  LO+off(AX)(DI*8), Y0; \
	VPSRLW   $4, Y0, Y2; \
	VPAND    Y15, Y2, Y2; \
	LOOKUP(0, Y2, Y3); \
	LOOKUP(1, Y2, Y4); \
	VPCMPGTB Y4, Y0, Y4; \
	VPSUBB   Y4, Y3, Y3; \
	LOOKUP(2, Y2, Y4); \
	VPCMPGTB Y4, Y0, Y4; \
	VPSUBB   Y4, Y3, Y3; \
	LOOKUP(3, Y3, level); \
	LOOKUP(4, Y3, Y6); \
	LOOKUP(5, Y3, Y7); \
	ADVANCE(off)

// LOOKUP2(k, index, other, y, tmp): LOOKUP in the tables of two quantisers. A
// byte of other is that of index for quantiser 1, and has its top bit set,
// which selects nothing, for quantiser 0.
#define LOOKUP2(k, index, other, y, tmp) \
	VBROADCASTI128 k*32(BX), y; \
	VPSHUFB        index, y, y; \
	VBROADCASTI128 k*32+16(BX), tmp; \
	VPSHUFB        other, tmp, tmp; \
	VPXOR          tmp, y, y

// DEPENDENT(off, level): the same in mode DQ.
#define DEPENDENT(off, level) \
	VMOVDQU  LO+off(AX)(DI*8), Y0; \
	VMOVDQU  DQ+off(AX)(DI*8), Y4; \
	VPAND    ones<>(SB), Y4, Y4; \
	VPCMPEQB Y11, Y4, Y4; \
	VPSRLW   $4, Y0, Y2; \
	VPAND    Y15, Y2, Y2; \
	VPOR     Y4, Y2, Y6; \
	LOOKUP2(0, Y2, Y6, Y3, Y7); \
	LOOKUP2(1, Y2, Y6, Y1, Y7); \
	VPCMPGTB Y1, Y0, Y1; \
	VPSUBB   Y1, Y3, Y3; \
	LOOKUP2(2, Y2, Y6, Y1, Y7); \
	VPCMPGTB Y1, Y0, Y1; \
	VPSUBB   Y1, Y3, Y3; \
	VPOR     Y4, Y3, Y4; \
	LOOKUP2(3, Y3, Y4, level, Y7); \
	LOOKUP2(4, Y3, Y4, Y6, Y2); \
	LOOKUP2(5, Y3, Y4, Y7, Y2); \
	ADVANCE(off)

// PLANES: append the raw bits below the levels in Y9 and Y5.
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
	VPADDB       Y5, Y5, Y5; \
	VPSUBB       Y3, Y9, Y9; \
	VPSUBB       Y2, Y5, Y5; \
	DECQ         R9; \
	JNZ          loop

// EMIT(done): multiply the levels in Y9 and Y5 with the group's activations, or
// store them. Levels are at most 127, so pairs of products fit 16 bits.
#define EMIT(store, done) \
	MOVQ       kernelArgs_act(AX), R9; \
	TESTQ      R9, R9; \
	JZ         store; \
	VPMADDUBSW (R9)(DI*8), Y9, Y2; \
	VPMADDUBSW 32(R9)(DI*8), Y5, Y3; \
	VPMADDWD   Y13, Y2, Y2; \
	VPMADDWD   Y13, Y3, Y3; \
	VPADDD     Y2, Y8, Y8; \
	VPADDD     Y3, Y8, Y8; \
	JMP        done; \
store: \
	MOVQ       kernelArgs_at(AX), R9; \
	VMOVDQU    Y9, (R9); \
	VMOVDQU    Y5, 32(R9); \
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
	VMOVDQU word1<>(SB), Y13; \
	VMOVDQU wordff<>(SB), Y14; \
	VMOVDQU low4<>(SB), Y15; \
	MOVQ    kernelArgs_groups(AX), R13; \
	SHLQ    $3, R13

// BLOCK(end): CX = the rows of the next block, R12 = where their sums go.
#define BLOCK(end) \
	MOVQ    kernelArgs_rows(AX), R9; \
	MOVQ    $16, CX; \
	CMPQ    R9, CX; \
	CMOVQLT R9, CX; \
	SUBQ    CX, R9; \
	MOVQ    R9, kernelArgs_rows(AX); \
	TESTQ   CX, CX; \
	JZ      end; \
	LEAQ    kernelArgs_sums(AX), R12

#define ROW(stride) \
	MOVBLZX (R15), R8; \
	INCQ    R15; \
	IMULQ   $stride, R8; \
	VPXOR   Y8, Y8, Y8; \
	XORL    DI, DI

// NEXT: on to the next group, row and block.
#define NEXT(group, row, block) \
	MOVQ         SI, kernelArgs_next(AX)(DI*1); \
	ADDQ         $8, DI; \
	CMPQ         DI, R13; \
	JLT          group; \
	VMOVDQU      Y8, (R12); \
	ADDQ         $32, R12; \
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
TEXT ·rowsScalarAVX2(SB), NOSPLIT, $0-8
	BEGIN

block:
	BLOCK(end)

row:
	ROW(96)

group:
	GROUP
	SCALAR(0, Y9)
	SCALAR(32, Y5)
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
TEXT ·rowsDQAVX2(SB), NOSPLIT, $0-8
	BEGIN
	VBROADCASTI128 transition<>(SB), Y10
	VMOVDQU        bit3<>(SB), Y12

block:
	BLOCK(end)

row:
	ROW(192)

group:
	GROUP
	DEPENDENT(0, Y9)
	DEPENDENT(32, Y5)
	VMOVDQU DQ+0(AX)(DI*8), Y6
	VMOVDQU DQ+32(AX)(DI*8), Y7
	CMPQ    kernelArgs_planes(AX), $0
	JNE     deep

	// Levels come with the parity of the index in bit 7.
	VPSRLW  $4, Y9, Y2
	VPSRLW  $4, Y5, Y3
	VPAND   low7<>(SB), Y9, Y9
	VPAND   low7<>(SB), Y5, Y5

emit:
	VPAND   Y12, Y2, Y2
	VPAND   Y12, Y3, Y3
	VPOR    Y6, Y2, Y2
	VPOR    Y7, Y3, Y3
	VPSHUFB Y2, Y10, Y2
	VPSHUFB Y3, Y10, Y3
	VMOVDQU Y2, DQ+0(AX)(DI*8)
	VMOVDQU Y3, DQ+32(AX)(DI*8)
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
	VPSLLW   $3, Y5, Y3
	VPADDB   Y9, Y9, Y9
	VPADDB   Y5, Y5, Y5
	VPSUBB   Y0, Y9, Y9
	VPSUBB   Y1, Y5, Y5
	JMP      emit

end:
	END
