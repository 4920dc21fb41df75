// Package calib holds the calibration text that ships with Lamina: prose in
// the public domain, and plain instructions, dialogue and code written for it,
// in turns, so that the beginning stands for the whole. The longer passages are
// from The Adventures of Sherlock Holmes, The Jungle Book, The Time Machine,
// Five Children and It, Pride and Prejudice, Grimms' Fairy Tales and The
// Adventures of Tom Sawyer.
// It is data and nothing else.
package calib

import _ "embed"

//go:embed default.txt
var text string

// Default returns the text, UTF-8, with special tokens of ChatML written out.
func Default() string { return text }
