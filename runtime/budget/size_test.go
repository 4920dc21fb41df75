package budget_test

import (
	"math"
	"testing"

	"github.com/lamina-llm/lamina/runtime/budget"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"80MiB": 80 << 20, "80 mib": 80 << 20, "1.5GB": 1_500_000_000, "512M": 512 << 20, "512m": 512 << 20,
		"4096": 4096, "4096B": 4096, "0": 0, "1k": 1 << 10, "2KB": 2000, ".5K": 512, "1.5": 1, "3T": 3 << 40,
		" 7 GiB ": 7 << 30, "9223372036854775807": math.MaxInt64, "1TB": 1e12,
	} {
		if got, err := budget.ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "+1", "1e3", "0x10", "NaN", "Inf", "1.2.3", ".", "5 parsecs", "8388608T", "9223372036854775808", "80MiBs", "1_000"} {
		if got, err := budget.ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
	var s budget.Size
	if err := s.UnmarshalText([]byte("96MiB")); err != nil || s != 96<<20 || s.String() != "96 MiB" {
		t.Errorf("Size: %v, %v", s, err)
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 80 << 20: "80 MiB", 1<<20 - 1: "1 MiB",
		1<<30 + 1<<29: "1.5 GiB", math.MaxInt64: "8 EiB", -1536: "-1.5 KiB", math.MinInt64: "-8 EiB",
	} {
		if got := budget.FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

// Whatever parses is not negative, and its printed form parses to nearly the
// same number.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"80MiB", "1.5GB", "512M", "", "9999999999999999999T", "1.", "k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := budget.ParseSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("%q gave %d", s, n)
		}
		if n >= 1<<50 {
			return // printed with units that ParseSize has no use for
		}
		back, err := budget.ParseSize(budget.FormatSize(n))
		if diff := back - n; err != nil || max(diff, -diff) > n/20+1 {
			t.Fatalf("%q: %d prints as %q, which parses to %d, %v", s, n, budget.FormatSize(n), back, err)
		}
	})
}
