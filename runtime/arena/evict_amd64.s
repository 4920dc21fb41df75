//go:build !purego

#include "textflag.h"

// func evict(p *byte, n int)
TEXT ·evict(SB), NOSPLIT, $0-16
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), BX
	ADDQ AX, BX
	ANDQ $~63, AX

again:
	CLFLUSHOPT (AX)
	ADDQ $64, AX
	CMPQ AX, BX
	JB   again
	SFENCE
	RET
