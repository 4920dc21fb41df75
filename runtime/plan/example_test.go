package plan_test

import (
	"fmt"

	"github.com/lamina-llm/lamina/runtime/budget"
	"github.com/lamina-llm/lamina/runtime/plan"
)

// Six layers and room for four: two are pinned, four pass through two slots.
func ExampleMake() {
	in := plan.Input{
		Fixed:  []plan.Amount{{Purpose: budget.KV, Bytes: 6 << 20}},
		Budget: 10 << 20,
	}
	for i := range 6 {
		in.Units = append(in.Units, plan.Unit{Name: fmt.Sprint("layer ", i), CodedBytes: 1 << 20, UnpackedBytes: 3 << 20, Streamable: true})
	}
	p, err := plan.Make(in)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Title())
	for _, u := range p.Units {
		fmt.Println(u.Name, u.Placement)
	}
	in.Budget = 5 << 20
	_, err = plan.Make(in)
	fmt.Println(err)
	// Output:
	// regime C: 2 of 6 units pinned, 4 streamed through 2 slots of 1 MiB (4 MiB per pass)
	// layer 0 streamed
	// layer 1 pinned
	// layer 2 streamed
	// layer 3 streamed
	// layer 4 pinned
	// layer 5 streamed
	// plan: 5 MiB cannot hold this model: at least 8 MiB are needed (lower the context or the batch, or raise the budget)
}
