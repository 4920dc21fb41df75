package budget_test

import (
	"errors"
	"fmt"

	"github.com/lamina-llm/lamina/runtime/budget"
)

func Example() {
	limit, _ := budget.ParseSize("80MiB")
	ledger := budget.New(limit)
	kv, _ := ledger.TryAcquire(budget.KV, 60<<20)
	defer kv.Release()
	_, err := ledger.TryAcquire(budget.Activations, 24<<20)
	fmt.Println(errors.Is(err, budget.ErrOverBudget), err)
	// Output: true budget: activations: asked for 24 MiB, 20 MiB of 80 MiB are free; release memory or raise the limit
}
