package sched_test

import (
	"fmt"

	"github.com/lamina-llm/lamina/runtime/sched"
)

func ExamplePool_For() {
	pool := sched.New(0)
	defer pool.Close()
	squares := make([]int, 5)
	pool.For(len(squares), func(_, i int) { squares[i] = i * i })
	fmt.Println(squares)
	// Output: [0 1 4 9 16]
}
