// TOKEN multiplies 4 columns of one token with 32 rows in Z30 and Z31.
#define TOKEN(x, lo, hi, tmp) \
	VPBROADCASTD x, tmp       \
	VPDPBUSD     tmp, Z30, lo \
	VPDPBUSD     tmp, Z31, hi
