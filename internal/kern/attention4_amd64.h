// Attention for four query heads at once: keys and values are loaded and widened
// once. Each sum has the order of the kernels for one head. The fourth head is
// row last of q and dst, or p and y: 3, or 2 to compute three heads, the third
// twice over.

#define QUERY2(q, a, b) \
	VMOVUPS     q, Y10      \
	VFMADD231PS Y8, Y10, a \
	VFMADD231PS Y9, Y10, b

// func(dst, q *float32, k *element, size, keys, stride, ldd, last int)
//
// size is a multiple of 8, keys an even number.
// SI key, AX query, BX, R11: 1 and last times 4*size, R8 bytes from key to key,
// R12, R13: 1 and last times 4*ldd, R10 elements left
TEXT SCORES4(SB), NOSPLIT, $0-64
	MOVQ dst+0(FP), DI
	MOVQ k+16(FP), SI
	MOVQ size+24(FP), BX
	MOVQ keys+32(FP), CX
	MOVQ stride+40(FP), R8
	MOVQ ldd+48(FP), R12
	IMUL3Q $WIDTH, BX, R9
	SHLQ $2, BX
	IMULQ $WIDTH, R8
	SHLQ $2, R12
	MOVQ last+56(FP), R11
	MOVQ R11, R13
	IMULQ BX, R11
	IMULQ R12, R13

keys2:
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	MOVQ q+8(FP), AX
	MOVQ size+24(FP), R10

dims:
	LOAD8((SI), Y8)
	LOAD8((SI)(R8*1), Y9)
	QUERY2((AX), Y0, Y1)
	QUERY2((AX)(BX*1), Y2, Y3)
	QUERY2((AX)(BX*2), Y4, Y5)
	QUERY2((AX)(R11*1), Y6, Y7)
	ADDQ $(8*WIDTH), SI
	ADDQ $32, AX
	SUBQ $8, R10
	JNZ  dims

	VHADDPS Y1, Y0, Y0
	VHADDPS Y3, Y2, Y2
	VHADDPS Y2, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPS X1, X0, X0 // both keys of query 0, then of query 1
	VHADDPS Y5, Y4, Y4
	VHADDPS Y7, Y6, Y6
	VHADDPS Y6, Y4, Y4
	VEXTRACTF128 $1, Y4, X5
	VADDPS X5, X4, X4
	VMOVLPS X0, (DI)
	VMOVHPS X0, (DI)(R12*1)
	VMOVLPS X4, (DI)(R12*2)
	VMOVHPS X4, (DI)(R13*1)
	ADDQ $8, DI
	SUBQ R9, SI
	LEAQ (SI)(R8*2), SI
	SUBQ $2, CX
	JNZ  keys2
	VZEROUPPER
	RET

// WEIGH2 and WEIGH1 add one value, times the weight of one head, to its stretch of y.
#define WEIGH2(p, a, b) \
	VBROADCASTSS p, Y10     \
	VFMADD231PS  Y8, Y10, a \
	VFMADD231PS  Y9, Y10, b

#define WEIGH1(p, a) \
	VBROADCASTSS p, Y10     \
	VFMADD231PS  Y8, Y10, a

// func(y, p *float32, v *element, size, n, stride, ldp, last int)
//
// size is a multiple of 8, n is not 0.
// DI y, BX, R11: 1 and last times 4*size, DX p, R12, R13: 1 and last times 4*ldp,
// SI values, AX cursor in values, R8 bytes from value to value, R9 cursor in p,
// R10 values left, CX elements of y left
TEXT WEIGHTEDSUM4(SB), NOSPLIT, $0-64
	MOVQ y+0(FP), DI
	MOVQ p+8(FP), DX
	MOVQ v+16(FP), SI
	MOVQ size+24(FP), CX
	MOVQ stride+40(FP), R8
	MOVQ ldp+48(FP), R12
	MOVQ CX, BX
	SHLQ $2, BX
	IMULQ $WIDTH, R8
	SHLQ $2, R12
	MOVQ last+56(FP), R11
	MOVQ R11, R13
	IMULQ BX, R11
	IMULQ R12, R13

dims16:
	SUBQ $16, CX
	JL   tail
	VMOVUPS (DI), Y0
	VMOVUPS 32(DI), Y1
	VMOVUPS (DI)(BX*1), Y2
	VMOVUPS 32(DI)(BX*1), Y3
	VMOVUPS (DI)(BX*2), Y4
	VMOVUPS 32(DI)(BX*2), Y5
	VMOVUPS (DI)(R11*1), Y6
	VMOVUPS 32(DI)(R11*1), Y7
	MOVQ SI, AX
	MOVQ DX, R9
	MOVQ n+32(FP), R10

values16:
	LOAD8((AX), Y8)
	LOAD8((8*WIDTH)(AX), Y9)
	WEIGH2((R9), Y0, Y1)
	WEIGH2((R9)(R12*1), Y2, Y3)
	WEIGH2((R9)(R12*2), Y4, Y5)
	WEIGH2((R9)(R13*1), Y6, Y7)
	ADDQ R8, AX
	ADDQ $4, R9
	DECQ R10
	JNZ  values16

	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, (DI)(BX*1)
	VMOVUPS Y3, 32(DI)(BX*1)
	VMOVUPS Y4, (DI)(BX*2)
	VMOVUPS Y5, 32(DI)(BX*2)
	VMOVUPS Y6, (DI)(R11*1)
	VMOVUPS Y7, 32(DI)(R11*1)
	ADDQ $64, DI
	ADDQ $(16*WIDTH), SI
	JMP  dims16

tail:
	ADDQ $16, CX
	JZ   done
	VMOVUPS (DI), Y0
	VMOVUPS (DI)(BX*1), Y2
	VMOVUPS (DI)(BX*2), Y4
	VMOVUPS (DI)(R11*1), Y6
	MOVQ n+32(FP), R10

values8:
	LOAD8((SI), Y8)
	WEIGH1((DX), Y0)
	WEIGH1((DX)(R12*1), Y2)
	WEIGH1((DX)(R12*2), Y4)
	WEIGH1((DX)(R13*1), Y6)
	ADDQ R8, SI
	ADDQ $4, DX
	DECQ R10
	JNZ  values8

	VMOVUPS Y0, (DI)
	VMOVUPS Y2, (DI)(BX*1)
	VMOVUPS Y4, (DI)(BX*2)
	VMOVUPS Y6, (DI)(R11*1)

done:
	VZEROUPPER
	RET
