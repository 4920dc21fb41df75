package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// inputs draws sizes that are uniform, nearly uniform or wild, as layers of a
// dense model, entropy-coded layers, and layers plus a head are.
func inputs(t *rapid.T, maxUnits int) plan.Input {
	in := plan.Input{
		Slots: rapid.IntRange(0, 4).Draw(t, "slots"),
		Slack: rapid.SampledFrom([]int64{0, 64, 300}).Draw(t, "slack"),
		Page:  rapid.SampledFrom([]int64{0, 1, 512}).Draw(t, "page"),
	}
	spreadOf := rapid.SampledFrom([]int64{0, 50, 100000}).Draw(t, "variation")
	for i := range rapid.IntRange(0, maxUnits).Draw(t, "n") {
		u := plan.Unit{Name: fmt.Sprint("layer ", i), Streamable: rapid.IntRange(0, 5).Draw(t, "streamable") > 0}
		u.CodedBytes = 1000 + rapid.Int64Range(0, spreadOf).Draw(t, "coded")
		if rapid.IntRange(0, 5).Draw(t, "can unpack") > 0 {
			u.UnpackedBytes = u.CodedBytes * rapid.Int64Range(1, 4).Draw(t, "ratio")
		}
		in.Units = append(in.Units, u)
	}
	for range rapid.IntRange(0, 3).Draw(t, "fixed") {
		in.Fixed = append(in.Fixed, plan.Amount{Purpose: rapid.SampledFrom(budget.Purposes()).Draw(t, "purpose"), Bytes: rapid.Int64Range(0, 5000).Draw(t, "bytes")})
	}
	return in
}

func footprint(in plan.Input, n int64) int64 {
	page := max(in.Page, 1)
	return (n + in.Slack + page - 1) / page * page
}

// check recounts the plan from its placements alone.
func check(t *rapid.T, in plan.Input, p plan.Plan) {
	if len(p.Units) != len(in.Units) {
		t.Fatalf("%d units placed of %d", len(p.Units), len(in.Units))
	}
	var coded, unpacked, fixed, perPass, staging int64
	streamed := 0
	for i, u := range p.Units {
		if u.Unit != in.Units[i] {
			t.Fatalf("unit %d is %+v, want %+v", i, u.Unit, in.Units[i])
		}
		want := int64(0)
		switch u.Placement {
		case plan.Pinned:
			want = footprint(in, u.CodedBytes)
			coded += want
		case plan.Unpacked:
			want = footprint(in, u.UnpackedBytes)
			unpacked += want
			staging = max(staging, footprint(in, u.CodedBytes))
			if u.UnpackedBytes == 0 {
				t.Fatalf("unit %d has no unpacked form", i)
			}
		case plan.Streamed:
			streamed++
			perPass += u.CodedBytes
			if !u.Streamable || footprint(in, u.CodedBytes) > p.SlotBytes {
				t.Fatalf("unit %d cannot be streamed through slots of %d: %+v", i, p.SlotBytes, u)
			}
		}
		if u.Resident != want {
			t.Fatalf("unit %d occupies %d, want %d", i, u.Resident, want)
		}
	}
	for _, a := range in.Fixed {
		fixed += a.Bytes
	}
	slots := int64(p.Slots) * p.SlotBytes
	total := fixed + coded + unpacked + slots
	peak := max(total, fixed+unpacked+staging)
	if peak > p.Budget || peak != p.Peak || total != p.Total || perPass != p.PerPass || staging != p.Staging {
		t.Fatalf("recounted peak %d, total %d, per pass %d, staging %d; plan:\n%+v", peak, total, perPass, staging, p)
	}
	var sum int64
	for _, a := range p.Bytes {
		sum += a.Bytes
	}
	if sum != total {
		t.Fatalf("purposes add up to %d, want %d", sum, total)
	}
	unpackable := 0
	for _, u := range in.Units {
		if u.UnpackedBytes > 0 {
			unpackable++
		}
	}
	want := plan.B
	switch n := p.Count(plan.Unpacked); {
	case streamed > 0:
		want = plan.C
	case n > 0 && n == unpackable:
		want = plan.A
	}
	if p.Regime != want || (streamed > 0) != (p.Slots > 0) || (streamed > 0) != (p.SlotBytes > 0) {
		t.Fatalf("regime %v, want %v; %d streamed, %d slots of %d", p.Regime, want, streamed, p.Slots, p.SlotBytes)
	}
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := inputs(t, 40)
		in.Budget = rapid.Int64Range(0, 1<<18).Draw(t, "budget")
		p, err := plan.Make(in)
		var small *plan.TooSmallError
		if errors.As(err, &small) {
			if !errors.Is(err, plan.ErrTooSmall) || in.Budget >= small.MinBudget || p.MinBudget != small.MinBudget {
				t.Fatalf("refused %d: %v", in.Budget, err)
			}
			in.Budget = small.MinBudget // what it asks for is enough
			p, err = plan.Make(in)
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, in, p)

		// The thresholds are exact, and a larger budget never streams more
		// nor unpacks less.
		for _, more := range []int64{in.Budget + 1, in.Budget + rapid.Int64Range(1, 1<<17).Draw(t, "more"), p.ResidentBudget, p.UnpackedBudget, 1 << 40} {
			if more < in.Budget {
				continue
			}
			up := in
			up.Budget = more
			q, err := plan.Make(up)
			if err != nil {
				t.Fatal(err)
			}
			check(t, up, q)
			if q.PerPass > p.PerPass || q.PerPass == p.PerPass && q.Count(plan.Unpacked) < p.Count(plan.Unpacked) {
				t.Fatalf("budget %d: %s\nbudget %d: %s", in.Budget, p.Title(), more, q.Title())
			}
			if more >= p.ResidentBudget && q.PerPass > 0 {
				t.Fatalf("streams at %d, from %d on nothing should be", more, p.ResidentBudget)
			}
		}
		for _, less := range []int64{p.MinBudget - 1, p.ResidentBudget - 1} {
			down := in
			down.Budget = less
			q, err := plan.Make(down)
			if err == nil && (less < p.MinBudget || q.PerPass == 0) {
				t.Fatalf("budget %d: %s", less, q.Title())
			}
		}
	})
}

