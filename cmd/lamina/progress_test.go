package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgressTimeLeft follows a phase that goes at a steady pace from its
// first report on.
func TestProgressTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := &reporter{json: json.NewEncoder(&out)}
		for done := int64(10); done <= 40; done += 10 {
			r.show(step{Phase: "a", Done: done, Total: 40})
			time.Sleep(2 * time.Second)
		}
		r.show(step{Phase: "b", Done: 1, Total: -1})
		r.close()
		var left []int64
		for d := json.NewDecoder(&out); d.More(); {
			var s step
			if err := d.Decode(&s); err != nil {
				t.Fatal(err)
			}
			left = append(left, s.Left)
		}
		// Nothing is known at first; then 10 take 2 seconds.
		want := []int64{0, 4, 2, 0, 0}
		for i := range want {
			if len(left) != len(want) || left[i] != want[i] {
				t.Fatalf("seconds left %v, want %v", left, want)
			}
		}
	})
}
