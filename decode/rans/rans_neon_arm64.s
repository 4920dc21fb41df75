//go:build !purego

#include "textflag.h"
#include "go_asm.h"

// Advanced SIMD instructions by register number, as words: most have no
// mnemonic in the Go assembler. Encodings: Arm Architecture Reference Manual for
// A-profile (DDI 0487), C7.2. Lanes are bytes unless the comment says otherwise.
#define LDQ(q, n, off) WORD $(0x3DC00000 | (off)/16<<10 | (n)<<5 | (q))
#define STQ(q, n, off) WORD $(0x3D800000 | (off)/16<<10 | (n)<<5 | (q))
#define LDQP(q, n)     WORD $(0x3CC10400 | (n)<<5 | (q))
#define STQP(q, n)     WORD $(0x3C810400 | (n)<<5 | (q))
#define LDPP(a, b, n)  WORD $(0xACC10000 | (b)<<10 | (n)<<5 | (a))
#define LDDX(d, n, m)  WORD $(0xFC606800 | (m)<<16 | (n)<<5 | (d)) // 8 bytes at Xn + Xm
#define LDDX8(d, n, m) WORD $(0xFC607800 | (m)<<16 | (n)<<5 | (d)) // 8 bytes at Xn + 8*Xm
#define USHR(d, n, k)  WORD $(0x6F000400 | (16-k)<<16 | (n)<<5 | (d))
#define SHL(d, n, k)   WORD $(0x4F005400 | (8+k)<<16 | (n)<<5 | (d))
#define SRI(d, n, k)   WORD $(0x6F004400 | (16-k)<<16 | (n)<<5 | (d)) // keeps the top k bits of d
#define TBL(d, n, m)   WORD $(0x4E000000 | (m)<<16 | (n)<<5 | (d))
#define TBLX2(d, n, m) WORD $(0x4E002000 | (m)<<16 | (n)<<5 | (d))
#define TBLD(d, n, m)  WORD $(0x0E000000 | (m)<<16 | (n)<<5 | (d)) // 8 lanes
#define SUBB(d, n, m)   WORD $(0x6E208400 | (m)<<16 | (n)<<5 | (d))
#define ADDB(d, n, m)   WORD $(0x4E208400 | (m)<<16 | (n)<<5 | (d))
#define ADDP(d, n, m)  WORD $(0x4E20BC00 | (m)<<16 | (n)<<5 | (d))
#define ANDB(d, n, m)   WORD $(0x4E201C00 | (m)<<16 | (n)<<5 | (d))
#define ZERO(d)        WORD $(0x6E201C00 | (d)<<16 | (d)<<5 | (d))
#define BIT(d, n, m)   WORD $(0x6EA01C00 | (m)<<16 | (n)<<5 | (d)) // d = n where m has ones
#define UZP1(d, n, m)  WORD $(0x4E001800 | (m)<<16 | (n)<<5 | (d))
#define UZP2(d, n, m)  WORD $(0x4E005800 | (m)<<16 | (n)<<5 | (d))
#define ZIPD(d, n, m)  WORD $(0x4EC03800 | (m)<<16 | (n)<<5 | (d)) // low halves of n and m
#define CMHI(d, n, m)  WORD $(0x6E203400 | (m)<<16 | (n)<<5 | (d))
#define CMEQ0(d, n)    WORD $(0x4E209800 | (n)<<5 | (d))
#define CMTST(d, n, m) WORD $(0x4E208C00 | (m)<<16 | (n)<<5 | (d))
#define CNTD(d, n)     WORD $(0x0E205800 | (n)<<5 | (d))           // 8 lanes
#define MOVI(d, v)     WORD $(0x4F00E400 | ((v)>>5)<<16 | ((v)&31)<<5 | (d))
#define FMOVX(x, d)    WORD $(0x9E660000 | (d)<<5 | (x))           // the low 64 bits
// 8-bit to 16-bit lanes: low and high halves.
#define UMULL(d, n, m)  WORD $(0x2E20C000 | (m)<<16 | (n)<<5 | (d))
#define UMULL2(d, n, m) WORD $(0x6E20C000 | (m)<<16 | (n)<<5 | (d))
#define UADDW(d, n, m)  WORD $(0x2E201000 | (m)<<16 | (n)<<5 | (d))
#define UADDW2(d, n, m) WORD $(0x6E201000 | (m)<<16 | (n)<<5 | (d))
#define SMULL(d, n, m)  WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d))
#define SMLAL2(d, n, m) WORD $(0x4E208000 | (m)<<16 | (n)<<5 | (d))
// 32-bit lanes.
#define SDOT(d, n, m)  WORD $(0x4E809400 | (m)<<16 | (n)<<5 | (d))
#define SADALP(d, n)   WORD $(0x4E606800 | (n)<<5 | (d))           // adds pairs of 16-bit lanes
#define ADDS4(d, n, m) WORD $(0x4EA08400 | (m)<<16 | (n)<<5 | (d))
#define ADDP4(d, n, m) WORD $(0x4EA0BC00 | (m)<<16 | (n)<<5 | (d))
#define DUP4(d, x)     WORD $(0x4E040C00 | (x)<<5 | (d))

