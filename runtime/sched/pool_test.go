package sched_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/runtime/sched"
)

var _ model.Pool = (*sched.Pool)(nil)

// pools runs f with one to eight workers, more than the machine may have
// cores: the operating system then takes followers off in the middle of loops.
func pools(t *testing.T, f func(t *testing.T, p *sched.Pool)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for _, workers := range []int{1, 2, 3, 8} {
		t.Run(fmt.Sprintf("workers=%d", workers), func(t *testing.T) {
			p := sched.New(workers)
			defer p.Close()
			if p.Workers() != workers {
				t.Fatalf("%d workers, want %d", p.Workers(), workers)
			}
			f(t, p)
		})
	}
}

// Every index runs once, on a worker that nobody else is at that time; what f
// wrote is visible after For.
func TestFor(t *testing.T) {
	pools(t, func(t *testing.T, p *sched.Pool) {
		busy := make([]atomic.Bool, p.Workers())
		for round := range 300 {
			for _, n := range []int{0, 1, 2, 3, 7, 64, 65, 1000} {
				counts := make([]int32, n) // not atomic: the race detector checks the barrier
				p.For(n, func(w, i int) {
					if !busy[w].CompareAndSwap(false, true) {
						t.Errorf("worker %d is in two calls", w)
					}
					counts[i]++
					busy[w].Store(false)
				})
				for i, c := range counts {
					if c != 1 {
						t.Fatalf("n=%d: index %d ran %d times", n, i, c)
					}
				}
			}
			if round%100 == 99 {
				time.Sleep(2 * time.Millisecond) // followers fall asleep
			}
		}
	})
}

// With two calls that wait for each other the follower must take part.
func TestParallel(t *testing.T) {
	pools(t, func(t *testing.T, p *sched.Pool) {
		if p.Workers() < 2 {
			t.Skip("one worker")
		}
		for range 50 {
			var both sync.WaitGroup
			both.Add(2)
			p.For(2, func(_, _ int) { both.Done(); both.Wait() })
		}
	})
}

func TestConcurrentCallers(t *testing.T) {
	pools(t, func(t *testing.T, p *sched.Pool) {
		var total atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				sum := make([]int64, p.Workers())
				for range 200 {
					p.For(10, func(w, i int) { sum[w] += int64(i) })
				}
				for _, s := range sum {
					total.Add(s)
				}
			})
		}
		wg.Wait()
		if total.Load() != 4*200*45 {
			t.Errorf("sum %d, want %d", total.Load(), 4*200*45)
		}
	})
}

func TestPanic(t *testing.T) {
	pools(t, func(t *testing.T, p *sched.Pool) {
		for bad := range 20 {
			var inside atomic.Int32
			err := func() (err error) {
				defer func() { err, _ = recover().(error) }()
				p.For(20, func(_, i int) {
					inside.Add(1)
					defer inside.Add(-1)
					if i == bad {
						panic(io.ErrUnexpectedEOF)
					}
					time.Sleep(time.Microsecond)
				})
				return nil
			}()
			var pe *sched.Panic
			if !errors.As(err, &pe) || !errors.Is(err, io.ErrUnexpectedEOF) || len(pe.Stack) == 0 {
				t.Fatalf("recovered %v", err)
			}
			if n := inside.Load(); n != 0 {
				t.Fatalf("%d calls of f still run after the panic", n)
			}
			ran := make([]bool, 100)
			p.For(100, func(_, i int) { ran[i] = true })
			for i, ok := range ran {
				if !ok {
					t.Fatalf("index %d did not run after a panic", i)
				}
			}
		}
	})
}

func TestClose(t *testing.T) {
	pools(t, func(t *testing.T, p *sched.Pool) {
		before := runtime.NumGoroutine() - (p.Workers() - 1)
		p.For(8, func(_, _ int) {})
		p.Close()
		p.Close()
		// Those that Close has waited for may take a moment to leave the count.
		for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
			runtime.Gosched()
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%d goroutines, %d before New", n, before)
		}
		sum := 0
		p.For(10, func(w, i int) { sum += i + w })
		if sum != 45 {
			t.Errorf("after Close: sum %d", sum)
		}
	})
	if p := sched.New(1 << 20); p.Workers() != runtime.GOMAXPROCS(0) {
		t.Errorf("%d workers of %d", p.Workers(), runtime.GOMAXPROCS(0))
	} else {
		p.Close()
	}
}

// BenchmarkFor is the cost of an empty loop. Between two loops of idle work
// the followers spin, as they do between the operators of a forward pass.
func BenchmarkFor(b *testing.B) {
	for _, workers := range []int{1, 2, 4, 8} {
		if workers > runtime.GOMAXPROCS(0) {
			break
		}
		for _, n := range []int{2, 4, 8, 16, 64} {
			b.Run(fmt.Sprintf("workers=%d/n=%d", workers, n), func(b *testing.B) {
				p := sched.New(workers)
				defer p.Close()
				var sink [64]struct {
					v int
					_ [56]byte
				}
				b.ReportAllocs()
				for b.Loop() {
					p.For(n, func(w, i int) { sink[w].v += i })
				}
			})
		}
	}
}

// BenchmarkWork is a loop of parts of about two microseconds each: 4 of them
// are the shortest loop worth sharing, 64 a large matrix.
func BenchmarkWork(b *testing.B) {
	work := func(x uint64) uint64 {
		for range 2000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
		return x
	}
	for _, workers := range []int{1, 2, 4, 8} {
		if workers > runtime.GOMAXPROCS(0) {
			break
		}
		for _, n := range []int{4, 64} {
			b.Run(fmt.Sprintf("workers=%d/n=%d", workers, n), func(b *testing.B) {
				p := sched.New(workers)
				defer p.Close()
				var out [64]uint64
				for b.Loop() {
					p.For(n, func(_, i int) { out[i] = work(uint64(i)) })
				}
			})
		}
	}
}
