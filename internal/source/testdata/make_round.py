"""Writes round.f32: rows of weights, then the same after Q4_0 and after Q8_0 as
the gguf package for Python quantises and dequantises them."""

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

rng = np.random.default_rng(11)
rows = rng.standard_normal((8, 64)).astype(np.float32)
rows[0] *= 1e-3
rows[1] *= 300
rows[2, :32] = 0  # a block of zeros
rows[3, :32] = np.abs(rows[3, :32])  # the largest is positive
rows[4, :32] = -np.abs(rows[4, :32])
rows[5, 0] = 40  # one weight alone counts
rows[6] *= 2e-6  # the scale is subnormal in half precision
rows[7] = np.round(rows[7] * 8) / 8  # ties
out = [rows] + [dequantize(quantize(rows, t), t) for t in (T.Q4_0, T.Q8_0)]
np.stack(out).astype("<f4").tofile("round.f32")
