#!/usr/bin/env python3
"""Measures tensors: native matmul beside NumPy's in the same run, and the work of pure Gleam; with --model tokens a
second there, too. Writes bench/results/tensors--MACHINE.json and prints a table.

NumPy and the native library take turns, each with all cores that this process gets (OpenBLAS may be told otherwise by
OPENBLAS_NUM_THREADS); what counts is the median of the rounds. Without NumPy its column stays empty.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import RESULTS, ROOT, commit, machine, slug

# Settings of a machine that pick a kernel and a cache size for another processor: both go, before NumPy reads them.
for setting in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(setting, None)
try:
    import numpy
except ImportError:
    numpy = None

SIZES = [256, 1024, 2048]
ERLANG = r"""
T = viva_tensor,
Seconds = fun(Work) -> {Micros, _} = timer:tc(Work), Micros / 1.0e6 end,
Report = fun(Name, Value) -> io:format("~ts ~w~n", [Name, Value]) end,
Matmul = fun(Dtype, N) ->
  A = T:cast(T:random_uniform_seeded([N, N], 1), Dtype),
  B = T:cast(T:random_uniform_seeded([N, N], 2), Dtype),
  Once = fun() -> {ok, _} = T:matmul(A, B) end,
  Once(),
  lists:min([Seconds(Once) || _ <- lists:seq(1, max(3, 1024 div N * 4))])
end,
case os:getenv("VIVA_TENSOR_DEVICE") of
  "beam" ->
    Report("matmul-128", Matmul(float64, 128)),
    X = T:random_uniform_seeded([1000000], 1),
    Y = T:random_uniform_seeded([1000000], 2),
    Report("add-1000000", lists:min([Seconds(fun() -> T:add(X, Y) end) || _ <- lists:seq(1, 3)])),
    Report("exp-1000000", lists:min([Seconds(fun() -> T:exp(X) end) || _ <- lists:seq(1, 3)])),
    case os:getenv("BENCH_MODEL") of
      false -> ok;
      Path ->
        {ok, Model} = T:load_model_with(unicode:characters_to_binary(Path), T:device(T:load_opts(), beam)),
        Options = {generate_opts, 24, 0.0, top_k_infinity, 1.0, 0, false},
        Speed = fun() ->
          {ok, Result} = T:generate(Model, <<"The capital of France is">>, Options),
          T:decode_tokens_per_second(element(8, Result))
        end,
        Report("decode", lists:max([Speed() || _ <- lists:seq(1, 3)]))
    end;
  _ ->
    [Report([atom_to_list(Dtype), "-", integer_to_list(N)], Matmul(Dtype, N))
     || Dtype <- [float32, float64], N <- [256, 1024, 2048]],
    X = T:random_uniform_seeded([1000000], 1),
    Y = T:random_uniform_seeded([1000000], 2),
    Report("add-1000000", lists:min([Seconds(fun() -> T:add(X, Y) end) || _ <- lists:seq(1, 9)]))
end,
halt().
"""


def beam(device: str, model: str | None = None) -> dict[str, float]:
    """Seconds by name, of one run of the VM; for a model on the BEAM also its tokens a second."""
    ebin = ROOT / "build" / "dev" / "erlang" / "viva_tensor" / "ebin"
    command = ["erl", "-noshell", "-pa", str(ebin), "-eval", ERLANG]
    environment = {**os.environ, "VIVA_TENSOR_DEVICE": device, **({"BENCH_MODEL": model} if model else {})}
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"bench: the measurement on {device} failed (exit status {run.returncode}).")
    return {name: float(value) for name, value in (line.split() for line in run.stdout.splitlines())}


def numpy_seconds(dtype: str, size: int) -> float:
    generator = numpy.random.default_rng(1)
    a, b = (generator.random((size, size)).astype(dtype) for _ in range(2))
    a @ b
    laps = []
    for _ in range(max(3, 1024 // size * 4)):
        start = time.perf_counter()
        a @ b
        laps.append(time.perf_counter() - start)
    return min(laps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="a checkpoint whose decoding in pure Gleam is measured, too")
    options = parser.parse_args()
    native, other = {}, {}
    for number in range(options.rounds):
        print(f"bench: round {number + 1} of {options.rounds}", file=sys.stderr)
        for name, seconds in beam("auto").items():
            native.setdefault(name, []).append(seconds)
        if numpy is not None:
            for dtype in ("float32", "float64"):
                for size in SIZES:
                    other.setdefault(f"{dtype}-{size}", []).append(numpy_seconds(dtype, size))
    pure = beam("beam", options.model)

    where = machine()
    rows = []
    for dtype in ("float32", "float64"):
        for size in SIZES:
            name = f"{dtype}-{size}"
            gigaflops = 2e-9 * size**3 / statistics.median(native[name])
            row = {"dtype": dtype, "size": size, "gflops": gigaflops}
            if name in other:
                row["numpy_gflops"] = 2e-9 * size**3 / statistics.median(other[name])
                row["of_numpy"] = gigaflops / row["numpy_gflops"]
            rows.append(row)
    decoding = {}
    if options.model:
        decoding = {"beam_model": Path(options.model).name, "beam_decode_tokens_per_second": pure["decode"]}
    result = {
        "kind": "measured",
        "machine": where,
        "commit": commit(),
        "command": "make bench",
        "rounds": options.rounds,
        "numpy": None if numpy is None else numpy.__version__,
        "native_matmul": rows,
        "native_add_1000000_seconds": statistics.median(native["add-1000000"]),
        "beam_matmul_128_seconds": pure["matmul-128"],
        "beam_add_1000000_seconds": pure["add-1000000"],
        "beam_exp_1000000_seconds": pure["exp-1000000"],
        **decoding,
        "bytes_per_element": {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"tensors--{slug(where)}.json"
    file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{where}, commit {result['commit']}")
    print("| matmul | GFLOP/s | NumPy | of NumPy |\n|---|---:|---:|---:|")
    for row in rows:
        cells = [f"{row['gflops']:.1f}"] + [f"{row[field]:.{digits}f}" if field in row else ""
                                            for field, digits in (("numpy_gflops", 1), ("of_numpy", 2))]
        print(f"| {row['dtype']} {row['size']} | " + " | ".join(cells) + " |")
    for name, value in pure.items():
        print(f"pure Gleam {name}: " + (f"{value:.2f} tok/s" if name == "decode" else f"{value * 1000:.0f} ms"))


if __name__ == "__main__":
    main()
