"""Writes tiny.gguf with gguf-py: every type of metadata that it can write, and a few types of tensors.

pip install gguf==0.19.0; python make_fixture.py
"""

import numpy as np
from gguf import GGMLQuantizationType as T, GGUFValueType as V, GGUFWriter, quants

writer = GGUFWriter("tiny.gguf", "tiny")
for kind, value in [
    (V.UINT8, 200), (V.INT8, -100), (V.UINT16, 60000), (V.INT16, -30000), (V.UINT32, 4000000000),
    (V.INT32, -2000000000), (V.FLOAT32, 0.1), (V.UINT64, 2**64 - 1), (V.INT64, -(2**63)), (V.FLOAT64, 0.1),
    (V.BOOL, True), (V.STRING, "größer"),
]:
    writer.add_key_value("type." + kind.name.lower(), value, kind)
writer.add_array("tokenizer.ggml.tokens", ["<unk>", "▁a", "", "b"])
writer.add_array("tokenizer.ggml.scores", [0.0, -1.5, -2.25, 3.0])
writer.add_array("tokenizer.ggml.token_type", [2, 1, 1, 6])
writer.add_array("flags", [True, False, True])
writer.add_custom_alignment(64)

values = np.arange(6 * 64, dtype=np.float32).reshape(6, 64) / 8 - 24
writer.add_tensor("f32", values[:3, :5].copy())
writer.add_tensor("f16", values.astype(np.float16))
for kind in (T.BF16, T.Q8_0, T.Q4_0):
    writer.add_tensor(kind.name.lower(), quants.quantize(values, kind), raw_dtype=kind)
writer.add_tensor("positions", np.arange(5, dtype=np.int32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
