#!/usr/bin/env python3
"""Measures checkpoints with the command line's `bench`, writes bench/results/*.json and prints a table.

Each checkpoint is measured several times, in rounds over all of them, so that a machine that slows down slows all;
what is kept is the round with the median decode speed, as it came, beside the lowest and highest. A file is named
after checkpoint and machine: measuring again replaces it.
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
    return json.loads(run.stdout.strip().splitlines()[-1])


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def weights(model: str) -> str:
    """The format, where the name says it: SmolLM2-135M-Instruct.Q4_1.gguf, or a folder named so."""
    found = re.search(r"(?<![A-Za-z0-9])(I?Q\d(?:_\w+)?|[BF]F?16|[fF]32|F8_\w+)(?![A-Za-z0-9])", Path(model).name, re.I)
    return found.group(1).upper() if found else "as stored"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="files or folders that load_model takes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompt", default="128", help="tokens to prefill")
    parser.add_argument("--tokens", default="128", help="tokens to decode")
    options = parser.parse_args()

    models = [str(Path(model).resolve()) for model in options.models]
    arguments = ["--prompt", options.prompt, "--tokens", options.tokens]
    rounds = {model: [] for model in models}
    for number in range(options.rounds):
        for model in models:
            print(f"bench: round {number + 1} of {options.rounds}, {Path(model).name}", file=sys.stderr)
            rounds[model].append(measure(model, arguments))

    RESULTS.mkdir(parents=True, exist_ok=True)
    where, what = machine(), commit()
    print(f"{where}, commit {what}")
    print("| checkpoint | " + " | ".join(title for title, _ in COLUMNS) + " | of read |")
    print("|---" + "|---:" * (len(COLUMNS) + 1) + "|")
    for model, figures in rounds.items():
        speeds = [figure["decode_tokens_per_second"] for figure in figures]
        middle = figures[speeds.index(statistics.median_low(speeds))]
        result = {
            "kind": "measured",
            "model": Path(model).name,
            "weights": weights(model),
            "machine": where,
            "commit": what,
            "rounds": options.rounds,
            "decode_tokens_per_second_range": [min(speeds), max(speeds)],
            **middle,
        }
        file = RESULTS / f"{slug(Path(model).name)}--{slug(where)}.json"
        file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        cells = [middle[field] / (1e6 if field == "bytes_per_token" else 1) for _, field in COLUMNS]
        share = middle["gb_per_second"] / middle["read_bandwidth_gb_per_second"]
        print(f"| {Path(model).name} | " + " | ".join(f"{cell:.1f}" for cell in cells) + f" | {share:.0%} |")


if __name__ == "__main__":
    main()
