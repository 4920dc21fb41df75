// TOKEN multiplies 4 columns of one token with 32 rows in Z30 and Z31.
#define TOKEN(x, lo, hi, tmp) \
	VPBROADCASTD x, tmp       \
	VPDPBUSD     tmp, Z30, lo \
	VPDPBUSD     tmp, Z31, hi

// TOKENS4 and TOKENS8 do that for the 4 columns at AX of four or eight tokens, the
// first at R13: R10, R11, R12 and R15 are 1, 3, 5 and 7 times the distance of two.
#define TOKENS4 \
	VMOVDQU64 (AX), Z30              \
	VMOVDQU64 64(AX), Z31            \
	TOKEN((R13), Z0, Z1, Z16)        \
	TOKEN((R13)(R10*1), Z2, Z3, Z17) \
	TOKEN((R13)(R10*2), Z4, Z5, Z18) \
	TOKEN((R13)(R11*1), Z6, Z7, Z19)

#define TOKENS8 \
	TOKENS4                            \
	TOKEN((R13)(R10*4), Z8, Z9, Z20)   \
	TOKEN((R13)(R12*1), Z10, Z11, Z21) \
	TOKEN((R13)(R11*2), Z12, Z13, Z22) \
	TOKEN((R13)(R15*1), Z14, Z15, Z23)

// ZERO8 and ZERO16 clear the sums of four or eight tokens.
#define ZERO8 \
	VPXORD Z0, Z0, Z0 \
	VPXORD Z1, Z1, Z1 \
	VPXORD Z2, Z2, Z2 \
	VPXORD Z3, Z3, Z3 \
	VPXORD Z4, Z4, Z4 \
	VPXORD Z5, Z5, Z5 \
	VPXORD Z6, Z6, Z6 \
	VPXORD Z7, Z7, Z7

#define ZERO16 \
	ZERO8                \
	VPXORD Z8, Z8, Z8    \
	VPXORD Z9, Z9, Z9    \
	VPXORD Z10, Z10, Z10 \
	VPXORD Z11, Z11, Z11 \
	VPXORD Z12, Z12, Z12 \
	VPXORD Z13, Z13, Z13 \
	VPXORD Z14, Z14, Z14 \
	VPXORD Z15, Z15, Z15
