//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// Offsets in kernelArgs.
#define LO kernelArgs_cursor+cursor_lo
#define HI kernelArgs_cursor+cursor_hi
#define DQ kernelArgs_cursor+cursor_dq
#define POS kernelArgs_next
#define END kernelArgs_last
#define TAB kernelArgs_tab
#define CLASS kernelArgs_class
#define ACT kernelArgs_act
#define RAW kernelArgs_rawAt
#define AT kernelArgs_at
#define ROWS kernelArgs_rows
#define GROUPS kernelArgs_groups
#define PLANES kernelArgs_planes
#define BIAS kernelArgs_bias
#define SUMS kernelArgs_sums

// The states of a lane group take 30 cycles from step to step, its instructions 14 to
// 20. So a row of all lane groups of a panel goes from stage to stage side by
// side: with the groups one after another dependent quantisation took 6 % longer.
//
// Registers of both kernels.
//
//	AX        arguments
//	SI DI R8 R9      next byte of streams 0 to 3
//	R10 R11 R12 R13  tables of groups 0 to 3; BX is added for the row's class
//	CX        rows left in the block       DX  raw planes
//	R15       class of the next row        R14 temporary
//	Z0-Z3 low state bytes, Z4-Z7 high state bytes, Z8-Z11 trellis states
//	Z12 sum of the row's products, Z24 temporary
//	Z16-Z19 symbols, then a temporary of each group, as Z20-Z23 are
//	K1-K4 a mask of each group, K7 temporary, K5 even lanes, K6 odd lanes
//	Z26 swaps the bytes of words
//	Z27 transition table, Z28 bytes of 2, Z29 bytes of 1, Z31 words of 0x00ff

// A stage is told of each group: number, low and high bytes of the states, symbols
// (s), temporary (t), next byte, table, mask, trellis states.
#define EACH1(STAGE) \
	STAGE(0, Z0, Z4, Z16, Z20, SI, R10, K1, Z8)
#define EACH2(STAGE) \
	EACH1(STAGE); \
	STAGE(1, Z1, Z5, Z17, Z21, DI, R11, K2, Z9)
#define EACH3(STAGE) \
	EACH2(STAGE); \
	STAGE(2, Z2, Z6, Z18, Z22, R8, R12, K3, Z10)
#define EACH4(STAGE) \
	EACH3(STAGE); \
	STAGE(3, Z3, Z7, Z19, Z23, R9, R13, K4, Z11)

// LOOKUP(off, s, tmp): s = symbol of each slot in lo, from the 256 bytes at off of
// the table; k = slots of 128 and more.
#define LOOKUP(off, lo, s, tmp, tab, k) \
	VMOVDQU64 off(tab)(BX*1), s; \
	VPERMT2B  off+64(tab)(BX*1), lo, s; \
	VMOVDQU64 off+128(tab)(BX*1), tmp; \
	VPERMT2B  off+192(tab)(BX*1), lo, tmp; \
	VMOVDQU8  tmp, k, s

// SYMBOL and SYMBOLDQ: s = symbol; with dependent quantisation the quantiser is
// its bit 4. Trellis states are kept doubled: their quantiser is bit 1.
#define SYMBOL(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPMOVB2M lo, k; \
	LOOKUP(0, lo, s, t, tab, k)

#define SYMBOLDQ(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPMOVB2M lo, k; \
	LOOKUP(0, lo, s, t, tab, k); \
	LOOKUP(256, lo, t, Z24, tab, k); \
	VPTESTMB Z28, dq, K7; \
	VMOVDQU8 t, K7, s

// SYMBOLEVEN and SYMBOLEVENDQ: the same if all frequencies are even, so that a
// table says for two slots at a time whose they are.
#define LOOKUPEVEN(off, t, s, tab) \
	VMOVDQU64 off(tab)(BX*1), s; \
	VPERMT2B  off+64(tab)(BX*1), t, s

#define SYMBOLEVEN(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPSRLW $1, lo, t; \
	LOOKUPEVEN(0, t, s, tab)

#define SYMBOLEVENDQ(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPSRLW    $1, lo, Z24; \
	LOOKUPEVEN(0, Z24, s, tab); \
	LOOKUPEVEN(256, Z24, t, tab); \
	VPTESTMB  Z28, dq, K7; \
	VMOVDQU8  t, K7, s

