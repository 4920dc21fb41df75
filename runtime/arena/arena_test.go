package arena_test

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"testing"
	"unsafe"

	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
)

func TestSlab(t *testing.T) {
	page := arena.PageSize()
	for _, n := range []int{0, 1, 63, 64, 4095, 4096, 4097, 65536, 1 << 20} {
		for _, slack := range []int{0, 64, 5000} {
			l := budget.New(4 << 20)
			s, err := arena.Alloc(l, budget.Coded, n, slack)
			if err != nil {
				t.Fatal(err)
			}
			want := arena.Footprint(int64(n), int64(slack))
			if used := l.Stats().By[budget.Coded].Used; used != want || want%int64(page) != 0 || want < int64(n+slack) || want >= int64(n+slack+page) {
				t.Errorf("n=%d slack=%d leased %d, footprint %d", n, slack, used, want)
			}
			b := s.Bytes()
			if len(b) != n || int64(cap(b)) != want {
				t.Fatalf("n=%d slack=%d: len %d cap %d", n, slack, len(b), cap(b))
			}
			if b = b[:cap(b)]; len(b) > 0 {
				if uintptr(unsafe.Pointer(&b[0]))%arena.Alignment != 0 {
					t.Errorf("n=%d: misaligned", n)
				}
				for i := range b {
					if b[i] != 0 {
						t.Fatalf("byte %d is %d, not zero", i, b[i])
					}
					b[i] = byte(i)
				}
			}
			s.Free()
			s.Free()
			if st := l.Stats(); st.Used != 0 || st.Leases != 0 || s.Bytes() != nil {
				t.Errorf("after Free: %+v", st)
			}
		}
	}
	(*arena.Slab)(nil).Free()
}

func TestRefused(t *testing.T) {
	l := budget.New(1 << 16)
	if _, err := arena.Alloc(l, budget.KV, 1<<16, 1); !errors.Is(err, budget.ErrOverBudget) {
		t.Errorf("got %v", err)
	}
	for _, n := range []int{-1, math.MinInt, math.MaxInt} {
		if _, err := arena.Alloc(l, budget.KV, n, 0); err == nil || errors.Is(err, budget.ErrOverBudget) {
			t.Errorf("size %d: %v", n, err)
		}
		if _, err := arena.Alloc(l, budget.KV, 0, n); err == nil || errors.Is(err, budget.ErrOverBudget) {
			t.Errorf("slack %d: %v", n, err)
		}
	}
	// The ledger allows it, the system does not: the lease must come back.
	huge := budget.New(math.MaxInt64)
	if runtime.GOOS == "linux" {
		if s, err := arena.Alloc(huge, budget.KV, math.MaxInt/4, 0); err == nil {
			s.Free() // a system that overcommits without bound
		}
		if u := huge.Stats().Used; u != 0 {
			t.Errorf("%d bytes stay leased", u)
		}
	}
}

// Discard lowers the process's memory, Free lowers it to nothing, and what is
// outside the range stays.
func TestDiscard(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads the process size from /proc")
	}
	const n = 64 << 20
	l := budget.New(n + 1<<20)
	s, err := arena.Alloc(l, budget.Slots, n, 64)
	if err != nil {
		t.Fatal(err)
	}
	s.AdviseHuge()
	base := budget.RSS()
	b := s.Bytes()
	for i := range b {
		b[i] = 7
	}
	full := budget.RSS()
	s.Discard(1<<20+1, 1<<30)
	b[n/2] = 9
	few := budget.RSS()
	if full-base < n*3/4 || few-base > n/2 {
		t.Errorf("RSS %d, filled %d, discarded %d", base, full, few)
	}
	if b[0] != 7 || b[1<<20] != 7 || b[n/2] != 9 {
		t.Error("bytes outside the range, or written later, are lost")
	}
	if l.Stats().Used != arena.Footprint(n, 64) {
		t.Error("Discard changed the lease")
	}
	s.Discard(-5, 5)
	s.Discard(n, 0)
	s.Free()
	s.Discard(0, n)
}

func TestConcurrentFree(t *testing.T) {
	l := budget.New(1 << 20)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				s, err := arena.Alloc(l, budget.KV, 10000, 64)
				if err != nil {
					t.Error(err)
					return
				}
				s.Bytes()[9999] = 1
				var free sync.WaitGroup
				free.Go(s.Free)
				s.Free()
				free.Wait()
			}
		})
	}
	wg.Wait()
	if st := l.Stats(); st.Used != 0 || st.Leases != 0 {
		t.Errorf("left over: %+v", st)
	}
}

// Slabs of a region lie side by side, are leased one by one, and outlive its end.
func TestRegion(t *testing.T) {
	page := arena.PageSize()
	l := budget.New(1 << 20)
	r, err := arena.Reserve(int64(6*page), true)
	if err != nil {
		t.Fatal(err)
	}
	if used := l.Stats().Used; used != 0 {
		t.Errorf("an empty region leases %d bytes", used)
	}
	var slabs []*arena.Slab
	for _, n := range []int{page, 2*page - 5, 3*page - 100, 10} { // the last does not fit
		s, err := r.Alloc(l, budget.Coded, n, 5)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Bytes() {
			s.Bytes()[i] = byte(n)
		}
		slabs = append(slabs, s)
	}
	if used, want := l.Stats().Used, int64(8*page); used != want {
		t.Errorf("%d bytes leased, want %d", used, want)
	}
	if _, err := r.Alloc(l, budget.Coded, 1<<20, 0); !errors.Is(err, budget.ErrOverBudget) {
		t.Errorf("over the ledger's limit: %v", err)
	}
	slabs[1].Free()
	r.Close()
	r.Close()
	for i, s := range slabs {
		for k, b := range s.Bytes() {
			if b != byte(len(s.Bytes())) {
				t.Fatalf("slab %d byte %d is %d", i, k, b)
			}
		}
		s.Free()
		s.Free()
	}
	if st := l.Stats(); st.Used != 0 || st.Leases != 0 {
		t.Errorf("after Free: %+v", st)
	}
	if _, err := arena.Reserve(-1, false); err == nil {
		t.Error("a region of negative size")
	}
	(*arena.Region)(nil).Close()
}

// TestEvict checks that what is taken out of the caches stays as it was, whatever
// its place and length, up to the end of a mapping.
func TestEvict(t *testing.T) {
	l := budget.New(1 << 20)
	s, err := arena.Alloc(l, budget.Coded, 2*arena.PageSize(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Free()
	b := s.Bytes()
	for i := range b {
		b[i] = byte(i * 7)
	}
	for _, r := range [][2]int{{0, 0}, {0, 1}, {1, 64}, {63, 65}, {100, len(b)}, {len(b) - 1, len(b)}, {0, len(b)}} {
		arena.Evict(b[r[0]:r[1]])
	}
	for i := range b {
		if b[i] != byte(i*7) {
			t.Fatalf("byte %d is %d", i, b[i])
		}
	}
}
