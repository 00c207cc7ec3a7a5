#!/usr/bin/env python3
"""Measures what each weight format costs in quality, and writes README.md's table of it, between its two markers.

The measuring is native/engine/examples/quality.rs's, on the CPU: `make quality`. A model's figures go to
bench/results/quality--<model>.json. With --table nothing is measured and the README's table is written again; with
--check nothing is written, and the exit status says whether the README has the table that would be written.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- quality table: begin -->", "<!-- quality table: end -->"
RESULTS = ROOT / "bench" / "results"
TEXT = ROOT / "bench" / "quality.txt"
GOLDEN = ROOT / "test" / "fixtures" / "smollm2_135m_greedy.json"
EMPTY = "There are no results in `bench/results/` yet."


def commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return run.stdout.strip() or "unknown"


def measure(model: Path) -> None:
    command = ["cargo", "run", "--release", "--locked", "-q", "-p", "viva_tensor_engine", "--example", "quality", "--"]
    command += [str(model.resolve()), str(TEXT), str(GOLDEN)]
    run = subprocess.run(command, cwd=ROOT / "native", stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"quality: measuring {model} failed.")
    formats = [json.loads(line) for line in run.stdout.splitlines()]
    result = {"kind": "measured", "commit": commit(), "model": model.name, "text": TEXT.name, "formats": formats}
    file = RESULTS / f"quality--{model.stem.lower().replace('.', '-')}.json"
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def table(result: dict) -> str:
    first = result["formats"][0]
    lines = [
        f"{result['model']}, each format packed from its weights; {result['text']}, {first['positions']} predictions; "
        f"commit {result['commit']}:",
        "",
        "| weights | bits each | perplexity | mean KL, nat | top-1 equal | greedy answers equal |",
        "|---" + "|---:" * 5 + "|",
    ]
    for row in result["formats"]:
        lines.append(
            f"| {row['weights']} | {row['bits_a_weight']:.2f} | {row['perplexity']:.3f} | {row['mean_kl_nat']:.4f} | "
            f"{row['top1_agreement']:.1%} | {row['greedy_equal']} of {row['greedy_cases']} |"
        )
    return "\n".join(lines)


def tables() -> str:
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob("quality--*.json"))]
    return "\n\n".join(table(result) for result in results) or EMPTY


def main() -> None:
    arguments = sys.argv[1:]
    if arguments not in (["--check"], ["--table"]):
        if not arguments:
            sys.exit("usage: quality.py MODEL... | --table | --check")
        for model in arguments:
            measure(Path(model))
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        sys.exit(f"quality: README.md needs {BEGIN} and {END}, once each.")
    wanted = pattern.sub(lambda _: f"{BEGIN}\n{tables()}\n{END}", text)
    if arguments == ["--check"]:
        sys.exit(0 if wanted == text else "quality: README.md is not what bench/results says.")
    if wanted != text:
        readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
