"""Makes golden.safetensors and golden.f32 with the reference library.

    pip install "safetensors>=0.8" numpy && python make_golden.py

golden.f32 holds what tensors f32, f16 and bf16, in this order, are in float32
(little-endian), by numpy's conversions. Every class of F16 number is in it.
"""
import os
import numpy as np
from safetensors import TensorSpec, serialize_file

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(1)
f32 = rng.standard_normal((3, 5)).astype("<f4")
special = np.array([0, 0x8000, 1, 0x83FF, 0x0400, 0x7BFF, 0xFC00, 0x7C00, 0x3C00, 0x3555], dtype="<u2")
f16 = np.concatenate([special, rng.integers(0, 0x7C00, 54).astype("<u2")]).reshape(8, 8)
bf16 = rng.integers(0, 0x7F80, (2, 3, 4)).astype("<u2")
ids = np.arange(4, dtype="<i8")
spec = lambda dtype, a: TensorSpec(dtype=dtype, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes)
tensors = {"f32": spec("float32", f32), "f16": spec("float16", f16), "bf16": spec("bfloat16", bf16), "ids": spec("int64", ids)}
serialize_file(tensors, os.path.join(here, "golden.safetensors"), metadata={"format": "pt"})
with open(os.path.join(here, "golden.f32"), "wb") as out:
    out.write(f32.tobytes())
    out.write(f16.view("<f2").astype("<f4").tobytes())
    out.write((bf16.astype("<u4") << 16).view("<f4").tobytes())
