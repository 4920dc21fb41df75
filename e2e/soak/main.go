// Command soak keeps a server busy and checks that it stays right and stays
// small: many clients send requests of random length, stream or wait, leave in
// the middle, or send nonsense. Every answer is compared with that of the same
// request alone; at the end nothing may be left behind in the server.
//
//	lamina serve --addr 127.0.0.1:8080 &
//	go run ./e2e/soak -url http://127.0.0.1:8080 -duration 30m
//
// It sees the server from outside, through the API and /metrics, and prints one
// JSON object. The exit status is 1 if anything was wrong.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.url, "url", "http://127.0.0.1:8080", "address of the server")
	flag.StringVar(&o.model, "model", "", "model id; default: the first that the server lists")
	flag.IntVar(&o.clients, "clients", 16, "clients at work at a time")
	flag.IntVar(&o.requests, "requests", 32, "different requests, each asked alone first")
	flag.IntVar(&o.tokens, "tokens", 96, "most tokens of an answer")
	flag.DurationVar(&o.duration, "duration", 30*time.Second, "how long")
	flag.Uint64Var(&o.seed, "seed", 1, "of the random choices")
	flag.Parse()
	r, err := run(context.Background(), o)
	if err != nil {
		log.Fatal("soak: ", err)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(r); err != nil {
		log.Fatal("soak: ", err)
	}
	if len(r.Failures) > 0 {
		os.Exit(1)
	}
}

type options struct {
	url, model                string
	clients, requests, tokens int
	duration                  time.Duration
	seed                      uint64
}

// report is what is printed.
type report struct {
	Seconds  float64 `json:"seconds"`
	Clients  int     `json:"clients"`
	Compared int     `json:"answers_compared"` // whole answers
	Tokens   int     `json:"tokens_compared"`
	Left     int     `json:"disconnects"` // in the middle of an answer, whose beginning was compared
	Bad      int     `json:"bad_requests"`
	Busy     int     `json:"refused_busy"` // 429 and 503, repeated later

	Health  latency `json:"healthz_ms"`
	Metrics latency `json:"metrics_ms"` // a scrape every 50 ms, connection kept
	Scrape  float64 `json:"metrics_alone_ms"`

	Before   state    `json:"before"`  // idle, after every request was asked alone
	Quarter  state    `json:"quarter"` // under load, after a quarter of the time
	Last     state    `json:"last"`    // under load, at the end
	After    state    `json:"after"`   // idle again
	RSS      []int64  `json:"rss_mib"` // under load, at even intervals
	Failures []string `json:"failures"`
}

// soak is one run.
type soak struct {
	options
	pool []*request
	end  time.Time

	mu sync.Mutex
	r  report
}

func (s *soak) count(f func(r *report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.r)
}

// fail records what was wrong; the first ones tell enough.
func (s *soak) fail(format string, args ...any) {
	s.count(func(r *report) {
		if len(r.Failures) < 20 {
			r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
		}
	})
}

func run(ctx context.Context, o options) (*report, error) {
	s := &soak{options: o}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(o.seed, 0))
	for range o.requests {
		q := newRequest(random, o.model, o.tokens)
		got, err := s.ask(ctx, q, random.IntN(2) == 0, -1)
		if err != nil {
			return nil, fmt.Errorf("alone: %w", err)
		}
		q.want = got
		s.pool = append(s.pool, q)
	}
	var err error
	if s.r.Before, err = s.idle(ctx, nil); err != nil {
		return nil, err
	}
	if s.r.Scrape, err = s.scrapeAlone(ctx); err != nil {
		return nil, err
	}
	started := time.Now()
	s.end = started.Add(o.duration)
	var load, watch sync.WaitGroup
	done := make(chan struct{})
	for i := range o.clients {
		load.Go(func() { s.client(ctx, rand.New(rand.NewPCG(o.seed, uint64(i)+1))) })
	}
	watch.Go(func() { s.probe(ctx, done) })
	watch.Go(func() { s.watch(ctx, started, done) })
	time.Sleep(time.Until(s.end))
	if s.r.Last, err = s.state(ctx); err != nil { // nobody else writes this field
		s.fail("metrics under load: %v", err)
	}
	load.Wait()
	close(done)
	watch.Wait()
	if s.r.After, err = s.idle(ctx, &s.r.Before); err != nil {
		return nil, err
	}
	s.r.Seconds, s.r.Clients = time.Since(started).Seconds(), o.clients
	s.judge()
	return &s.r, nil
}

// judge looks for what stayed behind.
func (s *soak) judge() {
	b, q, l, a := s.r.Before, s.r.Quarter, s.r.Last, s.r.After
	if a.Goroutines > b.Goroutines+s.clients/2 {
		s.fail("%d goroutines before, %d after", b.Goroutines, a.Goroutines)
	}
	if a.Leases != b.Leases || a.Leased != b.Leased {
		s.fail("%d leases of %d bytes before, %d of %d after", b.Leases, b.Leased, a.Leases, a.Leased)
	}
	if a.KV != b.KV || a.Running != 0 || a.Waiting != 0 {
		s.fail("cache use %v before and %v after, %d requests running, %d waiting", b.KV, a.KV, a.Running, a.Waiting)
	}
	if a.Panics != 0 {
		s.fail("%d panics", a.Panics)
	}
	if l.RSS > a.Budget {
		s.fail("RSS of %d bytes, the budget is %d", l.RSS, a.Budget)
	}
	// Flat: what is there after a quarter of the time is all there will be. A
	// short run ends while buffers still grow to their sizes.
	if room := q.RSS/50 + 2<<20; s.duration >= 2*time.Minute && l.RSS > q.RSS+room {
		s.fail("RSS rose from %d to %d bytes", q.RSS, l.RSS)
	}
	if s.r.Compared == 0 {
		s.fail("no answer was compared")
	}
}
