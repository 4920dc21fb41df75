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

// Registers of both kernels.
//
//	AX        arguments
//	SI DI R8 R9      next byte of streams 0 to 3
//	R10 R11 R12 R13  tables of groups 0 to 3; BX is added for the row's class
//	CX        rows left in the block       DX  raw planes
//	R15       class of the next row        R14 temporary
//	Z0-Z3 low state bytes, Z4-Z7 high state bytes, Z8-Z11 trellis states
//	Z12 sum of the row's products, Z13 accumulates the level, Z16-Z22 temporaries
//	Z25, Z26 the low bytes, the high bytes of the words of two registers
//	K5 even lanes, K6 odd lanes
//	Z27 transition table, Z28 bytes of 2, Z29 bytes of 1, Z31 words of 0x00ff

// FIND(lo, off, z): z = symbol of each slot in lo, from the 256 bytes at off of
// the table; K1 = slots of 128 and more.
#define FIND(lo, tab, off, z, tmp) \
	VMOVDQU64 off(tab)(BX*1), z; \
	VPERMT2B  off+64(tab)(BX*1), lo, z; \
	VMOVDQU64 off+128(tab)(BX*1), tmp; \
	VPERMT2B  off+192(tab)(BX*1), lo, tmp; \
	VMOVDQU8  tmp, K1, z

// ADVANCE(lo, hi, ptr): x = f*(x>>8) + bias for the states in (hi, lo), even
// lanes and odd lanes apart in words: f of even lanes is in Z19, of odd lanes,
// in the upper bytes, in Z17, and the bias of all in Z18. Then lanes below 256
// shift in a byte, in lane order.
#define ADVANCE(lo, hi, ptr) \
	VPANDQ     Z31, hi, Z20; \
	VPMULLW    Z20, Z19, Z19; \
	VPANDNQ    hi, Z31, Z20; \
	VPMULHUW   Z20, Z17, Z17; \
	VPANDQ     Z31, Z18, Z20; \
	VPADDW     Z20, Z19, Z19; \
	VPSRLW     $8, Z18, Z18; \
	VPADDW     Z18, Z17, Z17; \
	VMOVDQA64  Z19, hi; \
	VPERMT2B   Z17, Z26, hi; \
	VMOVDQA64  Z19, lo; \
	VPERMT2B   Z17, Z25, lo; \
	VPTESTNMB  hi, hi, K2; \
	VMOVDQU8   lo, K2, hi; \
	VMOVDQU64  (ptr), Z20; \
	VPEXPANDB  Z20, K2, lo; \
	KMOVQ      K2, R14; \
	POPCNTQ    R14, R14; \
	ADDQ       R14, ptr

// PLANE: one raw bit below the level in Z13.
#define PLANE \
	KMOVQ  (DX), K3; \
	ADDQ   $8, DX; \
	VPADDB Z13, Z13, Z13; \
	VPADDB Z29, Z13, K3, Z13

// EMIT(n, store, done): multiply the levels in Z13 with the activations of
// group n, or store them. What is rarely wanted, STORE, stands behind the kernel,
// so that the common way jumps nowhere.
#define EMIT(n, store, done) \
	MOVQ      ACT(AX), R14; \
	TESTQ     R14, R14; \
	JZ        store; \
	VPDPBUSD  n*64(R14), Z13, Z12; \
done:

#define STORE(store, done) \
store: \
	MOVQ      AT(AX), R14; \
	VMOVDQU64 Z13, (R14); \
	ADDQ      $64, AT(AX); \
	JMP       done

// SCALAR and, behind the kernel, RAWSCALAR: the raw planes.
#define SCALAR(n, lo, hi, ptr, tab, raw, flat, store, done) \
	VPMOVB2M   lo, K1; \
	FIND(lo, tab, 0, Z16, Z17); \
	VMOVDQA64  Z16, Z13; \
	CMPQ       PLANES(AX), $1; \
	JGE        raw; \
flat: \
	EMIT(n, store, done) \
	VMOVDQU64  256(tab)(BX*1), Z17; \
	VPSHUFB.Z  Z16, Z17, K5, Z19; \
	VPSHUFB.Z  Z16, Z17, K6, Z17; \
	VMOVDQU64  320(tab)(BX*1), Z18; \
	VPSHUFB    Z16, Z18, Z18; \
	VPSUBB     Z18, lo, Z18; \
	ADVANCE(lo, hi, ptr)

