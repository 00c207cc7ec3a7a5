"""Writes the small GGUF files under test/fixtures/gguf and what an independent reader finds in them.

    pip install gguf==0.19.0 && python3 tools/make_gguf_fixtures.py

Every file is made by gguf's own GGUFWriter, apart from a few bytes that it cannot write (version 1 and 2, strings that
are not UTF-8, nested arrays). golden.json holds what its GGUFReader reads back: each tensor's shape, type, place
and the FNV-1a hash of its bytes. The weights are pseudo-random; the same script writes the same bytes.
"""

import json
import struct
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import quantize

FOLDER = Path(__file__).resolve().parent.parent / "test" / "fixtures" / "gguf"

READ = [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1,
        Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K]
FOREIGN = [Type.I8, Type.I64, Type.F64, Type.IQ4_NL, Type.IQ2_XXS, Type.TQ2_0, Type.MXFP4]

# Types that NumPy has, and GGUFWriter takes from it.
PLAIN = {Type.F32: np.float32, Type.F16: np.float16, Type.I8: np.int8, Type.I64: np.int64, Type.F64: np.float64}


def weights(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def stored(seed, kind, rows, columns):
    """A matrix of this type: quantized by gguf where it can, random bytes where it only knows the layout."""
    try:
        return quantize(weights(seed, rows, columns), kind)
    except NotImplementedError:
        block_len, block_bytes = GGML_QUANT_SIZES[kind]
        width = columns // block_len * block_bytes
        return np.random.default_rng(seed).integers(0, 256, (rows, width), dtype=np.uint8)


def writer(name, **options):
    out = GGUFWriter(FOLDER / name, "llama", **options)
    out.add_name(name)
    return out


def finish(out):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def formats():
    """A tensor of every type that is read, some that are not, and every number of dimensions."""
    out = writer("formats.gguf")
    for seed, kind in enumerate(READ + FOREIGN):
        data = stored(seed, kind, 3, 256)
        if kind in PLAIN:
            out.add_tensor(f"{kind.name}.weight", data.view(PLAIN[kind]))
        else:
            out.add_tensor(f"{kind.name}.weight", data, raw_dtype=kind)
    for dimensions in range(1, 5):
        out.add_tensor(f"dimensions.{dimensions}", weights(dimensions, *[5, 4, 3, 2][:dimensions]))
    finish(out)


def values():
    """Metadata of every type, no tensor."""
    out = writer("values.gguf")
    scalars = {
        "uint8": (200, GGUFValueType.UINT8), "int8": (-100, GGUFValueType.INT8),
        "uint16": (60_000, GGUFValueType.UINT16), "int16": (-30_000, GGUFValueType.INT16),
        "uint32": (4_000_000_000, GGUFValueType.UINT32), "int32": (-2_000_000_000, GGUFValueType.INT32),
        "uint64": (2**64 - 1, GGUFValueType.UINT64), "int64": (-2**63, GGUFValueType.INT64),
        "float32": (0.15625, GGUFValueType.FLOAT32), "float64": (1e300, GGUFValueType.FLOAT64),
        "bool": (True, GGUFValueType.BOOL), "string": ("Ġ▁ nul\0 🙂", GGUFValueType.STRING),
        "empty": ("", GGUFValueType.STRING),
    }
    for name, (value, kind) in scalars.items():
        out.add_key_value(f"scalar.{name}", value, kind)
    arrays = {
        "uint8": ([0, 255], GGUFValueType.UINT8), "int8": ([-128, 127], GGUFValueType.INT8),
        "uint16": ([0, 65535], GGUFValueType.UINT16), "int16": ([-32768, 32767], GGUFValueType.INT16),
        "uint32": ([0, 2**32 - 1], GGUFValueType.UINT32), "int32": ([-2**31, 2**31 - 1], GGUFValueType.INT32),
        "uint64": ([0, 2**63 - 1], GGUFValueType.UINT64), "int64": ([-2**63, 2**63 - 1], GGUFValueType.INT64),
        "float32": ([0.5, -3.0], GGUFValueType.FLOAT32), "float64": ([0.25, 1e30], GGUFValueType.FLOAT64),
        "bool": ([True, False, True], GGUFValueType.BOOL), "string": (["a", "", "Ġthe"], GGUFValueType.STRING),
    }
    for name, (value, kind) in arrays.items():
        out.add_key_value(f"array.{name}", value, GGUFValueType.ARRAY, kind)
    # Longer than any buffer that a reader might use for short values.
    out.add_key_value("array.long", [f"token {n}" for n in range(2000)], GGUFValueType.ARRAY, GGUFValueType.STRING)
    finish(out)


def odd():
    """What GGUFWriter refuses to write: a nested array, and strings that are not UTF-8."""
    text = lambda data: struct.pack("<Q", len(data)) + data
    array = lambda kind, items: struct.pack("<IQ", kind, len(items)) + b"".join(items)
    pairs = [
        (b"general.architecture", 8, text(b"llama")),
        (b"odd.bytes", 8, text(b"caf\xe9")),
        (b"odd.byte_strings", 9, array(8, [text(b"good"), text(b"\xff\xfe"), text(b"also good")])),
        (b"odd.nested", 9, array(9, [array(4, [struct.pack("<I", n) for n in range(3)]), array(8, [text(b"x"), text(b"yz")]),
                                     array(9, [array(0, [b"1", b"2"])])])),
        (b"odd.last", 4, struct.pack("<I", 7)),
    ]
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    data += b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    (FOLDER / "odd.gguf").write_bytes(data)


def aligned():
    out = writer("aligned_256.gguf")
    out.add_custom_alignment(256)
    for n in range(3):
        out.add_tensor(f"blk.{n}.attn_norm.weight", weights(n, 40))
    finish(out)


def versions():
    """The layout of version 2 is that of version 3; version 1 had 32-bit lengths."""
    out = writer("version_3.gguf")
    out.add_tensor("token_embd.weight", stored(1, Type.Q8_0, 4, 64), raw_dtype=Type.Q8_0)
    finish(out)
    data = bytearray((FOLDER / "version_3.gguf").read_bytes())
    data[4] = 2
    (FOLDER / "version_2.gguf").write_bytes(data)
    (FOLDER / "version_1.gguf").write_bytes(b"GGUF" + struct.pack("<IIII", 1, 0, 0, 0))
    out = writer("big_endian.gguf", endianess=GGUFEndian.BIG)
    out.add_tensor("token_embd.weight", weights(1, 4, 8))
    finish(out)


def split():
    """Three parts: model-00001-of-00003.gguf and so on."""
    out = writer("split.gguf", split_max_tensors=2)
    out.add_tokenizer_model("gpt2")
    for n in range(5):
        out.add_tensor(f"blk.{n}.ffn_norm.weight", weights(n, 16 + n))
    finish(out)


def fnv(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return f"{digest:016x}"


def golden():
    found = {}
    for path in sorted(FOLDER.glob("*.gguf")):
        # The reader knows no nested arrays, version 1 or strings that are not UTF-8.
        if path.stem in ("odd", "version_1", "big_endian"):
            continue
        reader = GGUFReader(path)
        tensors = {}
        for tensor in reader.tensors:
            tensors[tensor.name] = {
                "shape": [int(length) for length in reversed(tensor.shape)],
                "type": tensor.tensor_type.name,
                "offset": int(tensor.data_offset),
                "bytes": int(tensor.n_bytes),
                "fnv1a": fnv(tensor.data.tobytes()),
            }
        values = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
        values.pop("array.long", None)
        found[path.name] = {"tensors": tensors, "values": values}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (FOLDER / "golden.json").write_text(text + "\n", encoding="utf-8")


FOLDER.mkdir(parents=True, exist_ok=True)
for make in (formats, values, odd, aligned, versions, split, golden):
    make()
