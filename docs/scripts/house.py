"""Draws docs/house.svg and writes the rows of docs/architecture.md, both from the contract in pyproject.toml.

Usage: python docs/scripts/house.py

tests/test_house.py compares what is drawn and written here with what stands in the files.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
DRAWING = ROOT / "docs" / "house.svg"
MARKS = {
    "inspector": ("<!-- arrows: written by docs/scripts/house.py -->", "<!-- end of arrows -->"),
    "exporters": ("<!-- inner arrows: written by docs/scripts/house.py -->", "<!-- end of inner arrows -->"),
}
"""What stands before and behind the rows of each package in the page."""

WIDTH, HEIGHT, GAP, ROW = 132, 34, 10, 52
COLORS = {True: ("#e3edf7", "#2f5d8a"), False: ("#fde3c8", "#b4690e")}
"""Fill and edge of a box: whether it runs without torch."""


def read_rows() -> list[list[str]]:
    """The rows of the house from the top: the packages of `inspector` that stand beside each other."""
    return _read_layers("arrows", "inspector")


def read_makers() -> list[list[str]]:
    """The same for the packages of `exporters`, which makes models."""
    return _read_layers("inner-arrows", "exporters")


def _read_layers(contract: str, package: str) -> list[list[str]]:
    rows = [re.findall(r"[a-z_]+", row) for row in _read_contract(contract)["layers"]]
    there = [[name for name in row if _stands(package, name)] for row in rows]
    return [row for row in there if row]


def read_light() -> set[str]:
    """The names of packages that need no torch, without `inspector.` and `exporters.`."""
    return {name.partition(".")[2] for name in _read_contract("torch")["source_modules"]}


def _read_contract(name: str) -> dict[str, Any]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [contract] = [contract for contract in contracts if contract["id"] == name]
    return contract  # type: ignore[no-any-return]


def _stands(package: str, name: str) -> bool:
    folder = ROOT / package / name
    return folder.is_dir() or folder.with_suffix(".py").is_file()


def write_rows(rows: list[list[str]]) -> str:
    """The rows as a numbered list."""
    return "\n".join(f"{k}. {', '.join(f'`{name}`' for name in row)}" for k, row in enumerate(rows, 1))


def replace_rows(page: str) -> str:
    """The text of the page with the rows between the marks of both packages written anew."""
    for package, rows in (("inspector", read_rows()), ("exporters", read_makers())):
        begin, end = MARKS[package]
        before, rest = page.split(begin, 1)
        after = rest.split(end, 1)[1]
        page = f"{before}{begin}\n{write_rows(rows)}\n{end}{after}"
    return page


def draw() -> str:
    """The house as SVG: a row of boxes for each row of the contract, and the makers in a frame beside them."""
    rows, makers = read_rows(), read_makers()
    inner, outer = _measure(rows), _measure(makers)
    left, top, side = 24, 56, 24 + _measure(rows) + 70
    width, height = side + outer + 34, top + len(rows) * ROW + 62
    callers = [k for k, row in enumerate(rows) if {"cli", "api"} & set(row)]
    callee = next(k for k, row in enumerate(rows) if "cam" in row)
    first = max(callers) + 2
    x, y, centre = side - 10, top + first * ROW - 10, side + outer / 2
    right = left + (inner + _measure([rows[callee]])) / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="14" text-anchor="middle">',
        "<title>The packages of inspector and exporters; a package imports only what stands below it</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left + inner / 2}" y="32" font-weight="bold" fill="#222222">inspector</text>',
        f'<text x="{x}" y="{y - 8}" text-anchor="start" font-weight="bold" fill="#222222">exporters</text>',
        *_stack(rows, left, top),
        f'<rect x="{x}" y="{y}" width="{outer + 20}" height="{(len(makers) - 1) * ROW + HEIGHT + 20}" rx="8" '
        'fill="none" stroke="#777777" stroke-dasharray="4 3"/>',
        *_stack(makers, side, top + first * ROW),
        # Each caller has its own arrow to the frame, the upper one farther out.
        *(
            _bent(
                f"M{left + (inner + _measure([rows[k]])) / 2} {top + k * ROW + HEIGHT / 2} "
                f"H{centre + 20 * (len(callers) - 1 - n)} V{y - 1}"
            )
            for n, k in enumerate(callers)
        ),
        _bent(f"M{x} {top + callee * ROW + HEIGHT / 2} H{right + 1}"),
        *_explain(left, top + len(rows) * ROW + 18),
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#777777"/></marker></defs>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _measure(rows: list[list[str]]) -> int:
    """The width of the longest row."""
    return max(len(row) for row in rows) * (WIDTH + GAP) - GAP


def _stack(rows: list[list[str]], left: float, top: float) -> list[str]:
    """The boxes of the rows, each row centred below the other, with an arrow from row to row."""
    inner, light, lines = _measure(rows), read_light(), []
    for number, row in enumerate(rows):
        start, y = left + (inner - _measure([row])) / 2, top + number * ROW
        if number:
            lines.append(_bent(f"M{left + inner / 2} {y - ROW + HEIGHT} V{y - 1}"))
        lines += [_box(start + k * (WIDTH + GAP), y, name, name in light) for k, name in enumerate(row)]
    return lines


def _explain(left: float, y: float) -> list[str]:
    """The legend: two colors and the arrows."""
    lines = []
    for shift, light, words in ((0, True, "runs without torch"), (190, False, "needs torch")):
        fill, stroke = COLORS[light]
        lines += [
            f'<rect x="{left + shift}" y="{y - 12}" width="16" height="16" rx="3" fill="{fill}" stroke="{stroke}"/>',
            f'<text x="{left + shift + 24}" y="{y + 1}" text-anchor="start" fill="#222222">{words}</text>',
        ]
    words = "An arrow: may import the row that it points at, and every row below that; nothing above, nothing beside."
    return [*lines, f'<text x="{left}" y="{y + 24}" text-anchor="start" fill="#222222">{words}</text>']


def _box(x: float, y: float, name: str, light: bool) -> str:
    fill, stroke = COLORS[light]
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="{stroke}"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + 22}" fill="#222222">{name}</text>'
    )


def _bent(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#777777" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    DRAWING.write_text(draw(), "utf-8")
    PAGE.write_text(replace_rows(PAGE.read_text("utf-8")), "utf-8")