// The tables of a class are shuffles of 16 bytes: see binTables. A lane group is
// decoded as four quarters of 16 lanes; states stay in kernelArgs, so that one
// loop over groups serves all widths. With SDOT and no raw planes a weight takes
// 2.9 instructions in scalar mode and 3.5 in mode DQ (panels of four groups).
//
//	R0  arguments                 R1  next byte of the stream
//	R2  tables                    R3  8 * group, the index of pointers
//	R4  rows left in the block    R5  class of the next row
//	R6  raw planes                R7  R0 + 64 * group, the base of lanes
//	R8  offset of the row's class R9  where the row's sums go
//	R14 expandTable               R15 activations of the group, or 0
//	R16 8 * groups                R17 whether there is SDOT
//	R19 bytes of 1                R20 raw planes left
//	R21 mask of lanes that take a byte   R22 bytes taken before each eight lanes
//	R23 where levels go           R10 to R13 temporaries
//	V0-V3   low state bytes       V4-V7  lanes below 256, as masks
//	V28-V31 levels                V16-V27 tables
//	V13     sums of the row       V14     bits of a lane in its byte
//	V15     transitions           V8-V12  temporaries

DATA lanebit<>+0(SB)/8, $0x8040201008040201
DATA lanebit<>+8(SB)/8, $0x8040201008040201
GLOBL lanebit<>(SB), RODATA|NOPTR, $16

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

// next[state][parity] for an index of 2*state + parity.
DATA transition<>+0(SB)/8, $0x0406030105070200
DATA transition<>+8(SB)/8, $0x0604010307050002
GLOBL transition<>(SB), RODATA|NOPTR, $16

#define LOW kernelArgs_cursor+cursor_lo
#define HIGH kernelArgs_cursor+cursor_hi
#define DQ kernelArgs_cursor+cursor_dq

// RANK(F, lo, base, first, second): V10 = rank of the slots in lo, whose bins
// are in V9.
#define RANK(F, lo, base, first, second) \
	F(10, base, 9); \
	F(11, first, 9); \
	F(12, second, 9); \
	CMHI(11, lo, 11); \
	CMHI(12, lo, 12); \
	SUBB(10, 10, 11); \
	SUBB(10, 10, 12)

// STEP(F, i, lo, z, freq, start): x = f*(x>>8) + slot - start for the ranks in
// V10; z = lanes that fell below 256 and wait for a byte.
#define STEP(F, i, lo, z, freq, start) \
	F(11, freq, 10); \
	F(12, start, 10); \
	LDQ(9, 7, HIGH+i*16); \
	SUBB(12, lo, 12); \
	UMULL(8, 11, 9); \
	UMULL2(9, 11, 9); \
	UADDW(8, 8, 12); \
	UADDW2(9, 9, 12); \
	UZP1(lo, 8, 9); \
	UZP2(10, 8, 9); \
	CMEQ0(z, 10); \
	BIT(10, lo, z); \
	STQ(10, 7, HIGH+i*16)

#define SCALAR(i, lo, z, level) \
	LDQ(lo, 7, LOW+i*16); \
	USHR(9, lo, 4); \
	RANK(TBL, lo, 16, 17, 18); \
	TBL(level, 19, 10); \
	STEP(TBL, i, lo, z, 20, 21)

// In mode DQ bins and ranks have the quantiser in bit 4.
#define DEPENDENT(i, lo, z, level) \
	LDQ(lo, 7, LOW+i*16); \
	LDQ(8, 7, DQ+i*16); \
	SHL(9, 8, 7); \
	SRI(9, lo, 1); \
	USHR(9, 9, 3); \
	RANK(TBLX2, lo, 16, 18, 20); \
	TBLX2(level, 22, 10); \
	STEP(TBLX2, i, lo, z, 24, 26)

// EIGHT(d, k): d = the bytes of eight lanes that take one.
#define EIGHT(d, t, k) \
	UBFX $(8*k), R21, $8, R10; \
	UBFX $(8*k), R22, $8, R11; \
	LDDX(d, 1, 11); \
	LDDX8(t, 14, 10); \
	TBLD(d, d, t)

