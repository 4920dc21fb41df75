//go:build !purego

#include "textflag.h"

// Panels of int16 keys and values.
#define PACKKEYS      ·packKeysI16
#define PACKVALUES    ·packValuesI16
#define WIDTH         2
#define LOAD8(m, x)   VMOVDQU m, x
#define INSERT8(m, y) VINSERTI128 $1, m, y, y
#define LOAD16(m, y)  VMOVDQU m, y

#include "attentionpack_amd64.h"
