//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Panels of int8 keys and values.
#define PACKKEYS    ·packKeysI8
#define PACKVALUES  ·packValuesI8
#define WIDTH       1
#define LOAD8(q, n) LDDP(q, n); SXTL8(q, q)

#include "attentionpack_arm64.h"