#define SIXTEEN(i, lo, z, k, l) \
	EIGHT(8, 9, k); \
	EIGHT(10, 11, l); \
	ZIPD(8, 8, 10); \
	BIT(lo, 8, z); \
	STQ(lo, 7, LOW+i*16)

// REFILL: lanes below 256 shift in a byte, in lane order.
#define REFILL \
	ANDB(8, 4, 14); \
	ANDB(9, 5, 14); \
	ANDB(10, 6, 14); \
	ANDB(11, 7, 14); \
	ADDP(8, 8, 9); \
	ADDP(10, 10, 11); \
	ADDP(8, 8, 10); \
	ADDP(8, 8, 8); \
	CNTD(9, 8); \
	FMOVX(21, 8); \
	FMOVX(22, 9); \
	MUL  R19, R22; \
	LSR  $56, R22, R12; \
	LSL  $8, R22; \
	SIXTEEN(0, 0, 4, 0, 1); \
	SIXTEEN(1, 1, 5, 2, 3); \
	SIXTEEN(2, 2, 6, 4, 5); \
	SIXTEEN(3, 3, 7, 6, 7); \
	ADD  R12, R1

// PLANE: one raw bit below the levels.
#define PLANE(level, s) \
	TBL(s, 8, s); \
	CMTST(s, s, 14); \
	SHL(level, level, 1); \
	SUBB(level, level, s)

#define PLANES(loop) \
	MOVD kernelArgs_planes(R0), R20; \
loop: \
	MOVD $spread<>(SB), R10; \
	LDPP(9, 10, 10); \
	LDPP(11, 12, 10); \
	FMOVD.P 8(R6), F8; \
	PLANE(28, 9); \
	PLANE(29, 10); \
	PLANE(30, 11); \
	PLANE(31, 12); \
	SUBS $1, R20; \
	BNE  loop

// FLAT: the trellis states of a quarter, by the parity in bit 7 of its levels.
#define FLAT(i, level) \
	LDQ(9, 7, DQ+i*16); \
	SHL(9, 9, 1); \
	SRI(9, level, 7); \
	TBL(9, 15, 9); \
	STQ(9, 7, DQ+i*16); \
	ANDB(level, level, 8)

// DEEP: the same with raw planes; the level is 2u + 1 - q for the index u. V8
// has bytes of 1.
#define DEEP(i, level) \
	LDQ(9, 7, DQ+i*16); \
	SHL(10, 9, 1); \
	SHL(11, level, 7); \
	SRI(10, 11, 7); \
	TBL(10, 15, 10); \
	STQ(10, 7, DQ+i*16); \
	ANDB(9, 9, 8); \
	SHL(level, level, 1); \
	SUBB(9, 8, 9); \
	ADDB(level, level, 9)

// DOTP: 16 products at a time; without SDOT in 16 bits, where two cannot
// overflow (2*127*128 = 32512).
#define MUL16(w, x) \
	SMULL(12, w, x); \
	SMLAL2(12, w, x); \
	SADALP(13, 12)

// EMIT: multiply the levels with the group's activations, or store them.
#define EMIT(wide, store, done) \
	CBZ  R15, store; \
	LDPP(8, 9, 15); \
	LDPP(10, 11, 15); \
	CBZ  R17, wide; \
	SDOT(13, 28, 8); \
	SDOT(13, 29, 9); \
	SDOT(13, 30, 10); \
	SDOT(13, 31, 11); \
	B    done; \
wide: \
	MUL16(28, 8); \
	MUL16(29, 9); \
	MUL16(30, 10); \
	MUL16(31, 11); \
	B    done; \
store: \
	STQP(28, 23); \
	STQP(29, 23); \
	STQP(30, 23); \
	STQP(31, 23); \
done:

#define BEGIN \
	MOVD  a+0(FP), R0; \
	MOVD  kernelArgs_class(R0), R5; \
	MOVD  kernelArgs_rawAt(R0), R6; \
	MOVD  kernelArgs_expand(R0), R14; \
	MOVD  kernelArgs_at(R0), R23; \
	MOVD  kernelArgs_groups(R0), R16; \
	LSL   $3, R16; \
	MOVBU kernelArgs_hasDot(R0), R17; \
	MOVD  $0x0101010101010101, R19; \
	MOVD  $lanebit<>(SB), R10; \
	LDQ(14, 10, 0)

