package vvc

import "math"

// trellis chooses the levels of a transform block by rate and distortion with dependent quantisation: a Viterbi search in
// coding order over the four states of the quantiser. Every survivor knows the levels that it chose, and with them the
// contexts of what follows, and how many context coded bins it has left.
type trellis struct {
	rates  rateTable
	nodes  [2][4]trellisNode
	starts [4]trellisNode // when the current subblock began
	levels [2][4]levelMap
	steps  [32 * 32][4]trellisStep
	skips  [64][4]bool // subblocks that the survivor of a state left out
	scaled [32 * 32]float32

	lambda    float32
	cost      float32                    // of the last choice
	remainder [4][remainderLimit]float32 // costs of small remainders by Rice parameter
}

// trellisStep is how a survivor got to its state.
type trellisStep struct {
	level int32 // absolute
	from  int8  // state before, or stepStart
}

const stepStart = -1 // the level is the last significant one

// levelMap holds levels by subblock and scan position, saturated to what templates can tell apart.
type levelMap [64][2]uint64

// trellisNode is a survivor. Templates are packed by scan position of the subblock, one byte each.
type trellisNode struct {
	cost     float32
	budget   int32
	any      bool      // the subblock has a level
	origin   int8      // state when the subblock began, or stepStart
	template [2]uint64 // as scratch.template
	sum      [2]uint64 // of the template's absolute levels
	levels   [2]uint64
	coded    uint64 // subblocks with levels
}

// templateLimit saturates levels: five of them fit a byte, and one is enough for the largest Rice parameter.
const templateLimit = 51

const infinite = math.MaxFloat32

// spread[p] has a one in the byte of each position of a subblock whose template has position p.
var spread = func() (m [16][2]uint64) {
	s := &scanTables[2][2]
	for p := range 16 {
		for q := range 16 {
			dx, dy := int(s.x[p])-int(s.x[q]), int(s.y[p])-int(s.y[q])
			if inTemplate(dx, dy) {
				m[p][q>>3] |= 1 << (q & 7 * 8)
			}
		}
	}
	return m
}()

func inTemplate(dx, dy int) bool { return dx >= 0 && dy >= 0 && dx+dy > 0 && dx+dy <= 2 }

// neighbourSpread lists, for the subblocks to the right, below and diagonally below, which of their positions are in the
// templates of which positions of a subblock.
var neighbourSpread = func() (m [3][]struct {
	pos  uint8
	mask [2]uint64
}) {
	s := &scanTables[2][2]
	for i, d := range [3][2]int{{4, 0}, {0, 4}, {4, 4}} {
		for p := range 16 {
			var mask [2]uint64
			for q := range 16 {
				if inTemplate(int(s.x[p])+d[0]-int(s.x[q]), int(s.y[p])+d[1]-int(s.y[q])) {
					mask[q>>3] |= 1 << (q & 7 * 8)
				}
			}
			if mask != [2]uint64{} {
				m[i] = append(m[i], struct {
					pos  uint8
					mask [2]uint64
				}{uint8(p), mask})
			}
		}
	}
	return m
}()

// enter prepares a survivor for the subblock at (gx, gy).
func (n *trellisNode) enter(m *levelMap, gx, gy, gw, gh int) {
	n.any = false
	n.template, n.sum, n.levels = [2]uint64{}, [2]uint64{}, [2]uint64{}
	for i := range neighbourSpread {
		x, y := gx+1-i&1, gy+(i+1)>>1
		if x >= gw || y >= gh {
			continue
		}
		l := &m[y<<3|x]
		if l[0]|l[1] == 0 {
			continue
		}
		for _, s := range neighbourSpread[i] {
			if v := l[s.pos>>3] >> (s.pos & 7 * 8) & 255; v != 0 {
				n.add(&s.mask, v)
			}
		}
	}
}

// add counts level v in the templates of mask.
func (n *trellisNode) add(mask *[2]uint64, v uint64) {
	first := 32 + min(v, 4+v&1)
	n.template[0] += mask[0] * first
	n.template[1] += mask[1] * first
	n.sum[0] += mask[0] * v
	n.sum[1] += mask[1] * v
}

// candidates are the levels next to a scaled coefficient and their distortions, for one of the two quantisers. The two
// have different parities.
type candidates struct {
	level [2]int32
	dist  [2]float32
}

// nearest returns the candidates of magnitude a: even multiples of the step, or odd ones and zero.
func nearest(a float32, odd int32) (c candidates) {
	k := (int32(a) + odd) >> 1
	v := float32(2*k - odd)
	if k == 0 {
		v = 0
	}
	up := float32(2*k + 2 - odd)
	c.level = [2]int32{k, k + 1}
	c.dist = [2]float32{(a - v) * (a - v), (a - up) * (a - up)}
	return c
}

