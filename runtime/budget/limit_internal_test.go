package budget

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
)

func root(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{"proc/meminfo": {Data: []byte("MemTotal:  16000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n")}}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func TestLinuxBounds(t *testing.T) {
	const v2mount = "31 23 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
	const v1mount = "30 23 0:1 / /cg/cpu rw - cgroup cgroup rw,cpu\n32 31 0:32 / /cg/memory rw,relatime - cgroup cgroup rw,memory\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		low   int64  // bytes of the tightest bound
		what  string // and where it comes from
	}{
		{name: "no control group", low: 8000000 << 10, what: "MemAvailable of the machine"},
		{
			name:  "v2 own group",
			files: map[string]string{"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2mount, "sys/fs/cgroup/a/b/memory.max": "100663296\n", "sys/fs/cgroup/a/memory.max": "max\n"},
			low:   96 << 20, what: "/sys/fs/cgroup/a/b/memory.max",
		},
		{
			name:  "v2 parent is tighter",
			files: map[string]string{"proc/self/cgroup": "0::/a/b\n", "proc/self/mountinfo": v2mount, "sys/fs/cgroup/a/b/memory.max": "200000000\n", "sys/fs/cgroup/a/memory.max": "100000000\n"},
			low:   100000000, what: "/sys/fs/cgroup/a/memory.max",
		},
		{
			name:  "v2 throttling counts",
			files: map[string]string{"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": v2mount, "sys/fs/cgroup/a/memory.max": "200000000\n", "sys/fs/cgroup/a/memory.high": "150000000\n"},
			low:   150000000, what: "/sys/fs/cgroup/a/memory.high",
		},
		{
			name:  "v2 namespaced container",
			files: map[string]string{"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": v2mount, "sys/fs/cgroup/memory.max": "50000000\n"},
			low:   50000000, what: "/sys/fs/cgroup/memory.max",
		},
		{
			name: "v2 bind mount of the container's subtree",
			files: map[string]string{"proc/self/cgroup": "0::/docker/abc/inner\n", "proc/self/mountinfo": "31 23 0:27 /docker/abc /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n",
				"sys/fs/cg roup/memory.max": "60000000\n", "sys/fs/cg roup/inner/memory.max": "max\n"},
			low: 60000000, what: "/sys/fs/cg roup/memory.max",
		},
		{
			name:  "v1",
			files: map[string]string{"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/x/y\n0::/\n", "proc/self/mountinfo": v1mount, "cg/memory/x/y/memory.limit_in_bytes": "9223372036854771712\n", "cg/memory/x/memory.limit_in_bytes": "70000000\n"},
			low:   70000000, what: "/cg/memory/x/memory.limit_in_bytes",
		},
		{
			name:  "v1 without a limit",
			files: map[string]string{"proc/self/cgroup": "4:memory:/\n", "proc/self/mountinfo": v1mount, "cg/memory/memory.limit_in_bytes": "9223372036854771712\n"},
			low:   8000000 << 10, what: "MemAvailable of the machine",
		},
		{
			name:  "nonsense",
			files: map[string]string{"proc/self/cgroup": "x\n0::\n::\n4:memory", "proc/self/mountinfo": "a b c\n - \n" + v2mount, "sys/fs/cgroup/memory.max": "-5\n"},
			low:   8000000 << 10, what: "MemAvailable of the machine",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bounds := linuxBounds(root(c.files))
			low := bounds[0]
			for _, b := range bounds {
				if b.bytes < low.bytes {
					low = b
				}
			}
			if low.bytes != c.low || low.what != c.what {
				t.Errorf("got %+v, want %d from %s", bounds, c.low, c.what)
			}
		})
	}
}

func TestTightest(t *testing.T) {
	l := tightest([]bound{{400 << 20, "file"}, {8 << 30, "machine"}})
	if l.Margin != 20<<20 || l.Bytes != 380<<20 {
		t.Errorf("limit %+v", l)
	}
	if want := "380 MiB: file 400 MiB, machine 8 GiB; the tightest less a margin of 20 MiB"; l.Reason != want {
		t.Errorf("reason %q, want %q", l.Reason, want)
	}
	for _, c := range []struct{ bound, margin int64 }{{4000, 400}, {40e6, 4e6}, {100 << 20, 8 << 20}, {160 << 20, 8 << 20}, {1 << 40, 1 << 30}} {
		if l := tightest([]bound{{c.bound, "x"}}); l.Margin != c.margin || l.Bytes != c.bound-c.margin {
			t.Errorf("%d: margin %d, %d left; want margin %d", c.bound, l.Margin, l.Bytes, c.margin)
		}
	}
	if l := tightest(nil); l.Bytes != fallbackLimit || l.Reason == "" {
		t.Errorf("fallback %+v", l)
	}
}

func TestThisMachine(t *testing.T) {
	l := DetectLimit()
	if l.Bytes <= 0 || !strings.HasPrefix(l.Reason, FormatSize(l.Bytes)) {
		t.Errorf("limit %+v", l)
	}
	t.Log(l.Reason)
	if runtime.GOOS != "linux" {
		return
	}
	before := RSS()
	block := make([]byte, 32<<20)
	for i := 0; i < len(block); i += os.Getpagesize() {
		block[i] = 1
	}
	rss, peak := RSS(), PeakRSS()
	if rss-before < 24<<20 || peak < rss-(4<<20) {
		t.Errorf("touching 32 MiB moved RSS from %d to %d, peak %d", before, rss, peak)
	}
	runtime.KeepAlive(block)
}