#define RAWSCALAR(raw, flat, store, done) \
raw: \
	PLANE; \
	CMPQ       PLANES(AX), $2; \
	JLT        flat; \
	PLANE; \
	CMPQ       PLANES(AX), $3; \
	JLT        flat; \
	PLANE; \
	JMP        flat; \
	STORE(store, done)

// With raw planes the level is 2u + 1 - q for the index u; without, it comes
// from the table. The trellis state is kept doubled: its quantiser is bit 1.
// RAWDEPENDENT, behind the kernel, does the planes.
#define DEPENDENT(n, lo, hi, dq, ptr, tab, raw, emit, store, done) \
	VPMOVB2M   lo, K1; \
	VPTESTMB   Z28, dq, K4; \
	FIND(lo, tab, 0, Z16, Z17); \
	FIND(lo, tab, 256, Z17, Z18); \
	VMOVDQU8   Z17, K4, Z16; \
	VPERMB     640(tab)(BX*1), Z16, Z13; \
	CMPQ       PLANES(AX), $1; \
	JGE        raw; \
	VPTERNLOGD $0xF8, Z29, Z16, dq; \
emit: \
	VPSHUFB    dq, Z27, dq; \
	EMIT(n, store, done) \
	VPERMB.Z   512(tab)(BX*1), Z16, K5, Z19; \
	VPERMB.Z   512(tab)(BX*1), Z16, K6, Z17; \
	VPERMB     576(tab)(BX*1), Z16, Z18; \
	VPSUBB     Z18, lo, Z18; \
	ADVANCE(lo, hi, ptr)

#define RAWDEPENDENT(dq, raw, deep, emit, store, done) \
raw: \
	PLANE; \
	CMPQ       PLANES(AX), $2; \
	JLT        deep; \
	PLANE; \
deep: \
	VPTERNLOGD $0xF8, Z29, Z13, dq; \
	KNOTQ      K4, K4; \
	VPADDB     Z13, Z13, Z13; \
	VPADDB     Z29, Z13, K4, Z13; \
	JMP        emit; \
	STORE(store, done)

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
	VMOVDQU64    evens<>(SB), Z25; \
	VPADDB       Z29, Z25, Z26; \
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

// BLOCK: CX = min(16, rows left); rows left -= CX.
#define BLOCK \
	MOVQ    ROWS(AX), R14; \
	MOVQ    $16, CX; \
	CMPQ    R14, CX; \
	CMOVQLT R14, CX; \
	SUBQ    CX, ROWS(AX)

// Bytes 0, 2, 4 ... of two registers in turn.
DATA evens<>+0(SB)/8, $0x4606440442024000
DATA evens<>+8(SB)/8, $0x4e0e4c0c4a0a4808
DATA evens<>+16(SB)/8, $0x5616541452125010
DATA evens<>+24(SB)/8, $0x5e1e5c1c5a1a5818
DATA evens<>+32(SB)/8, $0x6626642462226020
DATA evens<>+40(SB)/8, $0x6e2e6c2c6a2a6828
DATA evens<>+48(SB)/8, $0x7636743472327030
DATA evens<>+56(SB)/8, $0x7e3e7c3c7a3a7838
GLOBL evens<>(SB), RODATA|NOPTR, $64

// func rowsScalarAVX512(a *kernelArgs)
TEXT ·rowsScalarAVX512(SB), NOSPLIT, $8-8
	BEGIN

block:
	BLOCK
	TESTQ CX, CX
	JZ    end
	LEAQ  SUMS(AX), R14
	MOVQ  R14, sums-8(SP)

	PCALIGN $64
row:
	MOVBLZX (R15), BX
	INCQ    R15
	IMULQ   $384, BX
	VPXORD  Z12, Z12, Z12
	SCALAR(0, Z0, Z4, SI, R10, raw0, flat0, store0, done0)
	CMPQ    GROUPS(AX), $2
	JLT     next
	SCALAR(1, Z1, Z5, DI, R11, raw1, flat1, store1, done1)
	CMPQ    GROUPS(AX), $3
	JLT     next
	SCALAR(2, Z2, Z6, R8, R12, raw2, flat2, store2, done2)
	CMPQ    GROUPS(AX), $4
	JLT     next
	SCALAR(3, Z3, Z7, R9, R13, raw3, flat3, store3, done3)