// MinBudget against every possible placement of small models.
func TestMinBudgetIsTight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := inputs(t, 7)
		slots := int64(in.Slots)
		if slots == 0 {
			slots = 2
		}
		least := int64(-1)
		for set := range 1 << len(in.Units) {
			var need, slot int64
			for i, u := range in.Units {
				switch c := footprint(in, u.CodedBytes); {
				case set>>i&1 == 0:
					need += c
				case u.Streamable:
					slot = max(slot, c)
				default:
					need += 1 << 40
				}
			}
			if need += slots * slot; least < 0 || need < least {
				least = need
			}
		}
		for _, a := range in.Fixed {
			least += a.Bytes
		}
		in.Budget = 1 << 40
		if p, err := plan.Make(in); err != nil || p.MinBudget != least {
			t.Fatalf("least budget %d, exhaustive search finds %d (%v)", p.MinBudget, least, err)
		}
	})
}

// Streamed units stand evenly in the loop, its wrap-around included.
func TestSpread(t *testing.T) {
	for n := 3; n < 50; n++ {
		in := plan.Input{}
		for range n {
			in.Units = append(in.Units, plan.Unit{CodedBytes: 10, Streamable: true})
		}
		for in.Budget = 20; in.Budget < int64(n)*10; in.Budget += 10 {
			p, err := plan.Make(in)
			if err != nil {
				t.Fatal(err)
			}
			if want := n - int(in.Budget/10) + 2; p.Count(plan.Streamed) != want {
				t.Fatalf("n=%d budget=%d: %d streamed, want %d", n, in.Budget, p.Count(plan.Streamed), want)
			}
			first, last, least, most := -1, -1, n, 0
			gap := func(g int) { least, most = min(least, g), max(most, g) }
			for i, u := range p.Units {
				if u.Placement != plan.Streamed {
					continue
				}
				if first < 0 {
					first = i
				} else {
					gap(i - last)
				}
				last = i
			}
			if gap(first + n - last); most-least > 1 {
				t.Errorf("n=%d budget=%d: gaps from %d to %d", n, in.Budget, least, most)
			}
		}
	}
}

// A 135 M model at 3.3 bits in the regimes that a user meets; the golden file
// shows what is printed.
func TestReport(t *testing.T) {
	in := plan.Input{Slack: 64, Page: 4096, Fixed: []plan.Amount{{budget.KV, 11 << 20}, {budget.GoHeap, 8 << 20}, {budget.Binary, 6 << 20}}}
	in.Units = append(in.Units, plan.Unit{Name: "embedding", CodedBytes: 11_700_000})
	for i := range int64(30) {
		in.Units = append(in.Units, plan.Unit{Name: fmt.Sprintf("layer %d", i), CodedBytes: 1_460_000 + i*137%41*100, UnpackedBytes: 3_600_000, Streamable: true})
	}
	var b strings.Builder
	for _, size := range []int64{32, 48, 79, 96, 160} {
		in.Budget = size << 20
		p, err := plan.Make(in)
		if err != nil {
			fmt.Fprintf(&b, "%v\n\n", err)
			continue
		}
		fmt.Fprintln(&b, p.String())
		text, err := json.Marshal(p)
		var back plan.Plan
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || !reflect.DeepEqual(back, p) {
			t.Errorf("JSON does not come back the same: %v\n%s", err, text)
		}
	}
	const file = "testdata/report.txt"
	want, err := os.ReadFile(file)
	if err != nil || b.String() != string(want) {
		t.Errorf("%s differs (%v); got:\n%s", file, err, b.String())
	}
}

func TestValidate(t *testing.T) {
	unit := plan.Unit{CodedBytes: 1}
	for name, in := range map[string]plan.Input{
		"no size":    {Units: []plan.Unit{{}}},
		"negative":   {Units: []plan.Unit{{CodedBytes: 1, UnpackedBytes: -1}}},
		"too large":  {Units: []plan.Unit{{CodedBytes: 1 << 60}}},
		"slots":      {Units: []plan.Unit{unit}, Slots: 65},
		"slack":      {Units: []plan.Unit{unit}, Slack: -1},
		"page":       {Units: []plan.Unit{unit}, Page: -1},
		"fixed":      {Fixed: []plan.Amount{{budget.KV, -1}}},
		"many units": {Units: make([]plan.Unit, 5000)},
	} {
		if _, err := plan.Make(in); err == nil || errors.Is(err, plan.ErrTooSmall) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := plan.Make(plan.Input{Units: []plan.Unit{unit}, Budget: -5}); !errors.Is(err, plan.ErrTooSmall) {
		t.Errorf("negative budget: %v", err)
	}
}

func BenchmarkMake(b *testing.B) {
	for _, n := range []int{32, 1024} {
		b.Run(fmt.Sprintf("units=%d", n), func(b *testing.B) {
			in := plan.Input{Budget: int64(n) * 500}
			for i := range n {
				in.Units = append(in.Units, plan.Unit{CodedBytes: int64(1000 + i*7919%97), UnpackedBytes: 4000, Streamable: true})
			}
			for b.Loop() {
				if _, err := plan.Make(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
