package budget

import (
	"fmt"
	"strings"
)

// Limit is how much memory this process may use, and why.
type Limit struct {
	Bytes  int64  // what may be used: the tightest bound less the margin
	Margin int64  // bytes left to the kernel and to others
	Reason string // one line for people: every bound that was found
}

// bound is one upper limit that something outside the process sets.
type bound struct {
	bytes int64
	what  string
}

// fallbackLimit is used where nothing can be found out.
const fallbackLimit = 1 << 30

// DetectLimit finds the memory that this process may use: the tightest of the
// memory limits of its control group and all parents (version 1 and 2) and of
// what the machine has available, less a margin of a twentieth (at least 8 MiB or,
// if that is less, a tenth; at most 1 GiB). Page tables, socket buffers and other
// processes live in the margin. Memory that the process already occupies is not
// taken off: the limit is for the whole process.
func DetectLimit() Limit { return tightest(observe()) }

func tightest(bounds []bound) Limit {
	if len(bounds) == 0 {
		return Limit{Bytes: fallbackLimit, Reason: fmt.Sprintf("%s: neither a control group nor the machine tells its memory", FormatSize(fallbackLimit))}
	}
	low, texts := bounds[0], make([]string, len(bounds))
	for i, b := range bounds {
		texts[i] = fmt.Sprintf("%s %s", b.what, FormatSize(b.bytes))
		if b.bytes < low.bytes {
			low = b
		}
	}
	m := min(max(low.bytes/20, min(low.bytes/10, 8<<20)), 1<<30)
	return Limit{
		Bytes:  low.bytes - m,
		Margin: m,
		Reason: fmt.Sprintf("%s: %s; the tightest less a margin of %s", FormatSize(low.bytes-m), strings.Join(texts, ", "), FormatSize(m)),
	}
}
