// Advanced SIMD instructions that the Go assembler has no mnemonic for, as words.
// Registers are given by number: FADD(d, n, m) is FADD Vd.4S, Vn.4S, Vm.4S.
// Encodings: Arm Architecture Reference Manual for A-profile (DDI 0487), C7.2.

// Loads and stores of a 128-bit register at [Xn + off], and at [Xn] with Xn += 16.
#define LDQ(q, n, off) WORD $(0x3DC00000 | (off)/16<<10 | (n)<<5 | (q))
#define STQ(q, n, off) WORD $(0x3D800000 | (off)/16<<10 | (n)<<5 | (q))
#define LDQP(q, n)     WORD $(0x3CC10400 | (n)<<5 | (q))
#define STQP(q, n)     WORD $(0x3C810400 | (n)<<5 | (q))
// The low 64 or 32 bits, with Xn += 8 or 4.
#define STDP(q, n)     WORD $(0xFC008400 | (n)<<5 | (q))
#define STSP(q, n)     WORD $(0xBC004400 | (n)<<5 | (q))
#define LDD(q, n, off) WORD $(0xFD400000 | (off)/8<<10 | (n)<<5 | (q))
#define LDDP(q, n)     WORD $(0xFC408400 | (n)<<5 | (q))
// LD1R: the word at [Xn] in every lane; LDR1P then adds 4 to Xn, LDR1X adds Xm.
#define LDR1(q, n)     WORD $(0x4D40C800 | (n)<<5 | (q))
#define LDR1P(q, n)    WORD $(0x4DDFC800 | (n)<<5 | (q))
#define LDR1X(q, n, m) WORD $(0x4DC0C800 | (m)<<16 | (n)<<5 | (q))

// Four float32 lanes. FMLA: d += n*m, FMLS: d -= n*m, FCMGT: d = n > m.
#define FADD(d, n, m)  WORD $(0x4E20D400 | (m)<<16 | (n)<<5 | (d))
#define FSUB(d, n, m)  WORD $(0x4EA0D400 | (m)<<16 | (n)<<5 | (d))
#define FMUL(d, n, m)  WORD $(0x6E20DC00 | (m)<<16 | (n)<<5 | (d))
#define FDIV(d, n, m)  WORD $(0x6E20FC00 | (m)<<16 | (n)<<5 | (d))
#define FMLA(d, n, m)  WORD $(0x4E20CC00 | (m)<<16 | (n)<<5 | (d))
#define FMLS(d, n, m)  WORD $(0x4EA0CC00 | (m)<<16 | (n)<<5 | (d))
#define FADDP(d, n, m) WORD $(0x6E20D400 | (m)<<16 | (n)<<5 | (d))
#define FCMGT(d, n, m) WORD $(0x6EA0E400 | (m)<<16 | (n)<<5 | (d))
#define FNEG(d, n)     WORD $(0x6EA0F800 | (n)<<5 | (d))
#define FABS(d, n)     WORD $(0x4EA0F800 | (n)<<5 | (d))
#define FMAXV(d, n)    WORD $(0x6E30F800 | (n)<<5 | (d))

// Conversions: to and from int32 (nearest even), and binary16 (low half, high half).
#define SCVTF(d, n)    WORD $(0x4E21D800 | (n)<<5 | (d))
#define FCVTNS(d, n)   WORD $(0x4E21A800 | (n)<<5 | (d))
#define FRINTN(d, n)   WORD $(0x4E218800 | (n)<<5 | (d))
#define FCVTL(d, n)    WORD $(0x0E217800 | (n)<<5 | (d))
#define FCVTL2(d, n)   WORD $(0x4E217800 | (n)<<5 | (d))
#define FCVTN(d, n)    WORD $(0x0E216800 | (n)<<5 | (d))
#define FCVTN2(d, n)   WORD $(0x4E216800 | (n)<<5 | (d))

// Bits. MOVV copies, BIC: d = n &^ m, BIT: d = n where m has ones.
#define MOVV(d, n)     WORD $(0x4EA01C00 | (n)<<16 | (n)<<5 | (d))
#define ZERO(d)        WORD $(0x6E201C00 | (d)<<16 | (d)<<5 | (d))
#define BIC(d, n, m)   WORD $(0x4E601C00 | (m)<<16 | (n)<<5 | (d))
#define BIT(d, n, m)   WORD $(0x6EA01C00 | (m)<<16 | (n)<<5 | (d))

// Integers. SHL23 shifts 32-bit lanes left by 23, SQXTN* narrow with saturation
// (from 32 bits to the low or high half, from 16 bits to the low half), SXTL* extend
// the sign (8 bytes to 16 bits, the low or high four of those to 32).
#define IADD(d, n, m)  WORD $(0x4EA08400 | (m)<<16 | (n)<<5 | (d))
#define ISUB(d, n, m)  WORD $(0x6EA08400 | (m)<<16 | (n)<<5 | (d))
#define IADDP(d, n, m) WORD $(0x4EA0BC00 | (m)<<16 | (n)<<5 | (d))
#define UMAX(d, n, m)  WORD $(0x6EA06400 | (m)<<16 | (n)<<5 | (d))
#define UMAXV(d, n)    WORD $(0x6EB0A800 | (n)<<5 | (d))
#define SXTL8(d, n)    WORD $(0x0F08A400 | (n)<<5 | (d))
#define SXTL16(d, n)   WORD $(0x0F10A400 | (n)<<5 | (d))
#define SXTL216(d, n)  WORD $(0x4F10A400 | (n)<<5 | (d))
#define SHL23(d, n)    WORD $(0x4F375400 | (n)<<5 | (d))
#define SQXTN4(d, n)   WORD $(0x0E614800 | (n)<<5 | (d))
#define SQXTN8(d, n)   WORD $(0x4E614800 | (n)<<5 | (d))
#define SQXTNB(d, n)   WORD $(0x0E214800 | (n)<<5 | (d))

// Int16 products, added to 32-bit lanes: of the low halves, of the high halves.
#define SMLALH(d, n, m)  WORD $(0x0E608000 | (m)<<16 | (n)<<5 | (d))
#define SMLALH2(d, n, m) WORD $(0x4E608000 | (m)<<16 | (n)<<5 | (d))

// Int8 products: SDOT adds four to each 32-bit lane; SMULL multiplies the low
// halves to 16 bits, SMLAL2 adds the products of the high halves, SADALP adds
// pairs of 16-bit lanes to 32-bit ones.
#define SDOT(d, n, m)   WORD $(0x4E809400 | (m)<<16 | (n)<<5 | (d))
#define SMULL(d, n, m)  WORD $(0x0E20C000 | (m)<<16 | (n)<<5 | (d))
#define SMLAL2(d, n, m) WORD $(0x4E208000 | (m)<<16 | (n)<<5 | (d))
#define SADALP(d, n)    WORD $(0x4E606800 | (n)<<5 | (d))