next:
	MOVQ      sums-8(SP), R14
	VMOVDQU64 Z12, (R14)
	ADDQ      $64, sums-8(SP)
	DECQ      CX
	JNZ       row
	CLAMP(SI, 0)
	CLAMP(DI, 8)
	CLAMP(R8, 16)
	CLAMP(R9, 24)
	CMPQ      ACT(AX), $0
	JEQ       block
	MOVQ      AT(AX), R14
	REDUCE4(0)
	REDUCE4(4)
	REDUCE4(8)
	REDUCE4(12)
	ADDQ      $64, AT(AX)
	JMP       block

end:
	FINISH
	VZEROUPPER
	RET

	RAWSCALAR(raw0, flat0, store0, done0)
	RAWSCALAR(raw1, flat1, store1, done1)
	RAWSCALAR(raw2, flat2, store2, done2)
	RAWSCALAR(raw3, flat3, store3, done3)

// next[state][parity], doubled, for an index of 2*state + parity.
DATA transitions<>+0(SB)/8, $0x080c06020a0e0400
DATA transitions<>+8(SB)/8, $0x0c0802060e0a0004
GLOBL transitions<>(SB), RODATA|NOPTR, $16

// func rowsDQAVX512(a *kernelArgs)
TEXT ·rowsDQAVX512(SB), NOSPLIT, $8-8
	BEGIN
	VMOVDQU64       DQ+0(AX), Z8
	VMOVDQU64       DQ+64(AX), Z9
	VMOVDQU64       DQ+128(AX), Z10
	VMOVDQU64       DQ+192(AX), Z11
	VPADDB          Z8, Z8, Z8
	VPADDB          Z9, Z9, Z9
	VPADDB          Z10, Z10, Z10
	VPADDB          Z11, Z11, Z11
	VPADDB          Z29, Z29, Z28
	VBROADCASTI32X4 transitions<>(SB), Z27

block:
	BLOCK
	TESTQ CX, CX
	JZ    end
	LEAQ  SUMS(AX), R14
	MOVQ  R14, sums-8(SP)

	PCALIGN $64
row:
	MOVBLZX (R15), BX
	INCQ    R15
	IMULQ   $704, BX
	VPXORD  Z12, Z12, Z12
	DEPENDENT(0, Z0, Z4, Z8, SI, R10, raw0, emit0, store0, done0)
	CMPQ    GROUPS(AX), $2
	JLT     next
	DEPENDENT(1, Z1, Z5, Z9, DI, R11, raw1, emit1, store1, done1)
	CMPQ    GROUPS(AX), $3
	JLT     next
	DEPENDENT(2, Z2, Z6, Z10, R8, R12, raw2, emit2, store2, done2)
	CMPQ    GROUPS(AX), $4
	JLT     next
	DEPENDENT(3, Z3, Z7, Z11, R9, R13, raw3, emit3, store3, done3)

next:
	MOVQ      sums-8(SP), R14
	VMOVDQU64 Z12, (R14)
	ADDQ      $64, sums-8(SP)
	DECQ      CX
	JNZ       row
	CLAMP(SI, 0)
	CLAMP(DI, 8)
	CLAMP(R8, 16)
	CLAMP(R9, 24)
	CMPQ      ACT(AX), $0
	JEQ       block
	MOVQ      AT(AX), R14
	REDUCE4(0)
	REDUCE4(4)
	REDUCE4(8)
	REDUCE4(12)
	ADDQ      $64, AT(AX)
	JMP       block

end:
	VPSRLW    $1, Z8, Z8
	VPSRLW    $1, Z9, Z9
	VPSRLW    $1, Z10, Z10
	VPSRLW    $1, Z11, Z11
	VMOVDQU64 Z8, DQ+0(AX)
	VMOVDQU64 Z9, DQ+64(AX)
	VMOVDQU64 Z10, DQ+128(AX)
	VMOVDQU64 Z11, DQ+192(AX)
	FINISH
	VZEROUPPER
	RET

	RAWDEPENDENT(Z8, raw0, deep0, emit0, store0, done0)
	RAWDEPENDENT(Z9, raw1, deep1, emit1, store1, done1)
	RAWDEPENDENT(Z10, raw2, deep2, emit2, store2, done2)
	RAWDEPENDENT(Z11, raw3, deep3, emit3, store3, done3)
