package plan

import (
	"cmp"
	"iter"
	"slices"

	"github.com/lamina-llm/lamina/runtime/budget"
)

// candidate is one way to place the units. Units above slot bytes and those
// that cannot be streamed are pinned; of the rest, so many are streamed that they
// are a share of all bytes, if there are enough. Only if share is 0, the first
// unpacked of maker.order are unpacked.
type candidate struct {
	slot     int64   // footprint of a slot; 0 if nothing is streamed
	share    float64 // 0 to 1
	unpacked int

	need    int64 // bytes at the worst moment, Fixed included
	perPass int64 // coded bytes streamed per pass
}

// maxShares is how many shares are tried: of more units each would change little.
const maxShares = 256

// better orders candidates by what they cost at run time: bytes from disk,
// then units decoded on every use, then memory.
func better(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.perPass, b.perPass), cmp.Compare(b.unpacked, a.unpacked), cmp.Compare(a.need, b.need))
}

// maker holds what all candidates share.
type maker struct {
	in    Input
	fixed int64
	coded []int64 // footprint of each unit, coded
	order []int   // units that can be unpacked, least growth first
}

// Make places the units of in within in.Budget. If nothing fits it returns an
// error that wraps [ErrTooSmall], and a plan of which only Budget and MinBudget
// mean anything; other errors are those of [Input.Validate].
func Make(in Input) (Plan, error) {
	if err := in.Validate(); err != nil {
		return Plan{}, err
	}
	in.Slots, in.Page = cmp.Or(in.Slots, 2), cmp.Or(in.Page, 1)
	m := maker{in: in}
	for _, a := range in.Fixed {
		m.fixed += a.Bytes
	}
	for i, u := range in.Units {
		m.coded = append(m.coded, m.footprint(u.CodedBytes))
		if u.UnpackedBytes > 0 {
			m.order = append(m.order, i)
		}
	}
	growth := func(i int) int64 { return m.footprint(in.Units[i].UnpackedBytes) - m.coded[i] }
	slices.SortStableFunc(m.order, func(a, b int) int { return cmp.Compare(growth(a), growth(b)) })

	p := Plan{Budget: in.Budget, Slack: in.Slack, MinBudget: -1, ResidentBudget: -1}
	var best candidate
	found := false
	m.candidates(func(c candidate) {
		lower := func(to *int64) {
			if *to < 0 || c.need < *to {
				*to = c.need
			}
		}
		lower(&p.MinBudget)
		if c.share == 0 {
			lower(&p.ResidentBudget)
			if c.unpacked == len(m.order) {
				p.UnpackedBudget = c.need
			}
		}
		if c.need <= in.Budget && (!found || better(c, best) < 0) {
			best, found = c, true
		}
	})
	if !found {
		return p, &TooSmallError{Budget: in.Budget, MinBudget: p.MinBudget}
	}
	m.build(&p, best)
	return p, nil
}

// footprint returns the size of a buffer of n bytes.
func (m *maker) footprint(n int64) int64 {
	return (n + m.in.Slack + m.in.Page - 1) / m.in.Page * m.in.Page
}

// candidates yields the whole family, which depends on everything but the
// budget.
func (m *maker) candidates(yield func(candidate)) {
	m.unpacking(yield)
	for _, slot := range m.slotSizes() {
		free := m.streamable(slot)
		base := m.fixed + int64(m.slots(slot))*slot
		for _, c := range m.coded {
			base += c
		}
		steps := min(free, maxShares)
		for n := 1; n <= steps; n++ {
			c := candidate{slot: slot, share: float64(n) / float64(steps), need: base}
			for u := range m.streamed(c) {
				c.need -= m.coded[u]
				c.perPass += m.in.Units[u].CodedBytes
			}
			if c.perPass > 0 {
				yield(c)
			}
		}
	}
}

// unpacking yields the candidates that stream nothing. Units are unpacked
// before the others are loaded, so the staging buffer for their coded bytes and
// the pinned units are never there at once.
func (m *maker) unpacking(yield func(candidate)) {
	var pinned, unpacked, staging int64
	for _, c := range m.coded {
		pinned += c
	}
	yield(candidate{need: m.fixed + pinned})
	for k, i := range m.order {
		pinned -= m.coded[i]
		unpacked += m.footprint(m.in.Units[i].UnpackedBytes)
		staging = max(staging, m.coded[i])
		yield(candidate{unpacked: k + 1, need: m.fixed + unpacked + max(pinned, staging)})
	}
}

