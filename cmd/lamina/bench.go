package main

// benchCmd groups the measurements.
type benchCmd struct {
	Codec     benchCodecCmd     `cmd:"" help:"Measure rate, distortion and kernel speed of the native codec."`
	Model     benchModelCmd     `cmd:"" help:"Measure prompt and generation speed of a .lamina file."`
	Stream    benchStreamCmd    `cmd:"" help:"Measure how close streaming comes to what disk and decoding allow."`
	Transform benchTransformCmd `cmd:"" help:"Measure what transforms of the inputs of matrices are worth: errors of outputs at equal bits."`
	Speculate benchSpeculateCmd `cmd:"" help:"Measure what speculation is worth on prompts of several kinds."`
}
