package main

// benchCmd groups the measurements.
type benchCmd struct {
	Model benchModelCmd `cmd:"" help:"Measure prompt and generation speed of a .lamina file."`
}