// slotSizes returns the slot sizes worth trying, largest first: a ladder with
// steps of at least an eighth (a slot slightly smaller than the largest unit
// gains nothing), and the one that needs least memory when all is streamed.
func (m *maker) slotSizes() []int64 {
	sizes := []int64{}
	var pinned, small int64 // footprints of units that can never, and that can, be streamed
	for i, u := range m.in.Units {
		if u.Streamable {
			sizes = append(sizes, m.coded[i])
			small += m.coded[i]
		} else {
			pinned += m.coded[i]
		}
	}
	slices.Sort(sizes)
	slices.Reverse(sizes)
	var ladder []int64
	var least, leastNeed int64 = 0, -1
	for i, s := range sizes {
		if i == 0 || s != sizes[i-1] {
			// All units of at most s bytes streamed, the larger ones pinned.
			if need := pinned + int64(m.slots(s))*s; leastNeed < 0 || need < leastNeed {
				least, leastNeed = s, need
			}
			if n := len(ladder); n == 0 || s <= ladder[n-1]-ladder[n-1]/8 {
				ladder = append(ladder, s)
			}
		}
		pinned += s
	}
	if least > 0 && !slices.Contains(ladder, least) {
		ladder = append(ladder, least)
	}
	return ladder
}

// slots returns how many slots of some size there are.
func (m *maker) slots(size int64) int {
	return max(m.in.Slots, int(min(maxSlots, (m.in.Window+size-1)/size)))
}

// streamable counts the units that a slot can hold.
func (m *maker) streamable(slot int64) (n int) {
	for i, u := range m.in.Units {
		if u.Streamable && m.coded[i] <= slot {
			n++
		}
	}
	return n
}

// streamed yields the units that c streams, in visiting order: so that of any run
// of units the same share of their bytes is read from disk, and every read has the
// same amount of computing to hide behind.
func (m *maker) streamed(c candidate) iter.Seq[int] {
	return func(yield func(int) bool) {
		const half = 0.5 - 1e-9 // rounding decides nothing
		owed := 0.0             // bytes that should have been streamed so far, less those that are
		for i, u := range m.in.Units {
			size := float64(u.CodedBytes)
			owed += c.share * size
			if u.Streamable && m.coded[i] <= c.slot && owed >= half*size {
				owed -= size
				if !yield(i) {
					return
				}
			}
		}
	}
}

// build writes candidate c into p.
func (m *maker) build(p *Plan, c candidate) {
	p.Peak, p.PerPass = c.need, c.perPass
	p.Units = make([]Placed, len(m.in.Units))
	for i, u := range m.in.Units {
		p.Units[i] = Placed{Unit: u, Placement: Pinned, Resident: m.coded[i]}
	}
	switch {
	case c.share > 0:
		p.Regime, p.Slots, p.SlotBytes = C, m.slots(c.slot), c.slot
		for i := range m.streamed(c) {
			p.Units[i].Placement, p.Units[i].Resident = Streamed, 0
		}
	case c.unpacked > 0 && c.unpacked == len(m.order):
		p.Regime = A
	default:
		p.Regime = B
	}
	for _, i := range m.order[:c.unpacked] {
		u := &p.Units[i]
		u.Placement, u.Resident = Unpacked, m.footprint(u.UnpackedBytes)
		p.Staging = max(p.Staging, m.coded[i])
	}

	var by [256]int64
	for _, a := range m.in.Fixed {
		by[a.Purpose] += a.Bytes
	}
	for _, u := range p.Units {
		if u.Placement == Unpacked {
			by[budget.Unpacked] += u.Resident
		} else {
			by[budget.Coded] += u.Resident
		}
	}
	by[budget.Slots] += int64(p.Slots) * p.SlotBytes
	for i, n := range by {
		if n > 0 {
			p.Bytes = append(p.Bytes, Amount{budget.Purpose(i), n})
			p.Total += n
		}
	}
}
