package residency

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lamina-llm/lamina/runtime/arena"
	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// layers is a model of n equal streamable units of a page each (slack
// included) with a budget for room of them, slots included.
func layers(n, room int) plan.Input {
	page := int64(arena.PageSize())
	in := plan.Input{Slack: 64, Page: page, Budget: int64(room) * page}
	for i := range n {
		in.Units = append(in.Units, plan.Unit{Name: fmt.Sprint("layer ", i), CodedBytes: page - 64 - int64(i), UnpackedBytes: 2 * page, Streamable: true})
	}
	return in
}

// TestSlots runs a script and compares the life of the slots with
// testdata/slots.txt. Reads come one at a time and take 10 ms; time stands
// still unless the script waits.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{delay: 10 * time.Millisecond, fail: map[int]int{}, short: map[int]int{}}
		r := newDeepRig(t, layers(6, 4), src, 1, 0) // 2 pinned, 4 streamed through 2 slots
		var out strings.Builder
		held := map[int][]func(){}
		run := func(format string, args ...any) {
			line := fmt.Sprintf(format, args...)
			var verb string
			var unit, ms int
			result := ""
			fmt.Sscanf(line, "%s %d %d", &verb, &unit, &ms)
			switch verb {
			case "sleep":
				time.Sleep(time.Duration(unit) * time.Millisecond)
			case "acquire": // at most ms milliseconds, if given
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if ms > 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
				}
				start := time.Now()
				v, release, err := r.store.Acquire(ctx, unit)
				cancel()
				result = fmt.Sprintf("after %d ms", time.Since(start).Milliseconds())
				if err != nil {
					result += ": " + err.Error()
				} else {
					held[unit] = append(held[unit], release)
					if err := r.bind.check(v, unit); err != nil {
						t.Error(err)
					}
				}
			case "release":
				last := len(held[unit]) - 1
				held[unit][last]()
				held[unit][last]() // once more does nothing
				held[unit] = held[unit][:last]
			case "fail":
				src.mu.Lock()
				src.fail[unit]++
				src.mu.Unlock()
			case "short":
				src.mu.Lock()
				src.short[unit]++
				src.mu.Unlock()
			}
			synctest.Wait()
			out.WriteString(strings.TrimRight(fmt.Sprintf("%-14s %-42s %s", line, r.store.picture(), result), " ") + "\n")
		}
		fmt.Fprintf(&out, "%s\n", r.p.Title())
		for _, u := range r.p.Units {
			fmt.Fprintf(&out, "%s %v\n", u.Name, u.Placement)
		}
		section := func(s string) { fmt.Fprintf(&out, "\n# %s\n", s) }
		visit := func(units ...int) {
			for _, u := range units {
				run("acquire %d", u)
				run("release %d", u)
			}
		}

		section("a pass from a cold start")
		visit(0, 1, 2, 3, 4, 5)
		section("read-ahead into the next pass, then a pass that hits")
		run("sleep 100")
		visit(0)
		run("sleep 10")
		visit(1)
		section("the visitor breaks off and starts again")
		run("sleep 100")
		visit(0)
		section("the visitor waits, gives up, and comes back")
		visit(1)
		run("acquire 2 3")
		run("acquire 2 3")
		run("acquire 2")
		run("release 2")
		section("a unit is skipped")
		run("acquire 5")
		run("release 5")
		section("a read fails while the visitor waits; the next call tries again")
		run("fail 2")
		visit(0, 1)
		run("acquire 2")
		run("sleep 100")
		run("acquire 2")
		run("release 2")
		section("a read-ahead comes short unseen; the visitor never knows")
		run("short 5")
		run("sleep 100")
		visit(3, 4, 5)
		section("a second reference, and no slot left")
		run("sleep 100")
		run("acquire 0")
		run("acquire 0")
		run("acquire 2")
		run("acquire 1")
		run("acquire 3")
		if st := r.store.Stats(); st.Refs != 4 || st.InUse != 2 {
			t.Errorf("stats %+v, want 4 references and 2 slots in use", st)
		}
		run("release 2")
		run("release 1")
		run("release 0")

		// One reference on unit 0 is left: Close says so, and the last release
		// frees the memory.
		if err := r.store.Close(); !errors.Is(err, ErrInUse) {
			t.Errorf("Close with a reference: %v", err)
		}
		if r.ledger.Stats().Used == 0 {
			t.Error("memory in use was freed")
		}
		held[0][0]()
		r.checkEmpty(t)

		const file = "testdata/slots.txt"
		want, err := os.ReadFile(file)
		if err != nil || out.String() != string(want) {
			t.Errorf("%s differs (%v); got:\n%s", file, err, out.String())
		}
	})
}

