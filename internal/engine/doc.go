// Package engine wires a model together: container, codecs, memory plan,
// forward pass and request scheduling. It is the only package that sees both
// the side that stores bytes and the side that computes with them.
//
// [Open] reads a .lamina file within a memory budget, [OpenSource] a source
// checkpoint in float32. A [Model] runs batches for one caller at a time; an
// [Engine] owns a Model and serves many concurrent requests with it, one pass
// over the weights per step for all of them.
package engine
