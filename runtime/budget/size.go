package budget

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// units are tried in order, so longer suffixes stand before their endings.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40},
	{"b", 1},
}

// ParseSize reads a number of bytes such as "80MiB", "1.5GB", "512M" or
// "4096". KiB, MiB, GiB, TiB and the bare letters K, M, G, T are powers of
// 1024; KB, MB, GB, TB are powers of 1000. Case does not matter and a space may
// stand before the unit. Fractions of a byte are rounded down.
func ParseSize(s string) (int64, error) {
	num, mult := strings.ToLower(strings.TrimSpace(s)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(num, u.suffix); ok {
			num, mult = strings.TrimRight(rest, " "), u.bytes
			break
		}
	}
	bad := func(why string) (int64, error) {
		return 0, fmt.Errorf("budget: size %.40q: %s (want a number and a unit, such as 80MiB or 1.5GB)", s, why)
	}
	if num == "" || strings.Trim(num, "0123456789.") != "" || len(num) > 40 {
		return bad("not a number of bytes")
	}
	if n, err := strconv.ParseInt(num, 10, 64); err == nil {
		if n > math.MaxInt64/mult {
			return bad("too large")
		}
		return n * mult, nil
	}
	f, err := strconv.ParseFloat(num, 64)
	if err != nil {
		return bad("not a number of bytes")
	}
	if f *= float64(mult); f >= math.MaxInt64 {
		return bad("too large")
	}
	return int64(f), nil
}

// FormatSize writes n bytes with a binary unit and three or four digits, such
// as "512 B", "1.5 KiB" or "86.4 MiB". [ParseSize] reads it back, rounded.
func FormatSize(n int64) string {
	if n < 0 {
		return "-" + FormatSize(-max(n, -math.MaxInt64))
	}
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, names := float64(n)/(1<<10), "KMGTPE"
	for v >= 1023.95 && len(names) > 1 {
		v, names = v/(1<<10), names[1:]
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0") + " " + names[:1] + "iB"
}

// Size is a number of bytes that flags and configuration files can hold: it
// reads what [ParseSize] reads and prints as [FormatSize] does.
type Size int64

// String formats the size with a binary unit.
func (s Size) String() string { return FormatSize(int64(s)) }

// UnmarshalText reads the size with [ParseSize].
func (s *Size) UnmarshalText(text []byte) error {
	n, err := ParseSize(string(text))
	if err == nil {
		*s = Size(n)
	}
	return err
}