// Undisturbed passes read every streamed unit exactly once, in any regime, to
// the byte.
func TestOncePerPass(t *testing.T) {
	for _, room := range []int{2, 3, 5, 8, 9, 12, 100} {
		for _, block := range []int64{0, 1000} {
			t.Run(fmt.Sprintf("room=%d,block=%d", room, block), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newDeepRig(t, layers(9, room), &source{delay: time.Millisecond}, 0, block)
					const passes = 20
					for range passes {
						if err := r.pass(t.Context(), len(r.p.Units), 300*time.Microsecond); err != nil {
							t.Fatal(err)
						}
					}
					time.Sleep(time.Second)
					ahead, streamed := 0, int64(0)
					for i, u := range r.p.Units {
						n := r.src.count(i)
						switch {
						case u.Placement != plan.Streamed:
							if n != 1 {
								t.Errorf("resident unit %d was read %d times", i, n)
							}
						case n == passes+1:
							ahead++
						case n != passes:
							t.Errorf("streamed unit %d was read %d times in %d passes", i, n, passes)
						}
						if got := r.src.bytes[i]; got != int64(n)*u.CodedBytes {
							t.Errorf("unit %d of %d bytes: %d bytes in %d reads", i, u.CodedBytes, got, n)
						}
						if u.Placement == plan.Streamed {
							streamed += int64(n) * u.CodedBytes
						}
					}
					st := r.store.Stats()
					if ahead != r.p.Slots || st.Ready != r.p.Slots || st.Dropped+st.Errors != 0 || st.Hits+st.Waits != passes*9 || st.BytesRead != uint64(streamed) {
						t.Errorf("%d read ahead, %d bytes; %+v", ahead, streamed, st)
					}
					r.close(t)
				})
			})
		}
	}
}

// The disk is never idle while anything is to be read: units of several blocks,
// some at a time, take as long as their blocks do, whatever the visitor's pace
// up to that.
func TestBusyDisk(t *testing.T) {
	for _, depth := range []int{1, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			const delay = 10 * time.Millisecond
			in := layers(6, 3) // all streamed, through three slots
			in.Slots = 3
			r := newDeepRig(t, in, &source{delay: delay}, depth, 1024) // four blocks a unit
			defer r.close(t)
			if n := r.p.Count(plan.Streamed); n != 6 {
				t.Fatalf("%d units streamed", n)
			}
			start := time.Now()
			const passes = 10
			for range passes {
				if err := r.pass(t.Context(), 6, time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			// The last unit is there when all blocks are, and used for a millisecond more.
			want := passes*6*4/time.Duration(depth)*delay + time.Millisecond
			if took := time.Since(start); took != want {
				t.Errorf("depth %d: %v, want %v", depth, took, want)
			}
		})
	}
}

// A failure in the middle of a unit costs that unit and what was read behind it,
// and is told to who waits for it.
func TestBlockFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{delay: time.Millisecond, fail: map[int]int{}}
		in := layers(6, 3)
		in.Slots = 3
		r := newDeepRig(t, in, src, 4, 1024)
		time.Sleep(time.Second) // units 0 to 2 are ready
		src.mu.Lock()
		src.fail[3] = 2
		src.mu.Unlock()
		if err := r.pass(t.Context(), 3, 10*time.Millisecond); err != nil {
			t.Fatalf("units read before: %v", err)
		}
		// The visitor came to unit 3 after the failure: it is read again.
		if before := r.store.Stats(); before.Errors != 1 {
			t.Errorf("%+v, want one error", before)
		}
		if err := r.pass(t.Context(), 6, 0); err != nil {
			t.Fatal(err)
		}
		src.mu.Lock()
		src.fail[0] = 1
		src.mu.Unlock()
		var err error
		for range 2 {
			if err = r.pass(t.Context(), 6, 0); err != nil {
				break
			}
		}
		if !errors.Is(err, errDisk) || !strings.Contains(err.Error(), "unit 0 (layer 0)") {
			t.Errorf("the visitor was told %v", err)
		}
		r.close(t)
	})
}

// Reads hide behind the computing of pinned units: with as much time between
// two streamed units as a read takes, nobody waits after the first pass.
func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, layers(12, 10), &source{delay: 2900 * time.Microsecond}) // every third is streamed
		defer r.close(t)
		for pass := range 3 {
			before := r.store.Stats()
			if err := r.pass(t.Context(), 12, time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if after := r.store.Stats(); pass > 0 && after.Waits != before.Waits {
				t.Errorf("pass %d waited %d times, %v", pass, after.Waits-before.Waits, after.WaitTime-before.WaitTime)
			}
		}
	})
}

