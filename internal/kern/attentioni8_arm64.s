//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Attention over int8 keys and values.
#define SCORES       ·scoresI8SIMD
#define WEIGHTEDSUM  ·weightedSumI8SIMD
#define SCORES4      ·scores4I8SIMD
#define WEIGHTEDSUM4 ·weightedSum4I8SIMD
#define WIDTH        1
#define WIDEN(lo, hi)         SXTL8(20, 20); SXTL16(lo, 20); SXTL216(hi, 20); SCVTF(lo, lo); SCVTF(hi, hi)
#define LOAD8(lo, hi, n, off) LDD(20, n, off); WIDEN(lo, hi)
#define LOAD8P(lo, hi, n)     LDDP(20, n); WIDEN(lo, hi)

#include "attention_arm64.h"
#include "attention4_arm64.h"
