//go:build !purego

#include "textflag.h"

// Attention over int8 keys and values.
#define SCORES       ·scoresI8SIMD
#define WEIGHTEDSUM  ·weightedSumI8SIMD
#define SCORES4      ·scores4I8SIMD
#define WEIGHTEDSUM4 ·weightedSum4I8SIMD
#define WIDTH        1
#define LOAD8(m, y)  VPMOVSXBD m, y; VCVTDQ2PS y, y

#include "attention_amd64.h"
#include "attention4_amd64.h"
