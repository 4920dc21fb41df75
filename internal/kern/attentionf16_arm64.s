//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Attention over binary16 keys and values.
#define SCORES       ·scoresF16SIMD
#define WEIGHTEDSUM  ·weightedSumF16SIMD
#define SCORES4      ·scores4F16SIMD
#define WEIGHTEDSUM4 ·weightedSum4F16SIMD
#define WIDTH        2
#define LOAD8(lo, hi, n, off) LDQ(20, n, off); FCVTL(lo, 20); FCVTL2(hi, 20)
#define LOAD8P(lo, hi, n)     LDQP(20, n); FCVTL(lo, 20); FCVTL2(hi, 20)

#include "attention_arm64.h"
#include "attention4_arm64.h"
