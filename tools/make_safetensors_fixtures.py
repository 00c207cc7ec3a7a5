"""Writes test/fixtures/safetensors: a file of many dtypes, and what the Python packages read from every fixture.

    pip install safetensors torch && python3 tools/make_safetensors_fixtures.py

golden.json maps each checkpoint under test/fixtures/tiny, and `dtypes` here, to its tensors: dtype, shape, the FNV-1a hash
of their bytes and their first values as f32.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "test" / "fixtures"
FOLDER = FIXTURES / "safetensors"
USABLE = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3"}
FOREIGN = {torch.int64: "I64", torch.uint8: "U8", torch.float64: "F64", torch.bool: "BOOL", torch.float8_e5m2: "F8_E5M2"}


def dtypes():
    """A tensor of every dtype that is read and some that are not, a scalar, an empty one, and __metadata__."""
    generator = torch.Generator().manual_seed(7)
    tensors = {}
    for dtype, name in (USABLE | FOREIGN).items():
        tensors[f"of.{name}"] = (torch.randn(3, 8, generator=generator) * 4).to(dtype)
    tensors["scalar"] = torch.tensor(0.5)
    tensors["empty"] = torch.zeros(0, 4)
    (FOLDER / "dtypes").mkdir(parents=True, exist_ok=True)
    save_file(tensors, FOLDER / "dtypes" / "model.safetensors", metadata={"format": "pt"})
    (FOLDER / "dtypes" / "model.safetensors").chmod(0o644)
    (FOLDER / "dtypes" / "config.json").write_text('{"model_type": "llama"}\n')


def fnv(data):
    digest = 0xCBF29CE484222325
    for byte in data:
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return f"{digest:016x}"


def listing(folder):
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                tensor = file.get_tensor(name)
                found[name] = {
                    "dtype": (USABLE | FOREIGN)[tensor.dtype],
                    "shape": list(tensor.shape),
                    "file": path.name,
                    "fnv1a": fnv(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()),
                    "first": tensor.flatten()[:4].to(torch.float32).tolist(),
                }
    return found


dtypes()
folders = sorted((FIXTURES / "tiny").iterdir()) + [FOLDER / "dtypes"]
golden = {folder.name: listing(folder) for folder in folders}
lines = [f' {json.dumps(name)}: {{\n' + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in tensors.items())
         + "\n }" for name, tensors in golden.items()]
(FOLDER / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