// LEVEL and LEVELDQ: t = level without raw planes.
#define LEVEL(n, lo, hi, s, t, ptr, tab, k, dq) \
	VMOVDQA64 s, t

#define LEVELDQ(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPERMB     640(tab)(BX*1), s, t; \
	VPTERNLOGD $0xF8, Z29, s, dq; \
	VPSHUFB    dq, Z27, dq

// PLANE(off, t): one raw bit below the level in t. RAW1 to RAW3: t = index with so
// many raw planes.
#define PLANE(off, t) \
	KMOVQ  off(DX), K7; \
	VPADDB t, t, t; \
	VPADDB Z29, t, K7, t

#define RAW1(n, lo, hi, s, t, ptr, tab, k, dq) \
	LEVEL(n, lo, hi, s, t, ptr, tab, k, dq); \
	PLANE(n*8, t)

#define RAW2(n, lo, hi, s, t, ptr, tab, k, dq) \
	LEVEL(n, lo, hi, s, t, ptr, tab, k, dq); \
	PLANE(n*16, t); \
	PLANE(n*16+8, t)

#define RAW3(n, lo, hi, s, t, ptr, tab, k, dq) \
	LEVEL(n, lo, hi, s, t, ptr, tab, k, dq); \
	PLANE(n*24, t); \
	PLANE(n*24+8, t); \
	PLANE(n*24+16, t)

// RAW1DQ and RAW2DQ: t = 2u + 1 - q for the index u and the quantiser q.
#define INDEXDQ(tab, s, t) \
	VPERMB 640(tab)(BX*1), s, t

#define TRELLIS(t, dq) \
	VPTESTNMB  Z28, dq, K7; \
	VPTERNLOGD $0xF8, Z29, t, dq; \
	VPSHUFB    dq, Z27, dq; \
	VPADDB     t, t, t; \
	VPADDB     Z29, t, K7, t

#define RAW1DQ(n, lo, hi, s, t, ptr, tab, k, dq) \
	INDEXDQ(tab, s, t); \
	PLANE(n*8, t); \
	TRELLIS(t, dq)

#define RAW2DQ(n, lo, hi, s, t, ptr, tab, k, dq) \
	INDEXDQ(tab, s, t); \
	PLANE(n*16, t); \
	PLANE(n*16+8, t); \
	TRELLIS(t, dq)

// DOT multiplies the levels with the activations at R14, STORE puts them there.
#define DOT(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPDPBUSD n*64(R14), t, Z12

#define STORE(n, lo, hi, s, t, ptr, tab, k, dq) \
	VMOVDQU64 t, n*64(R14)

// SLOT and SLOTDQ: t = frequency of the symbol, lo = slot - its first slot.
#define SLOT(n, lo, hi, s, t, ptr, tab, k, dq) \
	VMOVDQU64 256(tab)(BX*1), t; \
	VMOVDQU64 320(tab)(BX*1), Z24; \
	VPSHUFB   s, t, t; \
	VPSHUFB   s, Z24, s; \
	VPSUBB    s, lo, lo

#define SLOTDQ(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPERMB 512(tab)(BX*1), s, t; \
	VPERMB 576(tab)(BX*1), s, s; \
	VPSUBB s, lo, lo

// ADVANCE: the next state, f*(x>>8) + slot - first slot, of even lanes in the words
// of lo, of odd lanes in those of s.
#define ADVANCE(n, lo, hi, s, t, ptr, tab, k, dq) \
	VPANDQ   Z31, hi, s; \
	VPANDQ   Z31, t, Z24; \
	VPMULLW  Z24, s, s; \
	VPANDNQ  hi, Z31, hi; \
	VPANDNQ  t, Z31, t; \
	VPMULHUW hi, t, t; \
	VPANDQ   Z31, lo, Z24; \
	VPSRLW   $8, lo, hi; \
	VPADDW   Z24, s, lo; \
	VPADDW   hi, t, s

// PART: the states as high bytes in hi and low bytes in lo; k = states below 256.
#define PART(n, lo, hi, s, t, ptr, tab, k, dq) \
	VMOVDQA64 s, hi; \
	VPSHUFB   Z26, lo, K5, hi; \
	VPSHUFB   Z26, s, K6, lo; \
	VPTESTNMB hi, hi, k

