#!/usr/bin/env python3
"""Writes the speed table of README.md and of its translations, between two markers each, from what bench/results/*.json
say; and copies the figures of README.md's table of a GPU, which is written by hand, into the translations.

A table belongs to one machine and one commit. With --check nothing is written, and the exit status says whether each
README has the tables that would be written.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- speed table: begin -->", "<!-- speed table: end -->"
GPU_BEGIN, GPU_END = "<!-- gpu table: begin -->", "<!-- gpu table: end -->"
# The head of that table in each translation.
GPU_HEADS = {
    "docs/pt-br/README.md": "| modelo | pesos | decodificação, tokens por segundo | GB/s | da leitura | oito sequências | "
    "prefill, tokens por segundo |",
    "docs/zh-cn/README.md": "| 模型 | 权重 | 解码，每秒 token 数 | GB/s | 占读取速度 | 八个序列 | 预填充，每秒 token 数 |",
}
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
# For each README: the line above a table, its head, and what there is to say where there is none.
TEXTS = {
    "README.md": (
        "{machine}; commit {commit}; {prompt} tokens in, {tokens} out; tokens a second:",
        "| checkpoint | prefill | {peer} | decode | {peer} | GB/s | of read | tick late, p99 (idle) |",
        "There are no results in `bench/results/` yet.",
    ),
    "docs/pt-br/README.md": (
        "{machine}; commit {commit}; {prompt} tokens de entrada, {tokens} de saída; tokens por segundo:",
        "| checkpoint | prefill | {peer} | decodificação | {peer} | GB/s | da leitura | atraso do tique, p99 (ocioso) |",
        "Ainda não há resultados em `bench/results/`.",
    ),
    "docs/zh-cn/README.md": (
        "{machine}；提交 {commit}；输入 {prompt} 个 token，输出 {tokens} 个；每秒 token 数：",
        "| 检查点 | 预填充 | {peer} | 解码 | {peer} | GB/s | 占读取速度 | 定时延迟 p99（空闲时） |",
        "`bench/results/` 中还没有结果。",
    ),
}


def beside(result: dict, kind: str) -> str:
    """Our figure, and the peer's with the ratio where it was measured."""
    ours = f"{result[f'{kind}_tokens_per_second']:.0f}"
    if f"peer_{kind}_tokens_per_second" not in result:
        return f"{ours} | |"
    return f"{ours} | {result[f'peer_{kind}_tokens_per_second']:.0f} (×{result[f'{kind}_ratio']:.2f}) |"


def table(texts: tuple[str, str, str], machine: str, commit: str, results: list[dict]) -> str:
    peer = next((result["peer"] for result in results if "peer" in result), "peer")
    first = results[0]
    lines = [
        texts[0].format(machine=machine, commit=commit, prompt=first["prompt_tokens"], tokens=first["tokens"]),
        "",
        texts[1].format(peer=peer),
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


def tables(texts: tuple[str, str, str]) -> str:
    return "\n\n".join(table(texts, *key, results) for key, results in sorted(groups().items())) or texts[2]


def between(begin: str, end: str, name: str, text: str) -> re.Match:
    found = list(re.finditer(f"(?<={re.escape(begin)}\\n).*?(?=\\n{re.escape(end)})", text, re.DOTALL))
    if len(found) != 1:
        sys.exit(f"speed_table: {name} needs {begin} and {end}, once each.")
    return found[0]


def main() -> None:
    english = (ROOT / "README.md").read_text(encoding="utf-8")
    gpu_rows = between(GPU_BEGIN, GPU_END, "README.md", english).group().splitlines()[1:]
    for name, texts in TEXTS.items():
        readme = ROOT / name
        text = readme.read_text(encoding="utf-8")
        place = between(BEGIN, END, name, text)
        wanted = text[: place.start()] + tables(texts) + text[place.end() :]
        if name in GPU_HEADS:
            place = between(GPU_BEGIN, GPU_END, name, wanted)
            wanted = wanted[: place.start()] + "\n".join([GPU_HEADS[name], *gpu_rows]) + wanted[place.end() :]
        if wanted == text:
            continue
        if sys.argv[1:] == ["--check"]:
            sys.exit(f"speed_table: {name} is not what bench/results and README.md say; make speed writes it.")
        readme.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
