#!/usr/bin/env python3
r"""Measures checkpoints with the command line's `bench`, writes bench/results/*.json and prints a table.

Each checkpoint is measured several times, in rounds over all of them, so that a machine that slows down slows all;
what is kept is the round with the median decode speed, as it came, beside the lowest and highest. A file is named
after checkpoint and machine: measuring again replaces it.

With --llama-bench (or LLAMA_BENCH in the environment) llama.cpp measures each GGUF file, too: in the same rounds, right
after us, with as many threads. Its figures and our ratio to them go into the same file. The surprise: llama-bench
decodes from an empty cache, and we behind the prompt, which is a little more work.

How to get llama-bench, with a C++ compiler and cmake (`pip install cmake`) at hand:

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python
    tar -xf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B llama -DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_SERVER=OFF \
        -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_OPENSSL=OFF
    cmake --build llama --target llama-bench -j
    make bench LLAMA_BENCH=llama/bin/llama-bench
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
COLUMNS = [
    ("prefill tok/s", "prefill_tokens_per_second"),
    ("decode tok/s", "decode_tokens_per_second"),
    ("MB/token", "bytes_per_token"),
    ("GB/s", "gb_per_second"),
    ("read GB/s", "read_bandwidth_gb_per_second"),
]
PEER_COLUMNS = [
    ("llama.cpp prefill", "peer_prefill_tokens_per_second", ".1f"),
    ("ratio", "prefill_ratio", ".2f"),
    ("llama.cpp decode", "peer_decode_tokens_per_second", ".1f"),
    ("ratio", "decode_ratio", ".2f"),
]


def machine() -> str:
    """The processor, how many of its cores this process gets, and the widest vectors it has."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = set(re.findall(r"\w+", "".join(re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)[:1])))
    best = next((flag for flag in ("avx512_vnni", "avx512f", "avx2", "asimd") if flag in flags), "no SIMD")
    return f"{name.group(1).strip() if name else os.uname().machine}, {len(os.sched_getaffinity(0))} cores, {best}"


def commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "native", "src", "kernels")
    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def measure(model: str, arguments: list[str]) -> dict:
    command = ["gleam", "run", "--no-print-progress", "-m", "viva_tensor/cli", "--", "bench", model, "--json"]
    run = subprocess.run(command + arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if run.returncode != 0:
        sys.exit(f"bench: {model} could not be measured (exit status {run.returncode}).")
    # Where a file lies is this machine's own business.
    return {**json.loads(run.stdout.strip().splitlines()[-1]), "model": Path(model).name}


def measure_peer(program: str, model: str, options: argparse.Namespace, threads: int) -> dict:
    """llama.cpp's medians for the same prompt, answer and threads."""
    command = [program, "-m", model, "-p", options.prompt, "-n", options.tokens, "-t", str(threads), "-o", "json"]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8")
    if run.returncode != 0:
        sys.exit(f"bench: {program} could not measure {model} (exit status {run.returncode}).")
    medians = {test["n_gen"] > 0: statistics.median(test["samples_ts"]) for test in json.loads(run.stdout)}
    return {"decode_tokens_per_second": medians[True], "prefill_tokens_per_second": medians[False]}


def compare(ours: dict, peers: list[dict]) -> dict:
    """The peer's median round beside our figures."""
    result = {"peer": "llama.cpp", "peer_rounds": len(peers)}
    for field, ratio in (("decode_tokens_per_second", "decode_ratio"), ("prefill_tokens_per_second", "prefill_ratio")):
        result[f"peer_{field}"] = statistics.median(peer[field] for peer in peers)
        result[ratio] = ours[field] / result[f"peer_{field}"]
    return result


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="files or folders that load_model takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", default="128", help="tokens to prefill")
    parser.add_argument("--tokens", default="128", help="tokens to decode")
    peer = os.environ.get("LLAMA_BENCH") or None
    parser.add_argument("--llama-bench", default=peer, metavar="PATH", help="llama.cpp's program, to measure it beside")
    options = parser.parse_args()
    if options.llama_bench and not os.access(options.llama_bench, os.X_OK):
        sys.exit(f"bench: {options.llama_bench} is not a program; --help says how to get llama-bench.")

    models = [str(Path(model).resolve()) for model in options.models]
    arguments = ["--prompt", options.prompt, "--tokens", options.tokens]
    rounds = {model: [] for model in models}
    peer_rounds = {model: [] for model in models if options.llama_bench and model.endswith(".gguf")}
    for number in range(options.rounds):
        for model in models:
            print(f"bench: round {number + 1} of {options.rounds}, {Path(model).name}", file=sys.stderr)
            rounds[model].append(measure(model, arguments))
            if model in peer_rounds:
                threads = rounds[model][-1]["threads"]
                peer_rounds[model].append(measure_peer(options.llama_bench, model, options, threads))

    RESULTS.mkdir(parents=True, exist_ok=True)
    where, what = machine(), commit()
    print(f"{where}, commit {what}")
    titles = [title for title, _ in COLUMNS] + ["of read", "late ms (p99, idle)"]
    titles += [title for title, _, _ in PEER_COLUMNS] if peer_rounds else []
    print("| checkpoint | " + " | ".join(titles) + " |")
    print("|---" + "|---:" * len(titles) + "|")
    for model, figures in rounds.items():
        speeds = [figure["decode_tokens_per_second"] for figure in figures]
        middle = figures[speeds.index(statistics.median_low(speeds))]
        result = {
            "kind": "measured",
            "command": f"make bench MODELS={Path(model).name}" + " LLAMA_BENCH=llama-bench" * bool(peer_rounds),
            "machine": where,
            "commit": what,
            "rounds": options.rounds,
            "decode_tokens_per_second_range": [min(speeds), max(speeds)],
            **middle,
            **(compare(middle, peer_rounds[model]) if model in peer_rounds else {}),
        }
        file = RESULTS / f"{slug(Path(model).name)}--{slug(where)}.json"
        file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        cells = [f"{result[field] / (1e6 if field == 'bytes_per_token' else 1):.1f}" for _, field in COLUMNS]
        cells.append(f"{result['gb_per_second'] / result['read_bandwidth_gb_per_second']:.0%}")
        cells.append(f"{result['ticker_busy_p99_ms']:.1f}, {result['ticker_idle_p99_ms']:.1f}")
        if peer_rounds:
            cells += [format(result[field], form) if field in result else "" for _, field, form in PEER_COLUMNS]
        print(f"| {Path(model).name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