// REFILL: lanes below 256 shift in a byte, in lane order.
#define REFILL(n, lo, hi, s, t, ptr, tab, k, dq) \
	VMOVDQU8  lo, k, hi; \
	VMOVDQU64 (ptr), Z24; \
	VPEXPANDB Z24, k, lo; \
	KMOVQ     k, R14; \
	POPCNTQ   R14, R14; \
	ADDQ      R14, ptr

// REDUCE4(n): the sums of rows n to n+3 of the block, horizontally.
#define REDUCE4(n) \
	VMOVDQU32    SUMS+(n+0)*64(AX), Y16; \
	VMOVDQU32    SUMS+(n+1)*64(AX), Y17; \
	VMOVDQU32    SUMS+(n+2)*64(AX), Y18; \
	VMOVDQU32    SUMS+(n+3)*64(AX), Y19; \
	VPADDD       SUMS+(n+0)*64+32(AX), Y16, Y16; \
	VPADDD       SUMS+(n+1)*64+32(AX), Y17, Y17; \
	VPADDD       SUMS+(n+2)*64+32(AX), Y18, Y18; \
	VPADDD       SUMS+(n+3)*64+32(AX), Y19, Y19; \
	VPUNPCKLDQ   Y17, Y16, Y20; \
	VPUNPCKHDQ   Y17, Y16, Y21; \
	VPADDD       Y21, Y20, Y20; \
	VPUNPCKLDQ   Y19, Y18, Y21; \
	VPUNPCKHDQ   Y19, Y18, Y22; \
	VPADDD       Y22, Y21, Y21; \
	VPUNPCKLQDQ  Y21, Y20, Y16; \
	VPUNPCKHQDQ  Y21, Y20, Y17; \
	VPADDD       Y17, Y16, Y16; \
	VEXTRACTI32X4 $1, Y16, X17; \
	VPADDD       X17, X16, X16; \
	VPADDD       X30, X16, X16; \
	VMOVDQU32    X16, (n*4)(R14)

// CLAMP(ptr, off): a stream that has overrun stays one byte past its end, so
// that a block never reads further than Slack bytes beyond the chunk.
#define CLAMP(ptr, off) \
	MOVQ    END+off(AX), R14; \
	INCQ    R14; \
	CMPQ    ptr, R14; \
	CMOVQHI R14, ptr

#define BEGIN \
	MOVQ         a+0(FP), AX; \
	VMOVDQU64    LO+0(AX), Z0; \
	VMOVDQU64    LO+64(AX), Z1; \
	VMOVDQU64    LO+128(AX), Z2; \
	VMOVDQU64    LO+192(AX), Z3; \
	VMOVDQU64    HI+0(AX), Z4; \
	VMOVDQU64    HI+64(AX), Z5; \
	VMOVDQU64    HI+128(AX), Z6; \
	VMOVDQU64    HI+192(AX), Z7; \
	MOVQ         POS+0(AX), SI; \
	MOVQ         POS+8(AX), DI; \
	MOVQ         POS+16(AX), R8; \
	MOVQ         POS+24(AX), R9; \
	MOVQ         TAB+0(AX), R10; \
	MOVQ         TAB+8(AX), R11; \
	MOVQ         TAB+16(AX), R12; \
	MOVQ         TAB+24(AX), R13; \
	MOVQ         CLASS(AX), R15; \
	MOVQ         RAW(AX), DX; \
	MOVQ         BIAS(AX), R14; \
	VPBROADCASTD R14, X30; \
	MOVL         $0x00ff00ff, R14; \
	VPBROADCASTD R14, Z31; \
	MOVL         $0x01010101, R14; \
	VPBROADCASTD R14, Z29; \
	VBROADCASTI32X4 swapped<>(SB), Z26; \
	MOVQ         $0x5555555555555555, R14; \
	KMOVQ        R14, K5; \
	KNOTQ        K5, K6

#define FINISH \
	VMOVDQU64 Z0, LO+0(AX); \
	VMOVDQU64 Z1, LO+64(AX); \
	VMOVDQU64 Z2, LO+128(AX); \
	VMOVDQU64 Z3, LO+192(AX); \
	VMOVDQU64 Z4, HI+0(AX); \
	VMOVDQU64 Z5, HI+64(AX); \
	VMOVDQU64 Z6, HI+128(AX); \
	VMOVDQU64 Z7, HI+192(AX); \
	MOVQ      SI, POS+0(AX); \
	MOVQ      DI, POS+8(AX); \
	MOVQ      R8, POS+16(AX); \
	MOVQ      R9, POS+24(AX); \
	MOVQ      DX, RAW(AX)

