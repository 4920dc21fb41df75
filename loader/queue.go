package loader

import (
	"time"

	"github.com/lamina-llm/lamina/weights"
)

// Queue reads parts of units side by side, without anybody who waits for each;
// see weights.Queue.
type Queue struct {
	m *Model
	q *weights.Queue
}

// Queue returns a queue for up to depth reads, or nil if system or file have none,
// or the model was opened without DropCache. Close it before the model.
func (m *Model) Queue(depth int) *Queue {
	q := m.file.Queue(depth)
	if q == nil {
		return nil
	}
	return &Queue{m, q}
}

// Submit begins to read what [Model.Read] would, unchecked. Wait will tell under
// that token how it ended; until then dst belongs to the queue.
func (q *Queue) Submit(unit int, dst []byte, off int64, token uint64) {
	q.q.Submit(q.m.index[unit], dst, q.m.base(unit)+off, token)
}

// Wait tells ended about reads that have ended, and returns their number. If
// there are none it waits until there are, or until d has passed. It counts them
// as Read does, but for the time.
func (q *Queue) Wait(d time.Duration, ended func(token uint64, err error)) int {
	return q.q.Wait(d, func(token uint64, n int, err error) {
		if err != nil {
			err = q.m.explain(err)
		} else {
			q.m.bytes.Add(int64(n))
			q.m.reads.Add(1)
		}
		ended(token, err)
	})
}

// Close waits for reads under way and ends the queue.
func (q *Queue) Close() error { return q.q.Close() }