// Any plan is honoured: every unit is where it says, reads right, and the
// ledger sees what the plan promised.
func TestPlanHonoured(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := plan.Input{Slack: rapid.SampledFrom([]int64{0, 64}).Draw(rt, "slack"), Page: int64(arena.PageSize()), Slots: rapid.IntRange(1, 3).Draw(rt, "slots")}
		for i := range rapid.IntRange(1, 8).Draw(rt, "units") {
			u := plan.Unit{Name: fmt.Sprint(i), CodedBytes: rapid.Int64Range(1, 20000).Draw(rt, "coded"), Streamable: rapid.Bool().Draw(rt, "streamable")}
			if rapid.Bool().Draw(rt, "unpackable") {
				u.UnpackedBytes = u.CodedBytes * rapid.Int64Range(1, 3).Draw(rt, "ratio")
			}
			in.Units = append(in.Units, u)
		}
		in.Budget = 1 << 30
		roomy, err := plan.Make(in)
		if err != nil {
			rt.Fatal(err)
		}
		in.Budget = rapid.Int64Range(roomy.MinBudget, max(roomy.MinBudget, roomy.UnpackedBudget+50000)).Draw(rt, "budget")
		r := newRig(t, in, &source{})
		want := map[budget.Purpose]int64{}
		for _, a := range r.p.Bytes {
			want[a.Purpose] = a.Bytes
		}
		used := r.ledger.Stats()
		for _, p := range budget.Purposes() {
			if used.By[p].Used != want[p] {
				rt.Errorf("%v: %d bytes leased, the plan says %d", p, used.By[p].Used, want[p])
			}
		}
		for range 3 {
			if err := r.pass(t.Context(), len(in.Units), 0); err != nil {
				rt.Error(err)
			}
		}
		st := r.store.Stats()
		if st.Pinned != r.p.Count(plan.Pinned) || st.Unpacked != r.p.Count(plan.Unpacked) || st.Streamed != r.p.Count(plan.Streamed) {
			rt.Errorf("stats %+v for %s", st, r.p.Title())
		}
		r.close(t)
	})
}

// Opening fails at every unit, in every way, and leaves nothing behind.
func TestOpenFails(t *testing.T) {
	for _, room := range []int{3, 5, 7, 30} {
		p, err := plan.Make(layers(5, room))
		if err != nil {
			t.Fatal(err)
		}
		for unit, u := range p.Units {
			if u.Placement == plan.Streamed {
				continue
			}
			r := &rig{p: p, ledger: budget.New(p.Budget), src: &source{fail: map[int]int{unit: 1}}}
			r.bind.p = &r.p
			if err := r.open(t.Context()); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), u.Name) {
				t.Errorf("room %d: unreadable unit %d: %v", room, unit, err)
			}
			r.checkEmpty(t)
			r.src.flip.Store(int64(unit) + 1)
			if err := r.open(t.Context()); !errors.Is(err, errDisk) || !strings.Contains(err.Error(), u.Name) {
				t.Errorf("room %d: damaged unit %d: %v", room, unit, err)
			}
			r.checkEmpty(t)
			r.bind.fail = map[int]bool{unit: true}
			if err := r.open(t.Context()); !errors.Is(err, errDisk) {
				t.Errorf("room %d: undecodable unit %d: %v", room, unit, err)
			}
			r.checkEmpty(t)
		}
		// Less memory than promised, down to nothing.
		for limit := p.Peak - 1; limit > -2; limit -= int64(arena.PageSize()) / 2 {
			r := &rig{p: p, ledger: budget.New(limit), src: &source{}}
			r.bind.p = &r.p
			if err := r.open(t.Context()); !errors.Is(err, budget.ErrOverBudget) {
				t.Errorf("room %d: ledger of %d bytes, plan of %d: %v", room, limit, p.Peak, err)
			}
			r.checkEmpty(t)
		}
		r := &rig{p: p, ledger: budget.New(p.Budget), src: &source{delay: time.Hour}}
		r.bind.p = &r.p
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if err := r.open(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("room %d: cancelled: %v", room, err)
		}
		cancel()
		r.checkEmpty(t)
	}
}

func TestOptionsChecked(t *testing.T) {
	p, err := plan.Make(layers(6, 4))
	if err != nil {
		t.Fatal(err)
	}
	good := Options[value]{Plan: p, Ledger: budget.New(p.Budget), Source: &source{}, Binder: binder{p: &p, busy: make([]atomic.Bool, len(p.Units))}}
	for name, spoil := range map[string]func(o *Options[value]){
		"no source":   func(o *Options[value]) { o.Source = nil },
		"no ledger":   func(o *Options[value]) { o.Ledger = nil },
		"workers":     func(o *Options[value]) { o.Workers = -1 },
		"no slots":    func(o *Options[value]) { o.Plan.Slots = 0 },
		"small slots": func(o *Options[value]) { o.Plan.SlotBytes /= 2 },
		"placement":   func(o *Options[value]) { o.Plan.Units[0].Placement = 9 },
		"unpacked":    func(o *Options[value]) { o.Plan.Units[0].Placement = plan.Unpacked },
	} {
		o := good
		o.Plan.Units = append([]plan.Placed(nil), p.Units...)
		spoil(&o)
		if s, err := Open(t.Context(), o); err == nil {
			t.Errorf("%s: opened", name)
			s.Close()
		}
	}
}

