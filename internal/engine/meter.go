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

// count adds one product.
func (m *meter) count(bytes int64, took time.Duration) {
	m.nanos.Add(int64(took))
	m.bytes.Add(bytes)
}

// metered is an operator over coded bytes whose products are counted.
type metered struct {
	model.Linear
	m     *meter
	bytes int64 // that one product decodes
}

// Apply implements model.Linear.
func (o *metered) Apply(dst, x []float32, n int) error {
	start := time.Now()
	err := o.Linear.Apply(dst, x, n)
	o.m.count(o.bytes, time.Since(start))
	return err
}

// codedBytes is what one product with the unit's matrix decodes.
func (u *unit) codedBytes() (n int64) {
	for k := range u.parts {
		for _, s := range u.parts[k].spans {
			n += int64(s.Len)
		}
	}
	return n
}
