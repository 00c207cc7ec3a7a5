#!/usr/bin/env python3
"""Measures what each weight format costs in quality, and writes the table of it into README.md and its translations,
between two markers each.

The measuring is native/engine/examples/quality.rs's, on the CPU: `make quality`. A model's figures go to
bench/results/quality--<model>.json. With --table nothing is measured and the tables are written again; with
--check nothing is written, and the exit status says whether each README has the table that would be written.
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
# For each README: the line above the table, its head, and the words in its rows.
TEXTS = {
    "README.md": (
        "{model}, each format packed from its weights; {text}, {positions} predictions; commit {commit}:",
        "| weights | bits each | perplexity | mean KL, nat | top-1 equal | greedy answers equal |",
        ", blocks of {columns} columns",
        "{equal} of {cases}",
        "There are no results in `bench/results/` yet.",
    ),
    "docs/pt-br/README.md": (
        "{model}, cada formato compactado a partir dos seus pesos; {text}, {positions} previsões; commit {commit}:",
        "| pesos | bits cada | perplexidade | KL média, nat | top-1 igual | respostas gulosas iguais |",
        ", blocos de {columns} colunas",
        "{equal} de {cases}",
        "Ainda não há resultados em `bench/results/`.",
    ),
    "docs/zh-cn/README.md": (
        "{model}，各格式由它的权重打包而来；{text}，{positions} 次预测；提交 {commit}：",
        "| 权重 | 每个位数 | 困惑度 | 平均 KL（nat） | top-1 相同 | 贪心回答相同 |",
        "，每 {columns} 列一块",
        "{cases} 个中 {equal} 个",
        "`bench/results/` 中还没有结果。",
    ),
}


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


def table(result: dict, texts: tuple[str, ...]) -> str:
    above, head, blocks, share, _ = texts
    first = result["formats"][0]
    names = {"model": result["model"], "text": result["text"], "commit": result["commit"]}
    lines = [above.format(positions=first["positions"], **names), "", head, "|---" + "|---:" * 5 + "|"]
    for row in result["formats"]:
        weights = re.sub(r", blocks of (\d+) columns", lambda found: blocks.format(columns=found[1]), row["weights"])
        equal = share.format(equal=row["greedy_equal"], cases=row["greedy_cases"])
        lines.append(
            f"| {weights} | {row['bits_a_weight']:.2f} | {row['perplexity']:.3f} | {row['mean_kl_nat']:.4f} | "
            f"{row['top1_agreement']:.1%} | {equal} |"
        )
    return "\n".join(lines)


def tables(texts: tuple[str, ...]) -> str:
    results = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob("quality--*.json"))]
    return "\n\n".join(table(result, texts) for result in results) or texts[-1]


def main() -> None:
    arguments = sys.argv[1:]
    if arguments not in (["--check"], ["--table"]):
        if not arguments:
            sys.exit("usage: quality.py MODEL... | --table | --check")
        for model in arguments:
            measure(Path(model))
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    for name, texts in TEXTS.items():
        readme = ROOT / name
        text = readme.read_text(encoding="utf-8")
        if len(pattern.findall(text)) != 1:
            sys.exit(f"quality: {name} needs {BEGIN} and {END}, once each.")
        wanted = pattern.sub(lambda _, texts=texts: f"{BEGIN}\n{tables(texts)}\n{END}", text)
        if wanted == text:
            continue
        if arguments == ["--check"]:
            sys.exit(f"quality: {name} is not what bench/results says; python3 tools/quality.py --table writes it.")
        readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