// search fills levels, in scan order, for the coefficients of a block of w by h, in steps of the quantiser. lambda is the
// distortion, in squared steps, that a bit is worth. It reports whether any level is not zero.
func (t *trellis) search(coefs []float32, w, h int, inverseStep, lambda float32, levels []int32) bool {
	scan := blockScans[log2(w)][log2(h)]
	n := w * h
	for i := range n {
		t.scaled[i] = coefs[int(scan.y[i])*w+int(scan.x[i])] * inverseStep
	}
	t.scaleRates(lambda)
	cur := 0
	for s := range t.nodes[0] {
		t.nodes[0][s].cost, t.nodes[1][s].cost = infinite, infinite
	}
	zero := float32(0) // distortion of zeros so far
	starting := true
	for g := n>>4 - 1; g >= 0; g-- {
		gx, gy := int(scan.x[g<<4]>>2), int(scan.y[g<<4]>>2)
		group := t.scaled[g<<4 : g<<4+16]
		energy := float32(0)
		for _, c := range group {
			energy += c * c
		}
		best := float32(infinite)
		var skipCost [4]float32
		for s := range 4 {
			node := &t.nodes[cur][s]
			skipCost[s] = infinite
			if node.cost == infinite {
				continue
			}
			t.starts[s] = *node
			node.enter(&t.levels[0][s], gx, gy, w>>2, h>>2)
			node.origin = int8(s)
			if g != 0 {
				near := node.coded>>(gy<<3+gx+1)&1&uint64(btoi(gx < 7)) | node.coded>>((gy+1)<<3+gx)&uint64(btoi(gy < 7))&1
				skipCost[s] = node.cost + energy + t.rates.subblock[near][0]
				node.cost += t.rates.subblock[near][1]
			}
			best = min(best, node.cost)
		}
		starting = starting && !(zero > best+64*lambda)
		for p := 15; p >= 0; p-- {
			i := g<<4 + p
			start := float32(infinite)
			if starting {
				start = zero + t.rates.lastX[scan.x[i]] + t.rates.lastY[scan.y[i]]
			}
			t.step(cur, i, int(scan.diag[i]), g != 0, start, n)
			cur ^= 1
			zero += group[p] * group[p]
		}
		// Sixteen steps: cur is what it was. Survivors take their levels along.
		for s := range 4 {
			node := &t.nodes[cur][s]
			next := &t.levels[1][s]
			if skipCost[s] < node.cost {
				*node = t.starts[s]
				node.cost = skipCost[s]
				t.skips[g][s] = true
				*next = t.levels[0][s]
				continue
			}
			t.skips[g][s] = false
			if node.cost == infinite {
				continue
			}
			if node.origin == stepStart {
				*next = levelMap{}
			} else {
				*next = t.levels[0][node.origin]
			}
			next[gy<<3|gx] = node.levels
			node.coded |= 1 << (gy<<3 | gx)
		}
		t.levels[0], t.levels[1] = t.levels[1], t.levels[0]
	}
	return t.trace(cur, n, zero, levels)
}

// scaleRates turns bits into distortion.
func (t *trellis) scaleRates(lambda float32) {
	scale := func(v []float32) {
		for i := range v {
			v[i] *= lambda
		}
	}
	r := &t.rates
	scale(r.cbf[:])
	for i := range r.subblock {
		scale(r.subblock[i][:])
	}
	for i := range r.sig {
		for j := range r.sig[i] {
			scale(r.sig[i][j][:])
		}
	}
	for i := range r.level {
		scale(r.level[i][:])
	}
	scale(r.lastX[:])
	scale(r.lastY[:])
	for i := range t.remainder {
		for v := range t.remainder[i] {
			t.remainder[i][v] = lambda * remainderLength[i][v]
		}
	}
	t.lambda = lambda
}

// trace writes the levels of the best survivor.
func (t *trellis) trace(cur, n int, zero float32, levels []int32) bool {
	clear(levels[:n])
	s, best := -1, zero+t.rates.cbf[0]
	for i := range t.nodes[cur] {
		if c := t.nodes[cur][i].cost + t.rates.cbf[1]; c < best {
			s, best = i, c
		}
	}
	t.cost = best
	if s < 0 {
		return false
	}
	for i := 0; i < n; i++ {
		if i&15 == 0 && t.skips[i>>4][s] {
			i += 15
			continue
		}
		step := &t.steps[i][s]
		if step.level != 0 && t.scaled[i] < 0 {
			levels[i] = -step.level
		} else {
			levels[i] = step.level
		}
		if step.from == stepStart {
			break
		}
		s = int(step.from)
	}
	return true
}

