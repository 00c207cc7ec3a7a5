"""Writes test/fixtures/quant/<format>.bin: blocks of weights and the numbers that they mean.

A file is: the count of blocks (u32, little-endian), the blocks, and count * block_len f32 that the PyPI package
gguf (or, for F8_E4M3, torch) makes of them. Blocks are random bits with random scales, then the hard ones: scales
of zero of both signs, subnormal, negative, the largest, infinite and NaN, each with quants all zero, all ones and
random. The engine must agree bit for bit; NaN with any NaN.

Run: python tools/make_quant_fixtures.py   (needs numpy, gguf and torch)
"""

import pathlib

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize

# Where a block's f16 scales stand.
SCALES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
}
HARD = [0x0000, 0x8000, 0x0001, 0x03FF, 0x8001, 0x0400, 0x3C00, 0xBC00, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]
# Numbers of interest in formats that have no blocks.
F16 = HARD + [0x3555, 0xD640, 0x83FF, 0x7C01, 0xFE00]
BF16 = [0x0000, 0x8000, 0x0001, 0x007F, 0x8001, 0x0080, 0x3F80, 0xBF80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81]
F32 = [0.0, -0.0, 1e-45, 1.17549435e-38, 1.0, -1.0, 3.4028235e38, float("inf"), float("-inf"), float("nan"), 0.1]


def blocks(name, rng):
    """[count, bytes] uint8"""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[name]][1]
    fields = SCALES[name]
    big = size > 64
    count = 3 if big else 12
    made = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for block in made:
        for at in fields:
            block[at : at + 2] = np.array([rng.normal() * 0.05], dtype=np.float16).view(np.uint8)
    hard = [0x8000, 0x03FF, 0xFBFF, 0x7C00, 0x7E00] if big else HARD
    for n, bits in enumerate(hard):
        fills = [rng.integers(0, 256, size, dtype=np.uint8)]
        if n == 0 if big else n % 3 == 1:
            fills += [np.zeros(size, np.uint8), np.full(size, 255, np.uint8)]
        for fill in fills:
            # The last field keeps an ordinary value now and then, so that inf - inf is not all there is.
            for k, at in enumerate(fields):
                value = bits if k == 0 or n % 3 else 0x2E66
                fill[at : at + 2] = np.array([value], dtype=np.uint16).view(np.uint8)
            made = np.vstack([made, fill])
    return made


def write(folder, name, stored, meant):
    meant = np.ascontiguousarray(meant, dtype="<f4")
    (folder / f"{name.lower()}.bin").write_bytes(
        np.array([len(stored)], dtype="<u4").tobytes() + stored.tobytes() + meant.tobytes()
    )


def main():
    folder = pathlib.Path(__file__).resolve().parent.parent / "test" / "fixtures" / "quant"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20)
    with np.errstate(all="ignore"):
        for name in SCALES:
            stored = blocks(name, rng)
            write(folder, name, stored, dequantize(stored, GGMLQuantizationType[name]))
        for name, hard in (("F16", F16), ("BF16", BF16)):
            bits = np.concatenate([np.array(hard, "<u2"), rng.integers(0, 65536, 400).astype("<u2")])
            stored = bits.view(np.uint8).reshape(-1, 2)
            write(folder, name, stored, dequantize(stored, GGMLQuantizationType[name]))
        numbers = np.concatenate([np.array(F32, "<f4"), rng.normal(size=100).astype("<f4")])
        write(folder, "F32", numbers.view(np.uint8).reshape(-1, 4), numbers)
        codes = np.arange(256, dtype=np.uint8).reshape(-1, 1)
        write(folder, "F8_E4M3", codes, torch.from_numpy(codes.copy()).view(torch.float8_e4m3fn).float().numpy())


if __name__ == "__main__":
    main()
