"""Random blocks of each GGUF format and their weights by gguf-py: writes tests/core/gguf_blocks.json.

Run with the packages gguf and numpy: python tools/oracle/gguf_blocks.py
"""
import json
import pathlib

import gguf
import numpy as np

TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q6_K"]
HALF_SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q6_K": [208]}


def main():
    rng = np.random.default_rng(20240607)
    cases = []
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = 1 if elements == 256 else 2 if elements == 32 else 12
        raw = rng.integers(0, 256, size=(blocks, size), dtype=np.uint8)
        for offset in HALF_SCALES.get(name, []):  # random bytes would make scales of 1e4, infinity and NaN
            scales = rng.normal(0, 0.02, size=blocks).astype(np.float16)
            raw[:, offset : offset + 2] = scales.view(np.uint8).reshape(blocks, 2)
        if name in ("F16", "BF16"):
            values = np.array([0, -0.0, 1, -2.5, 65504, 6e-8, -3e-5, 1e-4, 0.1, 3.140625, -1024, 5e-7], dtype=np.float32)
            half = values.astype(np.float16).view(np.uint16)
            raw = (half if name == "F16" else (values.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8).reshape(blocks, size)
        weights = gguf.quants.dequantize(raw.reshape(-1), kind).astype(np.float32).reshape(-1)
        cases.append({"name": name, "type": int(kind), "hex": raw.tobytes().hex(), "weights": [float(np.format_float_positional(w, unique=True)) for w in weights]})
    path = pathlib.Path(__file__).parents[2] / "tests" / "core" / "gguf_blocks.json"
    path.write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
