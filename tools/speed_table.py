#!/usr/bin/env python3
"""Writes the speed table of README.md, between its two markers, from what bench/results/*.json say.

A table belongs to one machine and one commit. With --check nothing is written, and the exit status says whether the
README has the tables that would be written.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- speed table: begin -->", "<!-- speed table: end -->"
# What a result of tools/bench.py has at least; other files have tables of their own.
NEEDED = {
    "kind",
    "machine",
    "commit",
    "model",
    "prompt_tokens",
    "tokens",
    "prefill_tokens_per_second",
    "decode_tokens_per_second",
    "bytes_per_token",
    "gb_per_second",
    "read_bandwidth_gb_per_second",
    "ticker_idle_p99_ms",
    "ticker_busy_p99_ms",
}
EMPTY = "There are no results in `bench/results/` yet."


def beside(result: dict, kind: str) -> str:
    """Our figure, and the peer's with the ratio where it was measured."""
    ours = f"{result[f'{kind}_tokens_per_second']:.0f}"
    if f"peer_{kind}_tokens_per_second" not in result:
        return f"{ours} | |"
    return f"{ours} | {result[f'peer_{kind}_tokens_per_second']:.0f} (×{result[f'{kind}_ratio']:.2f}) |"


def table(machine: str, commit: str, results: list[dict]) -> str:
    peer = next((result["peer"] for result in results if "peer" in result), "peer")
    first = results[0]
    lines = [
        f"{machine}; commit {commit}; {first['prompt_tokens']} tokens in, {first['tokens']} out; tokens a second:",
        "",
        f"| checkpoint | prefill | {peer} | decode | {peer} | GB/s | of read | tick late, p99 (idle) |",
        "|---" + "|---:" * 7 + "|",
    ]
    for result in sorted(results, key=lambda result: -result["bytes_per_token"]):
        share = result["gb_per_second"] / result["read_bandwidth_gb_per_second"]
        late = f"{result['ticker_busy_p99_ms']:.1f} ms ({result['ticker_idle_p99_ms']:.1f} ms)"
        lines.append(
            f"| {result['model']} | {beside(result, 'prefill')} {beside(result, 'decode')} "
            f"{result['gb_per_second']:.1f} | {share:.0%} | {late} |"
        )
    return "\n".join(lines)


def groups() -> dict[tuple[str, str], list[dict]]:
    """The results of each machine and commit."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for file in (ROOT / "bench" / "results").glob("*.json"):
        result = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(result, dict) and NEEDED <= result.keys() and result["kind"] == "measured":
            groups.setdefault((result["machine"], result["commit"]), []).append(result)
    return groups


def tables() -> str:
    return "\n\n".join(table(*key, results) for key, results in sorted(groups().items())) or EMPTY


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        sys.exit(f"speed_table: README.md needs {BEGIN} and {END}, once each.")
    wanted = pattern.sub(lambda _: f"{BEGIN}\n{tables()}\n{END}", text)
    if sys.argv[1:] == ["--check"]:
        sys.exit(0 if wanted == text else "speed_table: README.md is not what bench/results says; make speed writes it.")
    readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
