package main

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// stall lets clients be answered, sends a long prompt when each has heard a third
// of its tokens, and reports the gaps between the clients' tokens before and
// while it is read, and the time to its own first token.
func stall(w io.Writer, url string, clients, tokens, rounds, prompt int) error {
	var before, during, first []time.Duration
	for round := range rounds {
		heard := make([][]time.Time, clients)
		third := make(chan struct{}, clients)
		errs := make([]error, clients+1)
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				errs[i] = listen(url, []int{1, 100 + round, 200 + i, 300}, tokens, func(now time.Time) {
					if heard[i] = append(heard[i], now); len(heard[i]) == tokens/3 {
						third <- struct{}{}
					}
				})
			})
		}
		for range clients {
			<-third
		}
		ids := make([]int, prompt)
		for i := range ids {
			ids[i] = 100 + (i*7+round*13)%2000
		}
		sent := time.Now()
		var begun time.Time
		errs[clients] = listen(url, ids, 2, func(now time.Time) {
			if begun.IsZero() {
				begun = now
			}
		})
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		first = append(first, begun.Sub(sent))
		for _, times := range heard {
			if times[len(times)-1].Before(begun) {
				return fmt.Errorf("an answer ended before the prompt was read: ask for more than %d tokens", tokens)
			}
			for k := 1; k < len(times); k++ {
				switch gap := times[k].Sub(times[k-1]); {
				case times[k].Before(sent) && k > tokens/6:
					before = append(before, gap)
				case times[k].After(sent) && times[k-1].Before(begun):
					during = append(during, gap)
				}
			}
		}
	}
	show(w, "time between tokens before", before)
	show(w, fmt.Sprintf("while a prompt of %d is read", prompt), during)
	show(w, "time to its first token", first)
	return nil
}

// listen reads one streamed answer to a prompt of token ids and says when each
// token came.
func listen(url string, prompt []int, tokens int, token func(time.Time)) error {
	return stream(http.DefaultClient, url, map[string]any{
		"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": true, "logprobs": 0,
	}, func(string) error {
		token(time.Now())
		return nil
	})
}