// Bytes 1, 0, 3, 2 ...
DATA swapped<>+0(SB)/8, $0x0607040502030001
DATA swapped<>+8(SB)/8, $0x0e0f0c0d0a0b0809
GLOBL swapped<>(SB), RODATA|NOPTR, $16

// next[state][parity], doubled, for an index of 2*state + parity.
DATA transitions<>+0(SB)/8, $0x080c06020a0e0400
DATA transitions<>+8(SB)/8, $0x0c0802060e0a0004
GLOBL transitions<>(SB), RODATA|NOPTR, $16

// LOOP is the loop over the rows of a block. What is rarely wanted, raw planes and
// storing levels, stands behind the kernel, so that the common way jumps nowhere.
#define LOOP(EACH, stride, SYMBOL, LEVEL, SLOT, row, raw, have, store, done) \
	PCALIGN   $64; \
row: \
	MOVBLZX   (R15), BX; \
	INCQ      R15; \
	IMULQ     $stride, BX; \
	VPXORD    Z12, Z12, Z12; \
	EACH(SYMBOL); \
	CMPQ      PLANES(AX), $0; \
	JNE       raw; \
	EACH(LEVEL); \
have: \
	MOVQ      ACT(AX), R14; \
	TESTQ     R14, R14; \
	JZ        store; \
	EACH(DOT); \
done: \
	EACH(SLOT); \
	EACH(ADVANCE); \
	EACH(PART); \
	EACH(REFILL); \
	MOVQ      sums-8(SP), R14; \
	VMOVDQU64 Z12, (R14); \
	ADDQ      $64, sums-8(SP); \
	DECQ      CX; \
	JNZ       row; \
	JMP       sums

// BLOCK begins a block of CX = min(16, rows left) rows and goes to the loop for the
// number of lane groups, BLOCKEND stands behind the loops.
#define BLOCK \
block: \
	MOVQ    ROWS(AX), R14; \
	MOVQ    $16, CX; \
	CMPQ    R14, CX; \
	CMOVQLT R14, CX; \
	SUBQ    CX, ROWS(AX); \
	TESTQ   CX, CX; \
	JZ      end; \
	LEAQ    SUMS(AX), R14; \
	MOVQ    R14, sums-8(SP); \
	CMPQ    GROUPS(AX), $3; \
	JEQ     row3; \
	JGT     row4; \
	CMPQ    GROUPS(AX), $2; \
	JEQ     row2; \
	JMP     row1

#define BLOCKEND \
sums: \
	CLAMP(SI, 0); \
	CLAMP(DI, 8); \
	CLAMP(R8, 16); \
	CLAMP(R9, 24); \
	CMPQ ACT(AX), $0; \
	JEQ  block; \
	MOVQ AT(AX), R14; \
	REDUCE4(0); \
	REDUCE4(4); \
	REDUCE4(8); \
	REDUCE4(12); \
	ADDQ $64, AT(AX); \
	JMP  block

// STORED, RARESCALAR and RAREDQ are what LOOP leaves out, for each number of groups.
#define STORED(EACH, groups, store, done) \
store: \
	MOVQ AT(AX), R14; \
	EACH(STORE); \
	ADDQ $(groups*64), AT(AX); \
	JMP  done

#define RARESCALAR(EACH, groups, raw, raw2, raw3, have) \
raw: \
	CMPQ PLANES(AX), $2; \
	JEQ  raw2; \
	JGT  raw3; \
	EACH(RAW1); \
	ADDQ $(groups*8), DX; \
	JMP  have; \
raw2: \
	EACH(RAW2); \
	ADDQ $(groups*16), DX; \
	JMP  have; \
raw3: \
	EACH(RAW3); \
	ADDQ $(groups*24), DX; \
	JMP  have

#define RAREDQ(EACH, groups, raw, raw2, have) \
raw: \
	CMPQ PLANES(AX), $2; \
	JEQ  raw2; \
	EACH(RAW1DQ); \
	ADDQ $(groups*8), DX; \
	JMP  have; \
raw2: \
	EACH(RAW2DQ); \
	ADDQ $(groups*16), DX; \
	JMP  have