// BLOCK: R4 = the rows of the next block.
#define BLOCK(end) \
	MOVD kernelArgs_rows(R0), R10; \
	CBZ  R10, end; \
	MOVD $16, R4; \
	CMP  R4, R10; \
	CSEL LT, R10, R4, R4; \
	SUB  R4, R10; \
	MOVD R10, kernelArgs_rows(R0); \
	ADD  $kernelArgs_sums, R0, R9

#define ROW(stride) \
	MOVBU.P 1(R5), R8; \
	MOVD  $stride, R10; \
	MUL   R10, R8; \
	MOVD  kernelArgs_act(R0), R15; \
	MOVD  R0, R7; \
	MOVD  ZR, R3; \
	ZERO(13)

// GROUP: pointers of group R3/8; R10 is left at its pointers.
#define GROUP \
	ADD  R3, R0, R10; \
	MOVD kernelArgs_next(R10), R1; \
	MOVD kernelArgs_tab(R10), R2; \
	ADD  R8, R2

// NEXT: on to the next group, row and block.
#define NEXT(group, row, block) \
	ADD  R3, R0, R10; \
	MOVD R1, kernelArgs_next(R10); \
	ADD  $64, R7; \
	ADD  $8, R3; \
	CMP  R16, R3; \
	BLT  group; \
	STQP(13, 9); \
	SUBS $1, R4; \
	BNE  row; \
	CLAMP(0); \
	CLAMP(8); \
	CLAMP(16); \
	CLAMP(24); \
	MOVD kernelArgs_act(R0), R15; \
	CBZ  R15, block; \
	MOVD kernelArgs_bias(R0), R10; \
	DUP4(12, 10); \
	ADD  $kernelArgs_sums, R0, R9; \
	REDUCE4; \
	REDUCE4; \
	REDUCE4; \
	REDUCE4; \
	B    block

// REDUCE4: dots of the next four rows.
#define REDUCE4 \
	LDPP(8, 9, 9); \
	LDPP(10, 11, 9); \
	ADDP4(8, 8, 9); \
	ADDP4(10, 10, 11); \
	ADDP4(8, 8, 10); \
	ADDS4(8, 8, 12); \
	STQP(8, 23)

// CLAMP(off): a stream that has overrun stays one byte past its end, so that a
// block never reads further than Slack bytes beyond the chunk.
#define CLAMP(off) \
	MOVD kernelArgs_last+off(R0), R10; \
	MOVD kernelArgs_next+off(R0), R11; \
	ADD  $1, R10; \
	CMP  R10, R11; \
	CSEL HI, R10, R11, R11; \
	MOVD R11, kernelArgs_next+off(R0)

#define END \
	MOVD R6, kernelArgs_rawAt(R0); \
	RET

// func rowsScalarNEON(a *kernelArgs)
TEXT ·rowsScalarNEON(SB), NOSPLIT, $0-8
	BEGIN

block:
	BLOCK(end)

row:
	ROW(96)

group:
	GROUP
	LDPP(16, 17, 2)
	LDPP(18, 19, 2)
	LDPP(20, 21, 2)
	SCALAR(0, 0, 4, 28)
	SCALAR(1, 1, 5, 29)
	SCALAR(2, 2, 6, 30)
	SCALAR(3, 3, 7, 31)
	REFILL
	MOVD kernelArgs_planes(R0), R20
	CBZ  R20, emit
	PLANES(planes)

emit:
	EMIT(wide, store, done)
	NEXT(group, row, block)

end:
	END

// func rowsDQNEON(a *kernelArgs)
TEXT ·rowsDQNEON(SB), NOSPLIT, $0-8
	BEGIN
	MOVD $transition<>(SB), R10
	LDQ(15, 10, 0)

block:
	BLOCK(end)

row:
	ROW(192)

group:
	GROUP
	LDPP(16, 17, 2)
	LDPP(18, 19, 2)
	LDPP(20, 21, 2)
	LDPP(22, 23, 2)
	LDPP(24, 25, 2)
	LDPP(26, 27, 2)
	DEPENDENT(0, 0, 4, 28)
	DEPENDENT(1, 1, 5, 29)
	DEPENDENT(2, 2, 6, 30)
	DEPENDENT(3, 3, 7, 31)
	REFILL
	MOVD kernelArgs_planes(R0), R20
	CBNZ R20, deep
	MOVI(8, 127)
	FLAT(0, 28)
	FLAT(1, 29)
	FLAT(2, 30)
	FLAT(3, 31)

emit:
	EMIT(wide, store, done)
	NEXT(group, row, block)

deep:
	PLANES(planes)
	MOVI(8, 1)
	DEEP(0, 28)
	DEEP(1, 29)
	DEEP(2, 30)
	DEEP(3, 31)
	B    emit

end:
	END
