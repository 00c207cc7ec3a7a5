#!/usr/bin/env python3
"""Writes test/fixtures/tensor/cases.json.gz: what NumPy answers for tensor operations, 100 random cases each.

A case is [operation, dtype, inputs, parameters, shape of the result, its elements as little-endian float32 in hex];
an input is [shape, view]. Elements of inputs are not stored: the n-th input of the m-th case is filled from the linear
congruential generator below, seeded with 16 m + n, whose numbers each element type holds exactly. A view is made of a larger or a turned array. Needs NumPy; run it from anywhere.
"""

import gzip
import json
import math
import random
from pathlib import Path

import numpy as np

FILE = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "tensor" / "cases.json.gz"
CASES = 100
# Not for attention: scores of 30 rounded to eight bits are off by a tenth, and then their exponentials are.
HALF = ["float16", "bfloat16"]
MASK = (1 << 64) - 1


def numbers(seed: int, count: int) -> np.ndarray:
    """Multiples of 1/32 from -127/32 to 127/32."""
    values = []
    for _ in range(count):
        seed = (seed * 6364136223846793005 + 1442695040888963407) & MASK
        values.append(((seed >> 33) % 255 - 127) / 32)
    return np.array(values, dtype=np.float64)


def build(shape: list[int], view: str, seed: int) -> np.ndarray:
    if view == "transposed":
        return numbers(seed, math.prod(shape)).reshape(shape[::-1]).transpose()
    if view == "sliced":
        base = [length + 2 for length in shape]
        return numbers(seed, math.prod(base)).reshape(base)[tuple(slice(1, -1) for _ in shape)]
    if view == "stretched":
        return np.broadcast_to(numbers(seed, math.prod(shape[1:])).reshape(shape[1:]), shape)
    return numbers(seed, math.prod(shape)).reshape(shape)


def shape_of(rank: int, most: int = 4) -> list[int]:
    return [random.randint(1, most) for _ in range(rank)]


def some() -> list[int]:
    return shape_of(random.randint(1, 3), 3)


def view() -> str:
    return random.choice(["plain", "transposed", "sliced", "stretched"])


def same(count: int):
    def make():
        shape = some()
        return [shape] * count, []

    return make


def wide_and_narrow():
    shape = some()
    other = [length if random.random() < 0.6 else 1 for length in shape][random.randint(0, len(shape) - 1) :]
    return random.choice([[shape, other], [other, shape]]), []


def with_axis():
    shape = some()
    return [shape], [random.randint(-len(shape), len(shape) - 1)]


def matrices():
    m, k, n = shape_of(3, 5)
    return [[m, k], [k, n]], []


def batches():
    m, k, n = shape_of(3, 3)
    batch = shape_of(random.randint(1, 2), 2)
    other = [length if random.random() < 0.5 else 1 for length in batch][random.randint(0, len(batch)) :]
    return [batch + [m, k], other + [k, n]], []


def convolution():
    kh, kw, sh, sw, ph, pw = *shape_of(2, 3), *shape_of(2, 2), random.randint(0, 1), random.randint(0, 1)
    h, w = kh + random.randint(0, 2), kw + random.randint(0, 2)
    n, c, o = shape_of(3, 2)
    inputs = random.choice([[[h, w], [kh, kw]], [[c, h, w], [o, c, kh, kw]], [[n, c, h, w], [o, c, kh, kw]]])
    return inputs, [kh, kw, sh, sw, ph, pw]


def convolve(x, k, kh, kw, sh, sw, ph, pw):
    rank, flat_kernel = x.ndim, k.ndim == 2
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    k = k.reshape((1,) * (4 - k.ndim) + k.shape)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))[:, :, ::sh, ::sw]
    out = np.einsum("nchwyx,ocyx->nohw", windows, k)
    return out[0, 0] if flat_kernel else out[0] if rank == 3 else out


