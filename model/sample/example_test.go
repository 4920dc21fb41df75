package sample_test

import (
	"fmt"

	"github.com/lamina-llm/lamina/model"
	"github.com/lamina-llm/lamina/model/sample"
)

func Example() {
	params := model.DefaultSampling()
	params.TopK = 2
	params.Seed = 1
	prompt := []int32{0, 3}
	s, err := sample.New(params, prompt, 4)
	if err != nil {
		fmt.Println(err)
		return
	}
	counts := make([]int, 4)
	for range 1000 {
		logits := []float32{1, 2, 2, 0} // overwritten by Next
		token, err := s.Next(logits, -1)
		if err != nil {
			fmt.Println(err)
			return
		}
		counts[token.ID]++
	}
	fmt.Println(counts[0], counts[1] > 400, counts[2] > 400, counts[3])
	// Output: 0 true true 0
}
