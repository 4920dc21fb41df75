package budget

import (
	"slices"
	"strings"
	"testing"
)

func TestMappings(t *testing.T) {
	const smaps = `00400000-00e0e000 r-xp 00000000 fe:00 1234                  /opt/la mina
Size:              10296 kB
Rss:                7800 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
00e0e000-02000000 r--p 00a0e000 fe:00 1234                  /opt/la mina
Rss:                  40 kB
Private_Dirty:         4 kB
Anonymous:             4 kB
02000000-02001000 r--p 00a0e000 fe:00 1234                  /opt/la mina
Rss:                   4 kB
Anonymous:             0 kB
02001000-02002000 rw-p 00a0e000 fe:00 1234                  /opt/la mina
Rss:                   4 kB
02002000-02003000 r--p 00000000 fe:00 1234                  /opt/other
Rss:                   4 kB
nonsense
zz-yy r--p 0 0 0 /opt/la mina
Rss:                   4 kB
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0            [vdso]
Rss:                   4 kB
`
	got := mappings(strings.NewReader(smaps), "/opt/la mina")
	want := []mapping{{0x400000, 0xe0e000, 7800 << 10}, {0x2000000, 0x2001000, 4 << 10}}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestTrimProgram drops the test's own pages and goes on.
func TestTrimProgram(t *testing.T) {
	if TrimProgram() == 0 {
		t.Skip("the system tells nothing of the program's mappings")
	}
	before := ownStatus("RssFile")
	if n := TrimProgram(); n <= 0 {
		t.Error("nothing was mapped, though this runs")
	}
	if after := ownStatus("RssFile"); after > before+4<<20 {
		t.Errorf("%d bytes of files mapped, %d before", after, before)
	}
}
