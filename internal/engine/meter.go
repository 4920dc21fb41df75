package engine

import (
	"sync/atomic"
	"time"

	"github.com/lamina-llm/lamina/model"
)

// meter counts the work of products with coded weights. The loop writes,
// whoever scrapes reads.
type meter struct {
	bytes atomic.Int64 // coded bytes that went through
	nanos atomic.Int64
}

// metered is an operator over coded bytes whose products are counted.
type metered struct {
	model.Linear
	m     *meter
	bytes int64 // that one product decodes
}

// metered returns op, over the given parts, as an operator whose products are
// counted.
func (m *meter) metered(op model.Linear, parts []part) model.Linear {
	o := &metered{Linear: op, m: m}
	for k := range parts {
		o.bytes += parts[k].codedBytes()
	}
	return o
}

// Apply implements model.Linear.
func (o *metered) Apply(dst, x []float32, n int) error {
	start := time.Now()
	err := o.Linear.Apply(dst, x, n)
	o.m.nanos.Add(int64(time.Since(start)))
	o.m.bytes.Add(o.bytes)
	return err
}

// codedBytes is what one product with the matrix decodes.
func (p *part) codedBytes() (n int64) {
	for _, s := range p.spans {
		n += int64(s.Len)
	}
	return n
}
