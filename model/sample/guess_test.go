package sample_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/sample"
)

// TestGuess: from the same logits a second sampler of the request guesses what
// the first one draws, any number of tokens ahead, and guesses leave no trace.
func TestGuess(t *testing.T) {
	const vocab, tokens, most = 700, 60, 5
	r := rand.New(rand.NewPCG(1, 2))
	rows := make([][]float32, tokens)
	for i := range rows {
		rows[i] = make([]float32, vocab)
		for j := range rows[i] {
			rows[i][j] = float32(r.NormFloat64() * 2)
		}
	}
	for name, p := range map[string]model.Sampling{
		"greedy":  {TopP: 1, RepeatPenalty: 1},
		"sampled": {Temperature: 1, TopP: 0.9, TopK: 100, RepeatPenalty: 1, Seed: 7},
		"penalties": {Temperature: 0.8, TopP: 1, RepeatPenalty: 1.3, FrequencyPenalty: 0.5, PresencePenalty: 0.5,
			LogitBias: map[int32]float32{3: 4}, Seed: 9},
	} {
		prompt := []int32{1, 3, 3}
		first, err := sample.New(p, prompt, vocab)
		if err != nil {
			t.Fatal(err)
		}
		second, err := sample.New(p, prompt, vocab)
		if err != nil {
			t.Fatal(err)
		}
		var ahead [most][]int32 // by distance: what was guessed
		for i := range tokens {
			for k := range min(most, tokens-i) {
				id, err := second.Guess(slices.Clone(rows[i+k]), k)
				if err != nil {
					t.Fatal(err)
				}
				ahead[k] = append(ahead[k], id)
			}
			info, err := first.Next(slices.Clone(rows[i]), -1)
			if err != nil {
				t.Fatal(err)
			}
			for k := range min(most, i+1) {
				// Penalties on tokens in between are not foreseen.
				if got := ahead[k][i-k]; got != info.ID && (k == 0 || name != "penalties") {
					t.Fatalf("%s: token %d is %d, %d tokens before it was guessed to be %d", name, i, info.ID, k, got)
				}
			}
			second.Accept(info.ID)
		}
		if _, err := second.Guess(rows[0][:5], 0); err == nil {
			t.Errorf("%s: logits of another vocabulary were accepted", name)
		}
	}
}
