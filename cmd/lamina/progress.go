package main

import (
	"encoding/json"
	"math"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// reporter shows how far a command is: a bar per phase on a terminal, JSON
// lines elsewhere. It is for one goroutine; the bars draw in one of their own,
// which close waits for.
type reporter struct {
	json *json.Encoder // nil unless lines are wanted
	bars *mpb.Progress // nil unless bars are wanted
	bar  *mpb.Bar      // of the phase

	phase string
	began time.Time // the phase, at its first report
	first int64     // what that said was done
	last  time.Time
}

// step is one report. Its JSON form is what a program reads on standard error.
type step struct {
	Phase string `json:"phase"`
	Item  string `json:"item,omitempty"` // tensor or file
	Done  int64  `json:"done"`
	Total int64  `json:"total"`                  // -1 if unknown
	Left  int64  `json:"seconds_left,omitempty"` // of the phase, at its pace so far
	bytes bool   // the numbers are bytes
}

// lineInterval is the least time between two JSON lines of a phase, the first
// and the last of it apart.
const lineInterval = 1000 * time.Millisecond

// reporter starts reporting as --progress says. The caller closes it.
func (a *app) reporter() *reporter {
	r := &reporter{}
	switch {
	case a.progress == "bar", a.progress == "auto" && a.bars:
		r.bars = mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(64))
	case a.progress == "json", a.progress == "auto":
		r.json = json.NewEncoder(a.err)
	}
	return r
}

// show reports one step. A new phase begins where the name changes.
func (r *reporter) show(s step) {
	begins := s.Phase != r.phase
	if begins {
		r.phase, r.began, r.first = s.Phase, time.Now(), s.Done
	} else if done := s.Done - r.first; done > 0 && s.Total > s.Done {
		s.Left = int64(math.Ceil(time.Since(r.began).Seconds() * float64(s.Total-s.Done) / float64(done)))
	}
	switch {
	case r.json != nil:
		if now := time.Now(); begins || s.Done == s.Total || now.Sub(r.last) >= lineInterval {
			r.last = now
			_ = r.json.Encode(s) // nobody to tell if standard error is gone
		}
	case r.bars != nil:
		if begins {
			r.endBar()
			r.bar = r.newBar(s)
		}
		if s.Total >= 0 {
			r.bar.SetTotal(s.Total, false)
		}
		r.bar.SetCurrent(s.Done)
	}
}

func (r *reporter) newBar(s step) *mpb.Bar {
	name := decor.Name(s.Phase, decor.WCSyncSpaceR)
	if !s.bytes {
		return r.bars.AddBar(max(s.Total, 0), mpb.PrependDecorators(name),
			mpb.AppendDecorators(decor.Percentage(decor.WCSyncSpace), decor.AverageETA(decor.ET_STYLE_MMSS, decor.WCSyncSpace)))
	}
	return r.bars.AddBar(max(s.Total, 0), mpb.PrependDecorators(name, decor.CountersKibiByte("% .1f / % .1f", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f", decor.WCSyncSpace)))
}

// endBar leaves the bar of the phase as it stands.
func (r *reporter) endBar() {
	if r.bar != nil && !r.bar.Completed() {
		r.bar.Abort(false)
	}
}

// close ends the drawing, so that other lines may be printed.
func (r *reporter) close() {
	if r.bars != nil {
		r.endBar()
		r.bars.Wait()
		r.bars = nil
	}
	r.json = nil
}
