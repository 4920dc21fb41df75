// Package kern holds the arithmetic of a LLaMA forward pass as SIMD kernels:
// dot products, norms, activations, rotary embeddings, attention in whole
// numbers, and the int8 matrix product of quantised weights.
//
// It does no I/O, takes no locks, starts no goroutine and allocates nothing, except
// for the operands of [MatMulPanels] when they are made.
// All functions are pure in their operands and safe for concurrent use as long
// as no two calls write the same memory. Operands belong to the caller; unless
// a function says otherwise the destination must not overlap a source.
//
// # Tiers
//
// Every kernel exists as portable Go, which defines it, and in assembly for the
// tiers of package cpu; [cpu.Active] picks one at each call. Where 512-bit vectors
// gain nothing the AVX-512 tier shares the AVX2 kernel: it has its own for the
// exponentials, the int8 products and [MatMulPanels]. Two kinds differ in what they promise:
//
//   - Exact kernels give the same bits on every tier: all integer kernels, the
//     F16 conversions, [QuantizeI8], [QuantizeI16], [MergeI32], [Sums], and the
//     element-wise float kernels ([Add], [Axpy], [MulInto], [Scale], [RoPE]),
//     which round each product before they add.
//   - Reductions and exponentials ([Dot], [RMSNorm], [Softmax], [SwiGLU],
//     [ExpInto], [SoftenI16], [QuantizeDotI16], [MatMulF32], [MatMulPanels]) use fused
//     multiply-add and as many partial sums as the tier has lanes, so tiers agree
//     only within rounding. On one tier the result is a function of the operand
//     values and lengths alone: not of alignment, of the position in a batch, or
//     of how a caller divides tokens and rows among calls and workers.
//
// # Lengths
//
// Each function checks its lengths once and panics, as a slice expression does,
// when an operand is too short. No kernel touches memory outside its operands.
package kern
