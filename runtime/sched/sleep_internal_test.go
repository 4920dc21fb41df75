package sched

import (
	"runtime"
	"sync"
	"testing"
)

// Followers without work fall asleep, and a loop whose calls wait for each other
// shows that they come back.
func TestSleepAndWake(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	p := New(4)
	defer p.Close()
	for range 20 {
		for _, h := range p.followers {
			for !h.asleep.Load() { // for ever if they only spin
				runtime.Gosched()
			}
		}
		var all sync.WaitGroup
		all.Add(4)
		p.For(4, func(_, _ int) { all.Done(); all.Wait() })
	}
}

// The caller sleeps, too, while a follower is slow, and is woken.
func TestCallerSleeps(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	p := New(2)
	defer p.Close()
	for range 20 {
		var both sync.WaitGroup
		both.Add(2)
		slow := false
		p.For(2, func(w, _ int) {
			both.Done()
			both.Wait()
			if w == 1 {
				for p.state.Load()&sleeping == 0 {
					runtime.Gosched()
				}
				slow = true
			}
		})
		if !slow {
			t.Fatal("For returned before its follower")
		}
	}
}
