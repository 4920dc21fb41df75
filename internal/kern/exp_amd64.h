// The exponential of exp.go: the same reduction and polynomial, with fused
// multiply-add.

DATA expConst<>+0(SB)/4, $0x3fb8aa3b  // log2 e
DATA expConst<>+4(SB)/4, $0x3f317200  // ln 2, high
DATA expConst<>+8(SB)/4, $0x35bfbe8e  // ln 2, low
DATA expConst<>+12(SB)/4, $0x3ab61a8e // c6
DATA expConst<>+16(SB)/4, $0x3c0923bc // c5
DATA expConst<>+20(SB)/4, $0x3d2aab1d // c4
DATA expConst<>+24(SB)/4, $0x3e2aaa3e // c3
DATA expConst<>+28(SB)/4, $0x3effffff // c2
DATA expConst<>+32(SB)/4, $0x3f800000 // 1
DATA expConst<>+36(SB)/4, $0xc2aeac4f // smallest argument, -87.33654
DATA expConst<>+40(SB)/4, $0x80000000 // sign bit
DATA expConst<>+44(SB)/4, $0x42b17217 // largest argument, 88.72283
DATA expConst<>+48(SB)/4, $0x7f800000 // infinity
GLOBL expConst<>(SB), RODATA|NOPTR, $52

// The last two again, eight times: AVX2 has no registers left for them.
DATA expMax8<>+0(SB)/8, $0x42b1721742b17217
DATA expMax8<>+8(SB)/8, $0x42b1721742b17217
DATA expMax8<>+16(SB)/8, $0x42b1721742b17217
DATA expMax8<>+24(SB)/8, $0x42b1721742b17217
GLOBL expMax8<>(SB), RODATA|NOPTR, $32

DATA inf8<>+0(SB)/8, $0x7f8000007f800000
DATA inf8<>+8(SB)/8, $0x7f8000007f800000
DATA inf8<>+16(SB)/8, $0x7f8000007f800000
DATA inf8<>+24(SB)/8, $0x7f8000007f800000
GLOBL inf8<>(SB), RODATA|NOPTR, $32

// CONST8 fills Y4 to Y13 for EXP8.
#define CONST8 \
	VBROADCASTSS expConst<>+0(SB), Y4   \
	VBROADCASTSS expConst<>+4(SB), Y5   \
	VBROADCASTSS expConst<>+8(SB), Y6   \
	VBROADCASTSS expConst<>+12(SB), Y7  \
	VBROADCASTSS expConst<>+16(SB), Y8  \
	VBROADCASTSS expConst<>+20(SB), Y9  \
	VBROADCASTSS expConst<>+24(SB), Y10 \
	VBROADCASTSS expConst<>+28(SB), Y11 \
	VBROADCASTSS expConst<>+32(SB), Y12 \
	VBROADCASTSS expConst<>+36(SB), Y13

// EXP8 replaces Y0 by its exponential, using Y1 to Y3. NaNs fail both
// comparisons and come out of the polynomial.
#define EXP8 \
	VMULPS       Y4, Y0, Y1                \
	VROUNDPS     $8, Y1, Y1                \
	VMOVAPS      Y0, Y2                    \
	VFNMADD231PS Y5, Y1, Y2                \
	VFNMADD231PS Y6, Y1, Y2                \
	VMOVAPS      Y7, Y3                    \
	VFMADD213PS  Y8, Y2, Y3                \
	VFMADD213PS  Y9, Y2, Y3                \
	VFMADD213PS  Y10, Y2, Y3               \
	VFMADD213PS  Y11, Y2, Y3               \
	VMULPS       Y2, Y3, Y3                \
	VFMADD213PS  Y2, Y2, Y3                \
	VADDPS       Y12, Y3, Y3               \
	VCVTPS2DQ    Y1, Y1                    \
	VPSLLD       $23, Y1, Y1               \
	VPADDD       Y1, Y3, Y3                \
	VCMPPS       $1, Y13, Y0, Y1           \
	VANDNPS      Y3, Y1, Y3                \
	VCMPPS       $14, expMax8<>(SB), Y0, Y1 \
	VBLENDVPS    Y1, inf8<>(SB), Y3, Y0

// CONST16 fills Z16 to Z28 for EXP16.
#define CONST16 \
	VBROADCASTSS expConst<>+0(SB), Z16  \
	VBROADCASTSS expConst<>+4(SB), Z17  \
	VBROADCASTSS expConst<>+8(SB), Z18  \
	VBROADCASTSS expConst<>+12(SB), Z19 \
	VBROADCASTSS expConst<>+16(SB), Z20 \
	VBROADCASTSS expConst<>+20(SB), Z21 \
	VBROADCASTSS expConst<>+24(SB), Z22 \
	VBROADCASTSS expConst<>+28(SB), Z23 \
	VBROADCASTSS expConst<>+32(SB), Z24 \
	VBROADCASTSS expConst<>+36(SB), Z25 \
	VBROADCASTSS expConst<>+40(SB), Z26 \
	VBROADCASTSS expConst<>+44(SB), Z27 \
	VBROADCASTSS expConst<>+48(SB), Z28

// EXP16 is EXP8 for Z0, using Z1 to Z3, K1 and K2.
#define EXP16 \
	VMULPS       Z16, Z0, Z1       \
	VRNDSCALEPS  $8, Z1, Z1        \
	VMOVAPS      Z0, Z2            \
	VFNMADD231PS Z17, Z1, Z2       \
	VFNMADD231PS Z18, Z1, Z2       \
	VMOVAPS      Z19, Z3           \
	VFMADD213PS  Z20, Z2, Z3       \
	VFMADD213PS  Z21, Z2, Z3       \
	VFMADD213PS  Z22, Z2, Z3       \
	VFMADD213PS  Z23, Z2, Z3       \
	VMULPS       Z2, Z3, Z3        \
	VFMADD213PS  Z2, Z2, Z3        \
	VADDPS       Z24, Z3, Z3       \
	VCVTPS2DQ    Z1, Z1            \
	VPSLLD       $23, Z1, Z1       \
	VCMPPS       $5, Z25, Z0, K1   \
	VCMPPS       $14, Z27, Z0, K2  \
	VPADDD.Z     Z1, Z3, K1, Z0    \
	VMOVAPS      Z28, K2, Z0
