// Command clients measures a server under concurrent clients: how many tokens a
// second some streaming clients get together, in turns with a single one, and
// then, once more and not counted, how long /healthz and /metrics take meanwhile.
//
//	go run ./bench/clients -url http://127.0.0.1:8080 -clients 8 -tokens 48
//
// With -log, the file that has the log of the server at level debug, it also tells
// how long these took on the server's side, from the first byte of the request that
// was read to the last one of the answer that was written.
//
// With -prompt it measures instead how long clients that are being answered wait
// while a long prompt is read, and how long that prompt takes to its first token.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	url := flag.String("url", "http://127.0.0.1:8080", "the server")
	clients := flag.Int("clients", 8, "concurrent clients")
	tokens := flag.Int("tokens", 48, "tokens of an answer")
	rounds := flag.Int("rounds", 3, "turns; the median of their ratios counts")
	prompt := flag.Int("prompt", 0, "tokens of a prompt that comes while the clients are answered; 0 is none")
	log := flag.String("log", "", "the server's log at level debug, in JSON")
	flag.Parse()
	if *clients < 1 || *tokens < 2 || *rounds < 1 || *prompt < 0 || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	measure := func(w io.Writer, url string, clients, tokens, rounds int) error {
		return run(w, url, clients, tokens, rounds, *log)
	}
	if *prompt > 0 {
		measure = func(w io.Writer, url string, clients, tokens, rounds int) error {
			return stall(w, url, clients, tokens, rounds, *prompt)
		}
	}
	if err := measure(os.Stdout, strings.TrimSuffix(*url, "/"), *clients, *tokens, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, url string, clients, tokens, rounds int, log string) error {
	b := &bench{url: url, tokens: tokens, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}}
	if _, err := b.speed(1); err != nil { // warms up
		return err
	}
	var ones, manys, ratios []float64
	for range rounds {
		one, err := b.speed(1)
		if err != nil {
			return err
		}
		many, err := b.speed(clients)
		if err != nil {
			return err
		}
		ones, manys, ratios = append(ones, one), append(manys, many), append(ratios, many/one)
	}
	fmt.Fprintf(w, "one client %.1f tokens/s, %d clients together %.1f, median ratio %.2f of %d\n",
		median(ones), clients, median(manys), median(ratios), rounds)
	stop := b.watch()
	for range rounds {
		if _, err := b.speed(clients); err != nil {
			stop()
			return err
		}
	}
	stop()
	took := map[string][]time.Duration{}
	if log != "" {
		var err error
		if took, err = answered(log); err != nil {
			return err
		}
	}
	for _, p := range []string{"/healthz", "/metrics"} {
		show(w, p+", the client's time", b.took[p])
		show(w, p+", the server's", took["GET "+p])
	}
	return nil
}

// show writes quantiles of d, if there are any.
func show(w io.Writer, what string, d []time.Duration) {
	if len(d) == 0 {
		return
	}
	slices.Sort(d)
	fmt.Fprintf(w, "%s: median %v, 90 %% %v, 99 %% %v, longest %v (%d)\n", what, d[len(d)/2], d[len(d)*9/10], d[len(d)*99/100], d[len(d)-1], len(d))
}

// answered reads how long answers took from a server's log, by request.
func answered(path string) (map[string][]time.Duration, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	took := map[string][]time.Duration{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var l struct {
			Msg, Request string
			Took         time.Duration
		}
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Msg == "answered" {
			took[l.Request] = append(took[l.Request], l.Took)
		}
	}
	return took, lines.Err()
}

// bench asks one server.
type bench struct {
	url    string
	tokens int
	client *http.Client
	asked  int                        // requests so far, each of which is another
	took   map[string][]time.Duration // by path
}

// speed returns the tokens a second of so many clients that ask at the same time,
// from the first request to the last token.
func (b *bench) speed(clients int) (float64, error) {
	var all sync.WaitGroup
	errs := make([]error, clients)
	start := time.Now()
	for i := range clients {
		b.asked++
		prompt := fmt.Sprintf("%d. Once upon a time there was", b.asked)
		all.Go(func() { errs[i] = b.ask(prompt) })
	}
	all.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return float64(clients*b.tokens) / took.Seconds(), nil
}

// ask reads one streamed answer and checks that it is whole.
func (b *bench) ask(prompt string) error {
	var last struct {
		Usage *struct {
			Completion int `json:"completion_tokens"`
		}
	}
	err := stream(b.client, b.url, map[string]any{
		"prompt": prompt, "max_tokens": b.tokens, "temperature": 1, "seed": 1, "ignore_eos": true,
		"stream_options": map[string]bool{"include_usage": true},
	}, func(data string) error {
		if !strings.Contains(data, `"completion_tokens"`) {
			return nil
		}
		return json.Unmarshal([]byte(data), &last)
	})
	if err != nil {
		return err
	}
	if last.Usage == nil || last.Usage.Completion != b.tokens {
		return fmt.Errorf("an answer has not the %d tokens that were asked for", b.tokens)
	}
	return nil
}

// stream asks for a completion and calls event with the JSON of every event.
func stream(client *http.Client, url string, request map[string]any, event func(data string) error) error {
	request["stream"] = true
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	resp, err := client.Post(url+"/v1/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "[DONE]" {
			if err := event(data); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// watch asks /metrics every 50 ms on one connection, and /healthz every 100 ms on
// new ones, until the returned function is called.
func (b *bench) watch() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var mu sync.Mutex // of took
	if b.took == nil {
		b.took = map[string][]time.Duration{}
	}
	every := func(path string, pause time.Duration, keep bool) {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: !keep}}
		defer c.CloseIdleConnections()
		for ctx.Err() == nil {
			start := time.Now()
			resp, err := c.Get(b.url + path)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				mu.Lock()
				b.took[path] = append(b.took[path], time.Since(start))
				mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
	all.Go(func() { every("/metrics", 50*time.Millisecond, true) })
	all.Go(func() { every("/healthz", 100*time.Millisecond, false) })
	return func() { cancel(); all.Wait() }
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
