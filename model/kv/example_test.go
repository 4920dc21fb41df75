package kv_test

import (
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/model/kv"
)

func Example() {
	g := kv.Geometry{Layers: 12, KVHeads: 2, HeadDim: 64}
	pool, err := kv.New(g, make([]byte, g.Bytes(100))) // room for 100 tokens: four pages of 32
	if err != nil {
		fmt.Println(err)
		return
	}
	prompt, _ := pool.NewSeq(64)
	_, _ = prompt.Grow(40) // a forward pass would write their keys and values now
	answer, _ := prompt.Fork(40, 64)
	fmt.Println(answer.Len(), "tokens,", pool.Free(), "page free: one of the prompt's two is shared")

	_, err = pool.NewSeq(64)
	fmt.Println(errors.Is(err, kv.ErrFull), err)
	prompt.Close()
	answer.Close()
	fmt.Println(pool.Free(), "pages free")
	// Output:
	// 40 tokens, 1 page free: one of the prompt's two is shared
	// true kv: kv cache is full: 2 pages needed, 1 free, 1 missing
	// 4 pages free
}
