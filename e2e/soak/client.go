package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// agent has a connection for every client and keeps them.
var agent = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func (s *soak) post(ctx context.Context, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/completions", strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return agent.Do(req)
}

// client is one of the clients, until the time is over.
func (s *soak) client(ctx context.Context, r *rand.Rand) {
	for time.Now().Before(s.end) && ctx.Err() == nil {
		switch k := r.IntN(20); {
		case k < 2:
			s.sendBad(ctx, r)
		case k < 6:
			s.leave(ctx, r)
		default:
			q := s.pool[r.IntN(len(s.pool))]
			s.compare(ctx, r, q)
		}
		if r.IntN(10) == 0 {
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
	}
}

// compare asks until there is an answer, and compares it.
func (s *soak) compare(ctx context.Context, r *rand.Rand, q *request) {
	for {
		got, err := s.ask(ctx, q, r.IntN(2) == 0, -1)
		switch {
		case errors.Is(err, errBusy):
			s.count(func(r *report) { r.Busy++ })
			time.Sleep(time.Duration(50+r.IntN(200)) * time.Millisecond)
			continue
		case err != nil:
			s.fail("%v: %v", q.body, err)
		case !same(got, q.want):
			s.fail("%v: got %+v, alone %+v", q.body, got, q.want)
		default:
			s.count(func(r *report) {
				r.Compared++
				r.Tokens += got.Tokens
			})
		}
		return
	}
}

// leave goes away in the middle: of a stream, or while waiting for an answer.
func (s *soak) leave(ctx context.Context, r *rand.Rand) {
	q := s.pool[r.IntN(len(s.pool))]
	if r.IntN(3) == 0 {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(1+r.IntN(400))*time.Millisecond)
		defer cancel()
		// Whatever comes is fine, if anything does.
		if got, err := s.ask(ctx, q, false, -1); err == nil && !same(got, q.want) {
			s.fail("%v: got %+v, alone %+v", q.body, got, q.want)
		}
		s.count(func(r *report) { r.Left++ })
		return
	}
	got, err := s.ask(ctx, q, true, 1+r.IntN(20))
	switch {
	case errors.Is(err, errBusy):
		s.count(func(r *report) { r.Busy++ })
	case err != nil:
		s.fail("%v: %v", q.body, err)
	case !strings.HasPrefix(q.want.Text, got.Text):
		s.fail("%v: begins %q, alone %q", q.body, got.Text, q.want.Text)
	default:
		s.count(func(r *report) { r.Left++ })
	}
}

// sendBad sends what must be refused.
func (s *soak) sendBad(ctx context.Context, r *rand.Rand) {
	body, status := bad(r, s.model)
	resp, err := s.post(ctx, []byte(body))
	switch {
	case err != nil && status == 413:
		// The server closed the connection before it had read everything.
	case err != nil:
		s.fail("bad request %.60q: %v", body, err)
		return
	default:
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		busy := resp.StatusCode == 429 || resp.StatusCode == 503
		if resp.StatusCode != status && !busy || !strings.Contains(string(text), `"error"`) {
			s.fail("bad request %.60q: status %d, want %d: %.200s", body, resp.StatusCode, status, text)
			return
		}
	}
	s.count(func(r *report) { r.Bad++ })
}
