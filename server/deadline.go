package server

import (
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/lamina-llm/lamina/model"
)

// stoppedLate is the stop_reason of a choice that its deadline cut off. The
// finish_reason is "length" then: clients know no other for a text that a limit
// has cut, and some refuse what they do not know.
const stoppedLate = "timeout"

// maxTimeout bounds the seconds that a request may ask for, so that they fit a
// time.Duration.
const maxTimeout = 1e9

// timeout returns the time that an answer may take from now on, 0 for any: what
// the request asks for or the server's default, and never more than the server
// allows.
func (s *Server) timeout(c *common) (time.Duration, *apiError) {
	d, most := s.o.DefaultTimeout, s.o.RequestTimeout
	if t := c.Timeout; t != nil {
		if !(*t > 0 && *t <= maxTimeout) {
			return 0, badRequest("timeout", "invalid_value", "Invalid 'timeout': must be a number of seconds above 0 and up to %v, but got %v.", maxTimeout, *t)
		}
		d = max(time.Duration(*t*float64(time.Second)), time.Nanosecond)
	}
	if most > 0 && (d <= 0 || d > most) {
		d = most
	}
	return d, nil
}

// late ends the choices that a deadline has cut off, if any choice has shown
// something: what is there is an answer. It is called when events is closed.
func (g *generation) late() []piece {
	if !errors.Is(g.err, errTimeout) || !g.spoke() {
		return nil
	}
	g.err, g.cut = nil, true
	var out []piece
	for i := range g.choices {
		if g.choices[i].done {
			continue
		}
		p, _ := g.add(i, model.Event{Finish: model.FinishLength})
		p.stopped = stoppedLate
		out = append(out, p)
	}
	return out
}

// tooLate is the answer to a request whose deadline has passed before there was
// anything to show: in the queue, or in its prompt.
func tooLate() *apiError {
	e := newError(fasthttp.StatusGatewayTimeout, typeServer, "timeout",
		"The request's deadline passed before its first token: it waited for others, or its prompt took too long. Try again later, or with a longer 'timeout' if the server allows one.")
	e.noRetry = true
	return e
}
