"""Makes golden.gguf and golden.f32 with the reference Python package.

    pip install gguf numpy && python make_golden.py

golden.gguf has one tensor of random blocks for every element type that the Go
package decodes, and metadata of every kind. golden.f32 holds what the tensors
are in float32, in the order of the file, as gguf.quants dequantises them.
"""
import os
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(2)

# Where each block keeps its F16 scales: random bytes there would be infinities.
halves = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82],
          T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
rows, cols = 2, 256

w = gguf.GGUFWriter(os.path.join(here, "golden.gguf"), "llama")
w.add_uint8("t.u8", 200)
w.add_int8("t.i8", -100)
w.add_uint16("t.u16", 60000)
w.add_int16("t.i16", -30000)
w.add_uint32("t.u32", 4000000000)
w.add_int32("t.i32", -2000000000)
w.add_uint64("t.u64", 1 << 63)
w.add_key_value("t.i64", -(1 << 60), gguf.GGUFValueType.INT64)
w.add_float32("t.f32", 1.5)
w.add_float64("t.f64", 0.1)
w.add_bool("t.bool", True)
w.add_string("t.str", "  white space is content \n\u3000")
w.add_array("t.strs", ["", " ", "\n", "\u3000", "a b", "\u65e5\u672c"])
w.add_array("t.i32s", [1, -2, 3])
w.add_array("t.f32s", [0.5, -0.25])

expect = b""
for t in [T.F32, T.F16, T.BF16, *halves]:
    block, size = gguf.GGML_QUANT_SIZES[t]
    n = rows * cols // block
    if t in halves:
        data = rng.integers(0, 256, (n, size), dtype=np.uint8)
        for at in halves[t]:
            data[:, at:at + 2] = rng.normal(0, 0.1, (n, 1)).astype("<f2").view(np.uint8)
    else:
        x = rng.standard_normal(rows * cols).astype("<f4")
        data = {T.F32: x, T.F16: x.astype("<f2"), T.BF16: (x.view("<u4") >> 16).astype("<u2")}[t].view(np.uint8)
    data = data.reshape(rows, -1)
    expect += gguf.quants.dequantize(data, t).astype("<f4").tobytes()
    w.add_tensor("w." + t.name, data, raw_dtype=t)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
with open(os.path.join(here, "golden.f32"), "wb") as out:
    out.write(expect)
