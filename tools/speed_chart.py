#!/usr/bin/env python3
"""Draws docs/speed.svg: decoding in tokens a second, ours beside the peer's, and the floor of each checkpoint.

The figures are those of tools/speed_table.py, from bench/results/*.json; nothing but Python is needed. The floor is
what reading the weights alone would allow: the read bandwidth of the machine over the bytes of a token, which no bar
should pass. With --check nothing is written, and the exit status says whether the drawing is the one that would be.
"""

import sys
from html import escape
from pathlib import Path

import speed_table

CHART = Path(__file__).resolve().parent.parent / "docs" / "speed.svg"
LEFT, WIDTH, RIGHT = 230, 470, 60
BAR, GAP, HEAD = 15, 14, 52
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .title { font-weight: 600 } .small { font-size: 11px }
.ours { fill: #7a3fb5 } .peer { fill: #a8b0b9 } .floor { stroke: #d1242f; stroke-width: 2 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #b48ae0 } .peer { fill: #6b747e } }
"""


def floor(result: dict) -> float:
    """Tokens a second that reading the weights would allow."""
    return result["read_bandwidth_gb_per_second"] * 1e9 / result["bytes_per_token"]


def bar(kind: str, value: float, scale: float, y: int) -> str:
    width = value * scale
    return (
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}"/>'
        f'<text class="small" x="{LEFT + width + 5:.1f}" y="{y + BAR - 3}">{value:.0f}</text>'
    )


def rows(result: dict, scale: float, y: int) -> tuple[list[str], int]:
    peer = result.get("peer_decode_tokens_per_second")
    height = 2 * BAR if peer else BAR
    name = result["model"].removesuffix(".gguf")
    lines = [f'<text x="{LEFT - 10}" y="{y + height / 2 + 4:.0f}" text-anchor="end">{escape(name)}</text>']
    lines.append(bar("ours", result["decode_tokens_per_second"], scale, y))
    if peer:
        lines.append(bar("peer", peer, scale, y + BAR))
    x = LEFT + floor(result) * scale
    lines.append(f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3}" y2="{y + height + 3}"/>')
    return lines, y + height + GAP


def legend(peer: str, y: int) -> list[str]:
    return [
        f'<rect class="ours" x="{LEFT}" y="{y}" width="12" height="12"/>',
        f'<text class="small" x="{LEFT + 17}" y="{y + 10}">viva_tensor</text>',
        f'<rect class="peer" x="{LEFT + 100}" y="{y}" width="12" height="12"/>',
        f'<text class="small" x="{LEFT + 117}" y="{y + 10}">{escape(peer)}</text>',
        f'<line class="floor" x1="{LEFT + 196}" x2="{LEFT + 196}" y1="{y - 1}" y2="{y + 13}"/>',
        f'<text class="small" x="{LEFT + 204}" y="{y + 10}">reading the weights, nothing else</text>',
    ]


def chart() -> str:
    groups = sorted(speed_table.groups().items())
    results = [result for _, group in groups for result in group]
    if not results:
        sys.exit("speed_chart: there are no results in bench/results/ to draw.")
    peer = next((result["peer"] for result in results if "peer" in result), "peer")
    highest = max(max(floor(result), result["decode_tokens_per_second"]) for result in results)
    scale = WIDTH / highest
    lines, y = legend(peer, 30), HEAD + 8
    for (machine, commit), group in groups:
        lines.append(f'<text class="small" x="{LEFT}" y="{y + 6}">{escape(f"{machine}; commit {commit}")}</text>')
        y += 16
        for result in sorted(group, key=lambda result: -result["bytes_per_token"]):
            drawn, y = rows(result, scale, y)
            lines += drawn
    title = "Decoding, tokens a second (longer is better)"
    width = LEFT + WIDTH + RIGHT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            f'<text class="title" x="{LEFT}" y="18">{title}</text>',
            *lines,
            "</svg>",
            "",
        ]
    )


def main() -> None:
    wanted = chart()
    if sys.argv[1:] == ["--check"]:
        same = CHART.is_file() and CHART.read_text(encoding="utf-8") == wanted
        sys.exit(0 if same else "speed_chart: docs/speed.svg is not what bench/results says; make speed draws it.")
    CHART.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