// step extends the survivors by scan position i on diagonal diag. inferable says that the last of sixteen levels cannot be
// zero when the others are; start is what ended the zeros here costs.
func (t *trellis) step(cur, i, diag int, inferable bool, start float32, n int) {
	p := i & 15
	a := t.scaled[i]
	if a < 0 {
		a = -a
	}
	var cost [4]float32
	var level [4]int32
	var from [4]int8
	for s := range cost {
		cost[s] = infinite
	}
	zeroDist := a * a
	sigDiag, levelDiag := sigDiagonal[0][diag], levelDiagonal[0][diag]
	cands := [2]candidates{nearest(a, 0), nearest(a, 1)}
	shift := uint(p&7) * 8
	for s := range 4 {
		node := &t.nodes[cur][s]
		if node.cost == infinite {
			continue
		}
		c := &cands[s>>1]
		base := node.cost
		sum := int(node.sum[p>>3&1] >> shift & 255)
		var zeroCost, cost0, cost1 float32
		k0, k1 := c.level[0], c.level[1]
		if node.budget >= 4 {
			tpl := uint8(node.template[p>>3&1] >> shift)
			rates := &t.rates.level[gtContext[tpl]+levelDiag]
			zeroCost = infinite
			if !(inferable && p == 0 && !node.any) {
				sig := &t.rates.sig[max(s-1, 0)][sigContext[tpl]+sigDiag]
				zeroCost = base + sig[0]
				base += sig[1]
			}
			if k1 < 4 {
				cost0, cost1 = base+rates[k0&3], base+rates[k1&3]
			} else {
				rice := riceParam[min(max(sum-20, 0), 31)]
				cost1 = base + rates[4+k1&1] + t.rest((k1-4)>>1, rice)
				if k0 < 4 {
					cost0 = base + rates[k0]
				} else {
					cost0 = base + rates[4+k0&1] + t.rest((k0-4)>>1, rice)
				}
			}
		} else {
			rice := riceParam[min(sum, 31)]
			zeroCost = base + t.rest(bypassCode(0, rice, uint32(s)), rice)
			base += t.lambda
			cost0 = base + t.rest(bypassCode(k0, rice, uint32(s)), rice)
			cost1 = base + t.rest(bypassCode(k1, rice, uint32(s)), rice)
		}
		zeroCost += zeroDist
		if k0 == 0 {
			cost0 = zeroCost
		} else {
			cost0 += c.dist[0]
			if k0 <= 2 {
				next := stateTransitions >> (s << 2) & 3
				if zeroCost < cost[next] {
					cost[next], level[next], from[next] = zeroCost, 0, int8(s)
				}
			}
		}
		cost1 += c.dist[1]
		next := stateTransitions >> (s<<2 + int(k0&1)<<1) & 3
		if cost0 < cost[next] {
			cost[next], level[next], from[next] = cost0, k0, int8(s)
		}
		next = stateTransitions >> (s<<2 + int(k1&1)<<1) & 3
		if cost1 < cost[next] {
			cost[next], level[next], from[next] = cost1, k1, int8(s)
		}
	}
	if start < infinite {
		c := &cands[0]
		for j, k := range c.level {
			if k == 0 {
				continue
			}
			v := start + c.dist[j]
			if k < 4 {
				v += t.rates.level[0][k]
			} else {
				v += t.rates.level[0][4+k&1] + t.rest((k-4)>>1, 0)
			}
			next := k & 1 << 1
			if v < cost[next] {
				cost[next], level[next], from[next] = v, k, stepStart
			}
		}
	}
	for s := range cost {
		node := &t.nodes[cur^1][s]
		k, f := level[s], from[s]
		t.steps[i][s] = trellisStep{k, f}
		if cost[s] == infinite {
			node.cost = infinite
			continue
		}
		if f == stepStart {
			*node = trellisNode{cost: cost[s], budget: int32(n*28>>4) - 1, origin: stepStart}
			if k > 1 {
				node.budget -= 2
			}
		} else {
			*node = t.nodes[cur][f&3]
			node.cost = cost[s]
			if node.budget >= 4 {
				switch {
				case k == 0:
					node.budget--
				case k == 1:
					node.budget -= 2
				default:
					node.budget -= 4
				}
				if inferable && p == 0 && !node.any {
					node.budget++
				}
			}
		}
		if k > 0 {
			node.any = true
			v := uint64(k)
			if v > templateLimit {
				v = templateLimit - 1 + v&1
			}
			node.add(&spread[p], v)
			node.levels[p>>3&1] |= v << shift
		}
	}
}

// rest returns the cost of a remainder.
func (t *trellis) rest(v int32, rice uint8) float32 {
	if v < remainderLimit {
		return t.remainder[rice&3][v&(remainderLimit-1)]
	}
	return t.lambda * float32(remainderBits(int(v), int(rice)))
}
