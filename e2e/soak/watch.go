package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// state is what /metrics says about the process.
type state struct {
	RSS        int64   `json:"rss_bytes"`
	Heap       int64   `json:"go_heap_bytes"`
	Goroutines int     `json:"goroutines"`
	Leases     int     `json:"leases"`
	Leased     int64   `json:"leased_bytes"`
	Budget     int64   `json:"budget_bytes"`
	KV         float64 `json:"kv_usage"`
	Running    int     `json:"running"`
	Waiting    int     `json:"waiting"`
	Panics     int     `json:"panics"`
}

// latency is a distribution in milliseconds.
type latency struct {
	Count  int     `json:"count"`
	Median float64 `json:"median"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
}

func distribution(d []time.Duration) latency {
	if len(d) == 0 {
		return latency{}
	}
	slices.Sort(d)
	at := func(q float64) float64 { return float64(d[min(len(d)-1, int(q*float64(len(d))))].Microseconds()) / 1e3 }
	return latency{len(d), at(0.5), at(0.9), at(0.99), at(1)}
}

// get reads one address with a client of its own choice.
func (s *soak) get(ctx context.Context, c *http.Client, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", path, resp.StatusCode)
	}
	return b, err
}

// identify learns the model's id.
func (s *soak) identify(ctx context.Context) error {
	b, err := s.get(ctx, agent, "/v1/models")
	if err != nil || s.model != "" {
		return err
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list.Data) == 0 {
		return errors.New("the server lists no model")
	}
	s.model = list.Data[0].ID
	return nil
}

// state reads /metrics.
func (s *soak) state(ctx context.Context) (state, error) {
	b, err := s.get(ctx, agent, "/metrics")
	if err != nil {
		return state{}, err
	}
	v := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(string(b))); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok && name != "#" {
			x, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return state{}, fmt.Errorf("metrics: %q", lines.Text())
			}
			family, _, _ := strings.Cut(name, "{")
			v[family] += x
		}
	}
	return state{
		RSS: int64(v["lamina_resident_bytes"]), Heap: int64(v["lamina_go_heap_bytes"]), Goroutines: int(v["lamina_goroutines"]),
		Leases: int(v["lamina_memory_leases"]), Leased: int64(v["lamina_memory_leased_bytes"]), Budget: int64(v["lamina_memory_budget_bytes"]),
		KV: v["lamina_kv_usage_ratio"], Running: int(v["lamina_requests_running"]), Waiting: int(v["lamina_requests_waiting"]),
		Panics: int(v["lamina_panics_total"]),
	}, nil
}

// idle waits until the server rests: no request, and as many goroutines and as
// much cache in use as before, if that comes within a while.
func (s *soak) idle(ctx context.Context, before *state) (st state, err error) {
	agent.CloseIdleConnections()
	for range 200 {
		if st, err = s.state(ctx); err != nil {
			return st, err
		}
		rest := st.Running == 0 && st.Waiting == 0
		if before != nil {
			rest = rest && st.Goroutines <= before.Goroutines && st.KV == before.KV && st.Leased == before.Leased
		}
		if rest {
			return st, nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return st, nil // judge says what is wrong with it
}

// scrapeAlone is the best of some scrapes of an idle server: what one costs.
func (s *soak) scrapeAlone(ctx context.Context) (ms float64, err error) {
	best := time.Hour
	for range 50 {
		start := time.Now()
		if _, err := s.get(ctx, agent, "/metrics"); err != nil {
			return 0, err
		}
		best = min(best, time.Since(start))
	}
	return float64(best.Microseconds()) / 1e3, nil
}

// probe asks /healthz, on new connections, and /metrics, on one that is kept,
// as a supervisor and a router do.
func (s *soak) probe(ctx context.Context, done chan struct{}) {
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	kept := &http.Client{Transport: &http.Transport{}}
	var health, metrics []time.Duration
	ask := func(c *http.Client, path string, to *[]time.Duration) {
		start := time.Now()
		if _, err := s.get(ctx, c, path); err != nil {
			s.fail("%v", err)
		}
		*to = append(*to, time.Since(start))
	}
	for i := 0; ; i++ {
		select {
		case <-done:
			kept.CloseIdleConnections()
			s.count(func(r *report) { r.Health, r.Metrics = distribution(health), distribution(metrics) })
			return
		case <-time.After(50 * time.Millisecond):
		}
		ask(kept, "/metrics", &metrics)
		if i%10 == 0 {
			ask(fresh, "/healthz", &health)
		}
	}
}

// watch records the process under load: 40 times, and once after a quarter.
func (s *soak) watch(ctx context.Context, started time.Time, done chan struct{}) {
	for i := 1; ; i++ {
		select {
		case <-done:
			return
		case <-time.After(time.Until(started.Add(s.duration * time.Duration(i) / 40))):
		}
		st, err := s.state(ctx)
		if err != nil {
			s.fail("metrics: %v", err)
			continue
		}
		s.count(func(r *report) {
			r.RSS = append(r.RSS, st.RSS>>20)
			if i == 10 {
				r.Quarter = st
			}
		})
		if i >= 40 {
			<-done
			return
		}
	}
}
