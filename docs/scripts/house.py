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
BEGIN, END = "<!-- arrows: written by docs/scripts/house.py -->", "<!-- end of arrows -->"

WIDTH, HEIGHT, GAP, ROW = 132, 34, 10, 52


def read_rows() -> list[list[str]]:
    """The rows of the house from the top: the packages of `inspector` that stand beside each other."""
    rows = [re.findall(r"[a-z_]+", row) for row in _read_contract("arrows")["layers"]]
    there = [[name for name in row if _stands(name)] for row in rows]
    return [row for row in there if row]


def read_makers() -> list[str]:
    """The packages of `exporters`."""
    return sorted(path.parent.name for path in (ROOT / "exporters").glob("*/__init__.py"))


def read_light() -> set[str]:
    """The names of packages that need no torch, without `inspector.` and `exporters.`."""
    return {name.partition(".")[2] for name in _read_contract("torch")["source_modules"]}


def _read_contract(name: str) -> dict[str, Any]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [contract] = [contract for contract in contracts if contract["id"] == name]
    return contract  # type: ignore[no-any-return]


def _stands(name: str) -> bool:
    folder = ROOT / "inspector" / name
    return folder.is_dir() or folder.with_suffix(".py").is_file()


def write_rows() -> str:
    """The rows as a numbered list."""
    return "\n".join(f"{k}. {', '.join(f'`{name}`' for name in row)}" for k, row in enumerate(read_rows(), 1))


def replace_rows(page: str) -> str:
    """The text of the page with the rows between the two marks written anew."""
    before, rest = page.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n{write_rows()}\n{END}{after}"


def draw() -> str:
    """The house as SVG: a row of boxes for each row of the contract, and the makers beside them."""
    rows, makers, light = read_rows(), read_makers(), read_light()
    across = max(len(row) for row in rows)
    inner = across * (WIDTH + GAP) - GAP
    left, top = 24, 56
    side = left + inner + 70
    width, height = side + WIDTH + 24, top + len(rows) * ROW + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="14" text-anchor="middle">',
        "<title>The packages of inspector and exporters; a package imports only what stands below it</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{left + inner / 2}" y="32" font-weight="bold" fill="#222222">inspector</text>',
        f'<text x="{side + WIDTH / 2}" y="32" font-weight="bold" fill="#222222">exporters</text>',
    ]
    for number, row in enumerate(rows):
        start = left + (inner - len(row) * (WIDTH + GAP) + GAP) / 2
        y = top + number * ROW
        if number:
            lines.append(_arrow(left + inner / 2, y - ROW + HEIGHT, y))
        lines += [_box(start + k * (WIDTH + GAP), y, name, name in light) for k, name in enumerate(row)]
    first = next(k for k, row in enumerate(rows) if "pages" in row)
    lines += [_box(side, top + (first + k) * ROW, name, name in light) for k, name in enumerate(makers)]
    x, y = side - 10, top + first * ROW - 10
    wide, down = WIDTH + 20, (len(makers) - 1) * ROW + HEIGHT + 20
    lines.append(
        f'<rect x="{x}" y="{y}" width="{wide}" height="{down}" rx="8" fill="none" stroke="#777777" '
        'stroke-dasharray="4 3"/>'
    )
    centre = side + WIDTH / 2
    caller = left + (inner + WIDTH) / 2
    lines.append(_bent(f"M{caller} {top + HEIGHT / 2} H{centre} V{y - 1}"))
    callee = next(k for k, row in enumerate(rows) if "cam" in row)
    right = left + (inner + len(rows[callee]) * (WIDTH + GAP) - GAP) / 2
    lines.append(_bent(f"M{x} {top + callee * ROW + HEIGHT / 2} H{right + 1}"))
    legend = top + len(rows) * ROW + 18
    lines += [
        f'<rect x="{left}" y="{legend - 12}" width="16" height="16" rx="3" fill="#fde3c8" stroke="#b4690e"/>',
        f'<text x="{left + 24}" y="{legend + 1}" text-anchor="start" fill="#222222">'
        "needs torch. An arrow: may import this row and everything below it, nothing above.</text>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#777777"/></marker></defs>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _box(x: float, y: float, name: str, light: bool) -> str:
    fill, stroke = ("#e3edf7", "#2f5d8a") if light else ("#fde3c8", "#b4690e")
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="{stroke}"/>'
        f'<text x="{x + WIDTH / 2}" y="{y + 22}" fill="#222222">{name}</text>'
    )


def _arrow(x: float, start: float, end: float) -> str:
    return _bent(f"M{x} {start} V{end - 1}")


def _bent(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#777777" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    DRAWING.write_text(draw(), "utf-8")
    PAGE.write_text(replace_rows(PAGE.read_text("utf-8")), "utf-8")
