#!/usr/bin/env python3
"""Measures linears with packed weights on the CPU, writes bench/results/linears--MACHINE.json and prints a table.

native/engine/examples/linears.rs takes the figures. It runs several times; of each format the run with the median share
of the machine's read bandwidth is kept, as it came, beside the lowest and the highest share.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

from bench import RESULTS, ROOT, commit, machine, slug


def measure() -> list[dict]:
    """One object a format."""
    command = ["cargo", "run", "--release", "--locked", "--quiet", "-p", "viva_tensor_engine", "--example", "linears"]
    run = subprocess.run(command, cwd=ROOT / "native", stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"bench: the linears could not be measured (exit status {run.returncode}).")
    return [json.loads(line) for line in run.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("CARGO_TARGET_DIR", str(ROOT / "native" / "target"))
    rounds = {}
    for number in range(options.rounds):
        print(f"bench: round {number + 1} of {options.rounds}, linears", file=sys.stderr)
        for row in measure():
            rounds.setdefault(row["weights"], []).append(row)
    rows = []
    for figures in rounds.values():
        shares = [figure["share_of_read"] for figure in figures]
        middle = figures[shares.index(statistics.median_low(shares))]
        rows.append({**middle, "share_of_read_range": [min(shares), max(shares)]})
    where = machine()
    result = {
        "kind": "measured",
        "machine": where,
        "commit": commit(),
        "command": "make bench",
        "rounds": options.rounds,
        "linears": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    file = RESULTS / f"linears--{slug(where)}.json"
    file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{where}, commit {result['commit']}")
    print("| weights | GB/s | of read | lowest, highest | 128 rows, over f32 |\n|---|---:|---:|---:|---:|")
    for row in rows:
        low, high = row["share_of_read_range"]
        print(f"| {row['weights']} | {row['gb_per_second']:.1f} | {row['share_of_read']:.0%} "
              f"| {low:.0%}, {high:.0%} | ×{row['over_gemm']:.2f} |")


if __name__ == "__main__":
    main()
