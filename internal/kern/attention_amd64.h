// Attention over keys and values of WIDTH bytes an element, of which LOAD8(m, y)
// widens eight at m to float32 as they are loaded. Included once per format. AVX2
// serves both x86 tiers: widening to 512 bits made every kernel but the joint
// weighted sum slower on Zen 4, by a quarter.
//
// Every score has one accumulator per lane, and four keys run side by side to
// hide the latency of the additions. A lone key is added up in the same order.

#define KEY8(k, acc, tmp) \
	LOAD8(k, tmp)           \
	VFMADD231PS tmp, Y4, acc

// func(dst, q []float32, k *element, stride int)
//
// len(q) is a multiple of 8.
// SI key, R8 bytes from key to key, R9 3*R8, R10 rewind, DX q, BX 4*len(q), AX cursor
TEXT SCORES(SB), NOSPLIT, $0-64
	MOVQ dst_base+0(FP), DI
	MOVQ dst_len+8(FP), CX
	MOVQ q_base+24(FP), DX
	MOVQ q_len+32(FP), BX
	MOVQ k+48(FP), SI
	MOVQ stride+56(FP), R8
	IMULQ $WIDTH, R8
	LEAQ (R8)(R8*2), R9
	IMUL3Q $WIDTH, BX, R10
	SHLQ $2, BX

keys4:
	SUBQ $4, CX
	JL   tail
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	XORL AX, AX

dims4:
	VMOVUPS (DX)(AX*1), Y4
	KEY8((SI), Y0, Y5)
	KEY8((SI)(R8*1), Y1, Y6)
	KEY8((SI)(R8*2), Y2, Y7)
	KEY8((SI)(R9*1), Y3, Y8)
	ADDQ $(8*WIDTH), SI
	ADDQ $32, AX
	CMPQ AX, BX
	JLT  dims4

	VHADDPS Y1, Y0, Y0
	VHADDPS Y3, Y2, Y2
	VHADDPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVUPS X0, (DI)
	ADDQ $16, DI
	SUBQ R10, SI
	LEAQ (SI)(R8*4), SI
	JMP  keys4

tail:
	ADDQ $4, CX

keys1:
	SUBQ $1, CX
	JL   done
	VXORPS Y0, Y0, Y0
	XORL AX, AX

dims1:
	VMOVUPS (DX)(AX*1), Y4
	KEY8((SI), Y0, Y5)
	ADDQ $(8*WIDTH), SI
	ADDQ $32, AX
	CMPQ AX, BX
	JLT  dims1

	VHADDPS Y0, Y0, Y0
	VHADDPS Y0, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0
	VMOVSS X0, (DI)
	ADDQ $4, DI
	SUBQ R10, SI
	ADDQ R8, SI
	JMP  keys1

done:
	VZEROUPPER
	RET

// The weighted sums hold a stretch of y in registers while they walk down the
// values.

#define VALUE8(o, acc, tmp) \
	LOAD8((o*WIDTH)(AX), tmp) \
	VFMADD231PS tmp, Y12, acc

// func(y, p []float32, v *element, stride int)
//
// len(y) is a multiple of 8; p is not empty.
// DI y, CX elements of y left, SI value, AX cursor, R8 bytes from value to value,
// DX p, R9 len(p), R10 index in p
TEXT WEIGHTEDSUM(SB), NOSPLIT, $0-64
	MOVQ y_base+0(FP), DI
	MOVQ y_len+8(FP), CX
	MOVQ p_base+24(FP), DX
	MOVQ p_len+32(FP), R9
	MOVQ v+48(FP), SI
	MOVQ stride+56(FP), R8
	IMULQ $WIDTH, R8

dims64:
	SUBQ $64, CX
	JL   tail
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS 64(DI), Y2
	VMOVUPS 96(DI), Y3
	VMOVUPS 128(DI), Y4
	VMOVUPS 160(DI), Y5
	VMOVUPS 192(DI), Y6
	VMOVUPS 224(DI), Y7
	MOVQ SI, AX
	XORL R10, R10

values64:
	VBROADCASTSS (DX)(R10*4), Y12
	VALUE8(0, Y0, Y8)
	VALUE8(8, Y1, Y9)
	VALUE8(16, Y2, Y10)
	VALUE8(24, Y3, Y11)
	VALUE8(32, Y4, Y8)
	VALUE8(40, Y5, Y9)
	VALUE8(48, Y6, Y10)
	VALUE8(56, Y7, Y11)
	ADDQ R8, AX
	INCQ R10
	CMPQ R10, R9
	JLT  values64

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ $256, DI
	ADDQ $(64*WIDTH), SI
	JMP  dims64

tail:
	ADDQ $64, CX

dims8:
	SUBQ $8, CX
	JL   done
	VMOVUPS (DI), Y0
	MOVQ SI, AX
	XORL R10, R10

values8:
	VBROADCASTSS (DX)(R10*4), Y12
	VALUE8(0, Y0, Y8)
	ADDQ R8, AX
	INCQ R10
	CMPQ R10, R9
	JLT  values8

	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $(8*WIDTH), SI
	JMP  dims8

done:
	VZEROUPPER
	RET