def pooling():
    ph, pw, sh, sw = shape_of(4, 2)
    plane = [ph + random.randint(0, 2), pw + random.randint(0, 2)]
    return [shape_of(random.randint(0, 2), 2) + plane], [ph, pw, sh, sw]


def pooled(function):
    def pool(x, ph, pw, sh, sw):
        windows = np.lib.stride_tricks.sliding_window_view(x, (ph, pw), axis=(-2, -1))
        return function(windows[..., ::sh, ::sw, :, :], axis=(-2, -1))

    return pool


def normal(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.125)


def root_mean_square(x):
    return np.sqrt((x * x).mean(-1, keepdims=True) + 0.125)


def soft(x, axis=-1):
    weights = np.exp(x - x.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def attention_shapes():
    t, s, hd, hv = shape_of(4, 3)
    batch = shape_of(random.randint(0, 1), 2)
    return [batch + [t, hd], batch + [s, hd], batch + [s, hv], [t, s]], []


def picks():
    shape = some()
    axis = random.randint(-len(shape), len(shape) - 1)
    return [shape], [axis] + [random.randint(-shape[axis], shape[axis] - 1) for _ in range(random.randint(0, 3))]


def rows_of_table():
    v, d = shape_of(2)
    return [[v, d]], [random.randint(0, v - 1) for _ in range(random.randint(0, 3))]


def pieces():
    shape = some()
    axis = random.randint(0, len(shape) - 1)
    other = list(shape)
    other[axis] = random.randint(0, 2)
    return [shape, other], [axis]


def part():
    shape = some()
    start = [random.randint(0, length - 1) for length in shape]
    return [shape], start + [random.randint(0, length - first) for length, first in zip(shape, start)]


def plane_and_pad(rank):
    return lambda: ([shape_of(rank, 2)], [random.randint(0, 2), random.randint(0, 2)])


def padded(x, ph, pw):
    return np.pad(x, [(0, 0)] * (x.ndim - 2) + [(ph, ph), (pw, pw)])


def linear_shapes():
    i, o = shape_of(2)
    return [shape_of(random.randint(0, 2), 3) + [i], [o, i], [o]], []


def fold_rows(count):
    def make():
        shape = some()
        return [shape] + [[shape[-1]]] * count, []

    return make


def order():
    shape = some()
    axes = list(range(len(shape)))
    random.shuffle(axes)
    return [shape], axes


def vectors():
    k = random.randint(1, 6)
    return [[k], [k]], []


erf = np.vectorize(math.erf, otypes=[np.float64])
TANH = math.sqrt(2 / math.pi)

OPERATIONS = {
    "add": (same(2), np.add),
    "sub": (same(2), np.subtract),
    "mul": (same(2), np.multiply),
    "div": (same(2), np.divide),
    "add_broadcast": (wide_and_narrow, np.add),
    "sub_broadcast": (wide_and_narrow, np.subtract),
    "mul_broadcast": (wide_and_narrow, np.multiply),
    "div_broadcast": (wide_and_narrow, np.divide),
    "scale": (lambda: ([some()], [random.randint(-9, 9)]), lambda x, s: x * (s / 4)),
    "clamp": (lambda: ([some()], [random.randint(-9, 0), random.randint(0, 9)]), lambda x, a, b: x.clip(a / 4, b / 4)),
    "negate": (same(1), np.negative),
    "absolute": (same(1), np.abs),
    "exp": (same(1), np.exp),
    "log": (same(1), lambda x: np.log(np.abs(x) + 0.5)),
    "sqrt": (same(1), lambda x: np.sqrt(np.abs(x))),
    "tanh": (same(1), np.tanh),
    "sigmoid": (same(1), lambda x: 1 / (1 + np.exp(-x))),
    "relu": (same(1), lambda x: np.maximum(x, 0)),
    "silu": (same(1), lambda x: x / (1 + np.exp(-x))),
    "gelu": (same(1), lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
    "gelu_tanh": (same(1), lambda x: 0.5 * x * (1 + np.tanh(TANH * (x + 0.044715 * x**3)))),
    "normalize": (same(1), lambda x: x / np.linalg.norm(x.ravel()) if x.any() else x),
    "sum": (same(1), np.sum),
    "mean": (same(1), np.mean),
    "max": (same(1), np.max),
    "min": (same(1), np.min),
    "variance": (same(1), np.var),
    "std": (same(1), np.std),
    "norm": (same(1), lambda x: np.linalg.norm(x.ravel())),
    "argmax": (same(1), np.argmax),
    "argmin": (same(1), np.argmin),
    "sum_axis": (with_axis, np.sum),
    "mean_axis": (with_axis, np.mean),
    "variance_axis": (with_axis, np.var),
    "max_axis": (with_axis, np.max),
    "min_axis": (with_axis, np.min),
    "argmax_axis": (with_axis, np.argmax),
    "argmin_axis": (with_axis, np.argmin),
    "dot": (vectors, np.dot),
    "matmul": (matrices, np.matmul),
    "matmul_vec": (lambda: ((lambda m, k: ([[m, k], [k]], []))(*shape_of(2, 5))), np.matmul),
    "batch_matmul": (batches, np.matmul),
    "outer": (lambda: ([shape_of(1, 4), shape_of(1, 4)], []), np.outer),
    "transpose": (lambda: ([shape_of(2)], []), np.transpose),
    "permute": (order, lambda x, *axes: x.transpose(axes)),
    "flatten": (same(1), np.ravel),
    "slice": (part, lambda x, *p: x[tuple(slice(s, s + n) for s, n in zip(p[: x.ndim], p[x.ndim :]))]),
    "gather": (picks, lambda x, axis, *indices: np.take(x, np.array(indices, dtype=int), axis)),
    "concat": (pieces, lambda a, b, axis: np.concatenate([a, b], axis)),
    "stack": (lambda: (lambda shape: ([shape] * 2, [random.randint(0, len(shape))]))(some()),
              lambda a, b, axis: np.stack([a, b], axis)),
    "conv2d": (convolution, convolve),
    "max_pool2d": (pooling, pooled(np.max)),
    "avg_pool2d": (pooling, pooled(np.mean)),
    "global_avg_pool2d": (lambda: ([shape_of(4, 2)], []), lambda x: x.mean((2, 3), keepdims=True)),
    "pad2d": (plane_and_pad(2), padded),
    "pad4d": (plane_and_pad(4), padded),
    "softmax": (with_axis, soft),
    "log_softmax": (with_axis, lambda x, axis: np.log(soft(x, axis))),
    "layer_norm": (fold_rows(2), lambda x, w, b: normal(x) * w + b),
    "rms_norm": (fold_rows(1), lambda x, w: x / root_mean_square(x) * w),
    "attention": (attention_shapes,
                  lambda q, k, v, m: soft(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + m) @ v),
    "linear": (linear_shapes, lambda x, w, b: x @ w.T + b),
    "embedding": (rows_of_table, lambda x, *ids: x[np.array(ids, dtype=int)]),
    "cast": (same(1), lambda x: x),
}


def main() -> None:
    random.seed(20261123)
    cases = []
    for name, (make, function) in OPERATIONS.items():
        for _ in range(CASES):
            shapes, parameters = make()
            inputs = [[shape, view() if shape else "plain"] for shape in shapes]
            arrays = [build(shape, how, 16 * len(cases) + n) for n, (shape, how) in enumerate(inputs)]
            with np.errstate(all="ignore"):
                result = np.asarray(function(*arrays, *parameters), dtype=np.float64)
                elements = np.ascontiguousarray(result, dtype="<f4").tobytes().hex()
            dtype = random.choice(["float64", "float64", "float32"] + (HALF if name != "attention" else []))
            cases.append([name, dtype, inputs, parameters, list(result.shape), elements])
    FILE.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(cases, separators=(",", ":"))
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{FILE}: {len(cases)} cases of {len(OPERATIONS)} operations, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
