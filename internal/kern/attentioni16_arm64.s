//go:build !purego

#include "textflag.h"
#include "neon_arm64.h"

// Panels of int16 keys and values.
#define PACKKEYS    ·packKeysI16
#define PACKVALUES  ·packValuesI16
#define WIDTH       2
#define LOAD8(q, n) LDQP(q, n)

#include "attentionpack_arm64.h"
