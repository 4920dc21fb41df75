package residency

import (
	"time"

	"github.com/lamina-llm/lamina/runtime/plan"
)

// Stats is a picture of a store. Counters only grow.
type Stats struct {
	Pinned        int           `json:"pinned"` // units by placement
	Unpacked      int           `json:"unpacked"`
	Streamed      int           `json:"streamed"`
	ResidentBytes int64         `json:"resident_bytes"` // in buffers of pinned and unpacked units
	LoadTime      time.Duration `json:"load_ns"`        // that Open took

	Slots int   `json:"slots"`       // all
	Ready int   `json:"ready"`       // units read ahead and not yet acquired
	InUse int   `json:"in_use"`      // units acquired of those
	Ahead int64 `json:"ahead_bytes"` // of the units behind, as far as they have been read
	Refs  int   `json:"refs"`        // acquired and not released, resident units included

	Reads     uint64        `json:"reads"`      // of units, ended while streaming, failed ones included
	BytesRead uint64        `json:"bytes_read"` // of streamed units, by whatever became of them
	Errors    uint64        `json:"errors"`     // reads that failed
	Dropped   uint64        `json:"dropped"`    // reads in vain, because the visitor went elsewhere
	Hits      uint64        `json:"hits"`       // Acquire found its unit in memory
	Waits     uint64        `json:"waits"`      // Acquire had to wait
	WaitTime  time.Duration `json:"wait_ns"`    // sum of all waits
}

// count adds one unit of the plan.
func (st *Stats) count(u plan.Placed) {
	switch u.Placement {
	case plan.Pinned:
		st.Pinned++
	case plan.Unpacked:
		st.Unpacked++
	case plan.Streamed:
		st.Streamed++
	}
	st.ResidentBytes += u.Resident
}

// Stats returns the state of the store at one moment.
func (s *Store[T]) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Slots, st.InUse, st.Refs = s.o.Plan.Slots, len(s.held), s.refs
	for _, r := range s.queue {
		st.Ahead += r.got
		if r.ready {
			st.Ready++
		}
	}
	return st
}
