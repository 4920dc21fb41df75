package fisher

import "github.com/lamina-llm/lamina/internal/kern"

// packLayer packs the matrices of l: with back those that the way back needs.
func (m *Model) packLayer(l *Layer, back bool) {
	for kind := range Kinds {
		w, rows, cols := m.matrix(l, kind)
		if kind != Down || !back {
			m.products.Pack(&m.weights.own[kind], w, rows, cols, m.Coarse)
		}
		if back {
			m.products.Turn(&m.weights.turned[kind], w, rows, cols, m.Coarse)
		}
	}
}

// matrix returns a matrix of a layer and its size.
func (m *Model) matrix(l *Layer, kind int) (w []float32, rows, cols int) {
	c := &m.config
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	switch kind {
	case QKV:
		return l.QKV, c.QKV(), h
	case Out:
		return l.Out, h, q
	case GateUp:
		return l.GateUp, 2 * f, h
	}
	return l.Down, h, f
}

// Input returns what a matrix of a layer is given when the layer is given n
// states x (n x Hidden), and what its outputs are added to, nil if to nothing. It reads
// only the matrices before that one. Both are valid until the next call of a method.
func (m *Model) Input(l *Layer, kind int, x []float32, n int) (in, base []float32) {
	for k := range kind {
		w, rows, cols := m.matrix(l, k)
		m.products.Pack(&m.weights.own[k], w, rows, cols, m.Coarse)
	}
	return m.input(l, kind, x, n)
}

// input is Input of a layer whose matrices are packed.
func (m *Model) input(l *Layer, kind int, x []float32, n int) (in, base []float32) {
	c := &m.config
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	m.norm(m.normed, x, l.AttnNorm, n)
	if kind == QKV {
		return m.normed[:n*h], nil
	}
	m.products.Multiply(m.qkv, &m.weights.own[QKV], m.normed, n)
	m.rotate(m.qkv, n, false)
	m.attend(n)
	if kind == Out {
		return m.att[:n*q], x[:n*h]
	}
	m.products.Multiply(m.mid, &m.weights.own[Out], m.att, n)
	m.add(m.mid, x, n)
	m.norm(m.normed2, m.mid, l.FFNNorm, n)
	if kind == GateUp {
		return m.normed2[:n*h], nil
	}
	m.products.Multiply(m.gateUp, &m.weights.own[GateUp], m.normed2, n)
	m.pool.For(n, func(_, t int) {
		gu := m.gateUp[t*2*f : (t+1)*2*f]
		kern.SwiGLU(m.act[t*f:(t+1)*f], gu[:f], gu[f:])
	})
	return m.act[:n*f], m.mid[:n*h]
}

// Product computes dst[t] = w x[t] for n vectors; w is rows x cols.
func (m *Model) Product(dst, w, x []float32, rows, cols, n int) {
	own := &m.weights.turned[0]
	m.products.Pack(own, w, rows, cols, m.Coarse)
	m.products.Multiply(dst, own, x, n)
}

// backward takes dx of a window from the output of layer i, which is packed, to its
// input.
func (m *Model) backward(i int, l *Layer, window, n int, sink Sink) {
	c := &m.config
	h, q, f := c.Hidden, c.Heads*c.HeadDim, c.Intermediate
	x, dx, turned := m.states[window][i], m.dx[window], &m.weights.turned
	m.input(l, Down, x, n)

	m.products.Multiply(m.dact, &turned[Down], dx, n)
	sink.Linear(i, Down, m.act[:n*f], dx[:n*h], m.dact[:n*f], n)
	m.pool.For(n, func(worker, t int) {
		gateBack(m.dgu[t*2*f:(t+1)*2*f], m.dact[t*f:(t+1)*f], m.gateUp[t*2*f:(t+1)*2*f], m.rows[worker])
	})
	m.products.Multiply(m.dh, &turned[GateUp], m.dgu, n)
	sink.Linear(i, GateUp, m.normed2[:n*h], m.dgu[:n*2*f], m.dh[:n*h], n)
	m.normBack(dx, m.dh, m.mid, l.FFNNorm, n)

	m.products.Multiply(m.datt, &turned[Out], dx, n)
	sink.Linear(i, Out, m.att[:n*q], dx[:n*h], m.datt[:n*q], n)
	m.attendBack(n)
	m.rotate(m.dqkv, n, true)
	m.products.Multiply(m.dh, &turned[QKV], m.dqkv, n)
	sink.Linear(i, QKV, m.normed[:n*h], m.dqkv[:n*c.QKV()], m.dh[:n*h], n)
	m.normBack(dx, m.dh, x, l.AttnNorm, n)
}