// The kernels, which differ in how they look up symbols.
#define SCALAR(SYMBOLS) \
	BEGIN; \
	BLOCK; \
	LOOP(EACH4, 384, SYMBOLS, LEVEL, SLOT, row4, raw4, have4, store4, done4); \
	LOOP(EACH3, 384, SYMBOLS, LEVEL, SLOT, row3, raw3, have3, store3, done3); \
	LOOP(EACH2, 384, SYMBOLS, LEVEL, SLOT, row2, raw2, have2, store2, done2); \
	LOOP(EACH1, 384, SYMBOLS, LEVEL, SLOT, row1, raw1, have1, store1, done1); \
	BLOCKEND; \
end: \
	FINISH; \
	VZEROUPPER; \
	RET; \
	RARESCALAR(EACH4, 4, raw4, raw42, raw43, have4); \
	RARESCALAR(EACH3, 3, raw3, raw32, raw33, have3); \
	RARESCALAR(EACH2, 2, raw2, raw22, raw23, have2); \
	RARESCALAR(EACH1, 1, raw1, raw12, raw13, have1); \
	STORED(EACH4, 4, store4, done4); \
	STORED(EACH3, 3, store3, done3); \
	STORED(EACH2, 2, store2, done2); \
	STORED(EACH1, 1, store1, done1)

#define DEPENDENT(SYMBOLS) \
	BEGIN; \
	VMOVDQU64       DQ+0(AX), Z8; \
	VMOVDQU64       DQ+64(AX), Z9; \
	VMOVDQU64       DQ+128(AX), Z10; \
	VMOVDQU64       DQ+192(AX), Z11; \
	VPADDB          Z8, Z8, Z8; \
	VPADDB          Z9, Z9, Z9; \
	VPADDB          Z10, Z10, Z10; \
	VPADDB          Z11, Z11, Z11; \
	VPADDB          Z29, Z29, Z28; \
	VBROADCASTI32X4 transitions<>(SB), Z27; \
	BLOCK; \
	LOOP(EACH4, 704, SYMBOLS, LEVELDQ, SLOTDQ, row4, raw4, have4, store4, done4); \
	LOOP(EACH3, 704, SYMBOLS, LEVELDQ, SLOTDQ, row3, raw3, have3, store3, done3); \
	LOOP(EACH2, 704, SYMBOLS, LEVELDQ, SLOTDQ, row2, raw2, have2, store2, done2); \
	LOOP(EACH1, 704, SYMBOLS, LEVELDQ, SLOTDQ, row1, raw1, have1, store1, done1); \
	BLOCKEND; \
end: \
	VPSRLW    $1, Z8, Z8; \
	VPSRLW    $1, Z9, Z9; \
	VPSRLW    $1, Z10, Z10; \
	VPSRLW    $1, Z11, Z11; \
	VMOVDQU64 Z8, DQ+0(AX); \
	VMOVDQU64 Z9, DQ+64(AX); \
	VMOVDQU64 Z10, DQ+128(AX); \
	VMOVDQU64 Z11, DQ+192(AX); \
	FINISH; \
	VZEROUPPER; \
	RET; \
	RAREDQ(EACH4, 4, raw4, raw42, have4); \
	RAREDQ(EACH3, 3, raw3, raw32, have3); \
	RAREDQ(EACH2, 2, raw2, raw22, have2); \
	RAREDQ(EACH1, 1, raw1, raw12, have1); \
	STORED(EACH4, 4, store4, done4); \
	STORED(EACH3, 3, store3, done3); \
	STORED(EACH2, 2, store2, done2); \
	STORED(EACH1, 1, store1, done1)

// func rowsScalarAVX512(a *kernelArgs)
TEXT ·rowsScalarAVX512(SB), NOSPLIT, $8-8
	SCALAR(SYMBOL)

// func rowsScalarEvenAVX512(a *kernelArgs)
TEXT ·rowsScalarEvenAVX512(SB), NOSPLIT, $8-8
	SCALAR(SYMBOLEVEN)

// func rowsDQAVX512(a *kernelArgs)
TEXT ·rowsDQAVX512(SB), NOSPLIT, $8-8
	DEPENDENT(SYMBOLDQ)

// func rowsDQEvenAVX512(a *kernelArgs)
TEXT ·rowsDQEvenAVX512(SB), NOSPLIT, $8-8
	DEPENDENT(SYMBOLEVENDQ)
