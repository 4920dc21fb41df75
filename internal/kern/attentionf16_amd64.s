//go:build !purego

#include "textflag.h"

// Attention over binary16 keys and values.
#define SCORES       ·scoresF16SIMD
#define WEIGHTEDSUM  ·weightedSumF16SIMD
#define SCORES4      ·scores4F16SIMD
#define WEIGHTEDSUM4 ·weightedSum4F16SIMD
#define WIDTH        2
#define LOAD8(m, y)  VCVTPH2PS m, y

#include "attention_amd64.h"
#include "attention4_amd64.h"
