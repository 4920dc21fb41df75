package budget

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TrimProgram gives back the pages of the program file itself, code and
// constants, that are mapped now, and returns how many bytes those were. They are
// clean and stay in the page cache: what is used again is mapped again, at the
// cost of a minor fault per 64 KiB. Start-up touches several times what serving
// needs. It does nothing, and returns 0, where the system does not tell.
func TrimProgram() int64 {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0
	}
	defer maps.Close()
	var n int64
	for _, m := range mappings(maps, exe) {
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); e == 0 {
			n += m.resident
		}
	}
	return n
}

// mapping is a stretch of address space.
type mapping struct {
	from, to uintptr
	resident int64
}

// mappings returns those of a file in the format of /proc/PID/smaps that cannot
// be written and of which no page differs from the file.
func mappings(smaps io.Reader, file string) (list []mapping) {
	var m mapping
	clean := false // so far
	end := func() {
		if clean && m.resident > 0 {
			list = append(list, m)
		}
		clean = false
	}
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		if !strings.HasSuffix(f[0], ":") { // 00400000-00e0e000 r-xp 00000000 fe:00 1234  /path
			end()
			from, to, ok := strings.Cut(f[0], "-")
			a, err1 := strconv.ParseUint(from, 16, strconv.IntSize)
			b, err2 := strconv.ParseUint(to, 16, strconv.IntSize)
			clean = ok && err1 == nil && err2 == nil && a < b && strings.HasPrefix(f[1], "r-") && strings.HasSuffix(lines.Text(), " "+file)
			m = mapping{from: uintptr(a), to: uintptr(b)}
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "Rss:":
			m.resident = kib << 10
		case "Anonymous:", "Swap:": // own copies, which relocation makes
			clean = clean && kib == 0
		}
	}
	end()
	return list
}
