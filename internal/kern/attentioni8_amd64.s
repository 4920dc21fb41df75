//go:build !purego

#include "textflag.h"

// Panels of int8 keys and values.
#define PACKKEYS      ·packKeysI8
#define PACKVALUES    ·packValuesI8
#define WIDTH         1
#define LOAD8(m, x)   VPMOVSXBW m, x
#define INSERT8(m, y) VPMOVSXBW m, X8; VINSERTI128 $1, X8, y, y
#define LOAD16(m, y)  VPMOVSXBW m, y

#include "attentionpack_amd64.h"