// TestBindsInTurn drops a unit while it is being bound and asks for it again: it is
// not bound a second time before that has ended.
func TestBindsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := layers(8, 4)
		in.Slots = 4
		r := newDeepRig(t, in, &source{delay: time.Millisecond, bind: 100 * time.Millisecond}, 4, 0)
		visit := func(unit int, patience time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			v, release, err := r.store.Acquire(ctx, unit)
			if err != nil {
				return err
			}
			defer release()
			return r.bind.check(v, unit)
		}
		if err := visit(0, time.Second); err != nil { // and 4 is read
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		if err := visit(0, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) { // drops it
			t.Fatal(err)
		}
		if err := visit(4, time.Second); err != nil {
			t.Error(err)
		}
		if st := r.store.Stats(); st.Errors != 0 {
			t.Errorf("%+v", st)
		}
		r.close(t)
	})
}

// A thousand passes with failures, broken-off passes, timeouts and a watcher;
// at the end nothing is referenced or leased.
func TestSoak(t *testing.T) {
	for _, c := range []struct{ room, slots int }{{2, 2}, {4, 2}, {6, 2}, {6, 5}} {
		synctest.Test(t, func(t *testing.T) {
			in := layers(8, c.room)
			in.Slots = c.slots
			src := &source{delay: 50 * time.Microsecond, bind: 120 * time.Microsecond, fail: map[int]int{}, short: map[int]int{}}
			r := newDeepRig(t, in, src, 3, 1500)
			rnd := rand.New(rand.NewPCG(1, uint64(c.room)))
			stop := make(chan struct{})
			watched := make(chan struct{})
			go func() {
				defer close(watched)
				for {
					select {
					case <-stop:
						return
					case <-time.After(70 * time.Microsecond):
						if st := r.store.Stats(); st.InUse > 1 || st.Ready+st.InUse > st.Slots {
							t.Errorf("stats %+v", st)
						}
					}
				}
			}()
			done := 0
			for range 1000 {
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				upto := 8
				switch rnd.IntN(8) {
				case 0:
					src.mu.Lock()
					src.fail[rnd.IntN(8)]++
					src.short[rnd.IntN(8)]++
					src.mu.Unlock()
				case 1:
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rnd.IntN(400))*time.Microsecond)
				case 2:
					upto = rnd.IntN(8)
				}
				err := r.pass(ctx, upto, time.Duration(rnd.IntN(100))*time.Microsecond)
				cancel()
				if err == nil {
					done++
				} else if !errors.Is(err, errDisk) && !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
			}
			close(stop)
			<-watched
			st := r.store.Stats()
			t.Logf("%+v: %d of 1000 passes undisturbed, %+v", c, done, st)
			if done < 600 || st.Errors == 0 || st.Dropped == 0 || st.Waits == 0 {
				t.Errorf("the soak did not exercise what it should")
			}
			r.close(t)
		})
	}
}

// Close comes at a random moment while several visitors are at it.
func TestCloseRace(t *testing.T) {
	for round := range 60 {
		r := newRig(t, layers(6, 4), &source{delay: time.Duration(round%3) * 20 * time.Microsecond})
		done := make(chan error)
		for range 3 {
			go func() {
				for {
					// With three visitors and two slots ErrInUse is fair.
					if err := r.pass(context.Background(), 6, 0); err != nil && !errors.Is(err, ErrInUse) {
						done <- err
						return
					}
				}
			}()
		}
		time.Sleep(time.Duration(round*7) * time.Microsecond)
		err := r.store.Close()
		if err != nil && !errors.Is(err, ErrInUse) {
			t.Error(err)
		}
		for range 3 {
			if err := <-done; !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		if again := r.store.Close(); again != err {
			t.Errorf("Close: %v, then %v", err, again)
		}
		r.checkEmpty(t)
		if _, _, err := r.store.Acquire(t.Context(), 0); !errors.Is(err, ErrClosed) {
			t.Errorf("Acquire after Close: %v", err)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	for _, room := range []int{4, 100} {
		r := newRig(b, layers(6, room), &source{})
		b.Run("regime="+r.p.Regime.String(), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_, release, err := r.store.Acquire(b.Context(), i%6)
				if err != nil {
					b.Fatal(err)
				}
				release()
			}
		})
		r.store.Close()
	}
}
