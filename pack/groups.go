package pack

import (
	"fmt"

	"github.com/lamina-llm/lamina/model/llama"
	"github.com/lamina-llm/lamina/pack/fisher"
)

// group is the part of a model whose statistics one pass over the calibration
// text gathers.
type group struct {
	linear [][fisher.Kinds]bool // by layer
	ends   bool                 // embedding and head
	lowest int                  // layer that gradients have to reach
}

// groups divides the statistics of a model so that those of a group take limit
// bytes at most. Groups begin at the last layers: a pass that is for those alone
// ends its way back there.
func groups(c llama.Config, limit int64) ([]*group, error) {
	var list []*group
	left := int64(0)
	place := func(what string, bytes int64) (*group, error) {
		if bytes > limit {
			return nil, fmt.Errorf("the statistics of %s take %d MiB, at most %d MiB are held; allow more (--calibrate-memory) or pack without calibration", what, bytes>>20, limit>>20)
		}
		if len(list) == 0 || bytes > left {
			list = append(list, &group{linear: make([][fisher.Kinds]bool, c.Layers), lowest: c.Layers})
			left = limit
		}
		left -= bytes
		return list[len(list)-1], nil
	}
	widths := [fisher.Kinds]int{c.Hidden, c.Heads * c.HeadDim, c.Hidden, c.Intermediate}
	for i := c.Layers - 1; i >= 0; i-- {
		for kind := fisher.Kinds - 1; kind >= 0; kind-- {
			g, err := place(fmt.Sprintf("a matrix of layer %d", i), triangleBytes(widths[kind]))
			if err != nil {
				return nil, err
			}
			g.linear[i][kind], g.lowest = true, i
		}
	}
	g, err := place("embedding and head", 2*triangleBytes(c.Hidden))
	if err != nil {
		return nil, err
	}
	g.ends, g.lowest = true, 0
	return list, nil
}
