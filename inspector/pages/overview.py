"""The overview: one HTML page in a folder, that opens from a file and needs no network."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from inspector.files import output_folder, write_text
from inspector.image import Box
from inspector.render.chart import DepthPoint, depth_trend, draw_depth_chart
from inspector.render.figure import fitted, mark_box, resized, scaled_box
from inspector.render.png import save_png
from inspector.render.text import number, percent


@dataclass(frozen=True)
class PageLayer:
    """One layer of the overview.

    shape: without the batch, (C, H, W) or (K,). low, high, mean, std: of the finite values.
    zero_fraction: in [0, 1]. blank: number of constant channels; None if that is not counted.
    grid: file name of its sheet, relative to the page; None if there is none. grid_size: its width and height.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    std: float
    zero_fraction: float
    blank: int | None = None
    grid: str | None = None
    grid_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class PagePictures:
    """What `draw_page_pictures` wrote: width and height of ``picture.png``, and of ``depth.png`` if there is one."""

    picture: tuple[int, int]
    chart: tuple[int, int] | None


def depth_points(layers: Iterable[tuple[str, str, float]]) -> list[DepthPoint]:
    """The chart's points, from name, kind and zero fraction of each layer, first to last."""
    return [DepthPoint(name, zero, kind == "activation") for name, kind, zero in layers]


def draw_page_pictures(
    folder: str | os.PathLike[str],
    *,
    model: str,
    picture: Image.Image,
    picture_name: str,
    points: Sequence[DepthPoint],
    box: Box | None = None,
    text: Mapping[str, str] | None = None,
) -> PagePictures:
    """Write ``picture.png`` and, when there are points, ``depth.png``; arguments as for `write_overview`."""
    target = output_folder(folder)
    shown = fitted(picture.size, 640) if max(picture.size) > 640 or max(picture.size) < 128 else picture.size
    small = mark_box(resized(picture, shown), scaled_box(box, picture.size, shown))
    save_png(small, target / "picture.png", text)
    if not points:
        return PagePictures(small.size, None)
    chart = draw_depth_chart(points, subtitle=f"{model} · {picture_name}")
    save_png(chart, target / "depth.png", text)
    return PagePictures(small.size, chart.size)


def write_overview(
    folder: str | os.PathLike[str],
    *,
    model: str,
    picture: Image.Image,
    picture_name: str,
    predictions: Sequence[tuple[str, float]],
    layers: Sequence[PageLayer],
    box: Box | None = None,
    facts: Mapping[str, str] | None = None,
    text: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    pictures: PagePictures | None = None,
) -> Path:
    """Write ``index.html``, ``picture.png`` and ``depth.png`` into `folder`; return the path of the page.

    The sheets that `layers` name must be in the folder, or get there. The page is written last, so that a folder
    with a page is complete.

    model, picture_name: as people know them. predictions: label and probability in [0, 1], best first; may be empty.
    box: the part of the picture the network saw, in picture pixels. facts: name and value lines for the foot, such as
    digests and versions. text: for the text chunks of the pictures. notes: sentences shown at the top.
    pictures: what `draw_page_pictures` wrote for the same arguments, if that was done already, beside other work.

    Raises OutputError when a file cannot be written.
    """
    target = output_folder(folder)
    points = depth_points((layer.name, layer.kind, layer.zero_fraction) for layer in layers)
    if pictures is None:
        pictures = draw_page_pictures(
            target, model=model, picture=picture, picture_name=picture_name, points=points, box=box, text=text
        )
    body = "\n".join(
        [
            _head(f"{_text(picture_name)} through {_text(model)}"),
            _top(model, picture, picture_name, pictures.picture, predictions, len(layers), notes),
            _depth(pictures.chart, points),
            _table(layers),
            _sheets(layers),
            _foot(facts or {}),
        ]
    )
    return write_text(target / "index.html", body)


@dataclass(frozen=True)
class IndexEntry:
    """One picture of several. page, picture: files relative to the index. predictions: label and probability."""

    name: str
    page: str
    picture: str
    predictions: Sequence[tuple[str, float]]


def write_index(folder: str | os.PathLike[str], *, model: str, entries: Sequence[IndexEntry]) -> Path:
    """Write ``index.html`` into `folder`, which leads to the page of every picture; return its path.

    Raises OutputError when it cannot be written.
    """
    cards = []
    for entry in entries:
        guesses = ", ".join(f"{_text(label)} {percent(min(max(p, 0.0), 1.0))}" for label, p in entry.predictions)
        cards.append(
            f'<a href="{_url(entry.page)}"><img loading="lazy" src="{_url(entry.picture)}" alt="">'
            f"<b>{_text(entry.name)}</b><small>{guesses}</small></a>"
        )
    title = f"{len(entries)} pictures through {_text(model)}"
    body = f'{_head(title)}\n<h1>{title}</h1>\n<div class="cards">\n{chr(10).join(cards)}\n</div>\n</body>\n</html>\n'
    return write_text(output_folder(folder) / "index.html", body)


def _text(value: str) -> str:
    # Lone surrogates, which file names may hold, have no place in UTF-8.
    return escape(value.encode("utf-8", "replace").decode("utf-8"), quote=True)


def _url(name: str) -> str:
    return escape(quote(name, safe="/", errors="replace"), quote=True)


def _head(title: str) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>"""


def _top(
    model: str,
    picture: Image.Image,
    picture_name: str,
    size: tuple[int, int],
    predictions: Sequence[tuple[str, float]],
    count: int,
    notes: Sequence[str],
) -> str:
    rows = []
    for label, probability in predictions:
        share = min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0
        rows.append(
            f'<li><span class="label">{_text(label)}</span><span class="value">{percent(share)}</span>'
            f'<span class="bar"><i style="width:{share * 100:.1f}%"></i></span></li>'
        )
    guesses = f'<h2>What it sees</h2><ol class="guesses">{"".join(rows)}</ol>' if rows else ""
    remarks = "".join(f"<p>{_text(note)}</p>" for note in notes)
    return f"""<header>
<h1>What {_text(model)} makes of {_text(picture_name)}</h1>
<p class="lead">{count} layers, each drawn below channel by channel. <a href="#layers">Table of layers</a></p>
{remarks}
<div class="top">
<figure><img class="picture" src="picture.png" width="{size[0]}" height="{size[1]}" alt="The input picture">
<figcaption>{_text(picture_name)}, {picture.width} × {picture.height} pixels</figcaption></figure>
<section>{guesses}</section>
</div>
</header>"""


def _depth(chart: tuple[int, int] | None, points: Sequence[DepthPoint]) -> str:
    if chart is None:
        return ""
    return f"""<p class="narrow">{_text(depth_trend(points))}</p>
<section class="wide depth">
<img class="chart" src="depth.png" width="{chart[0]}" height="{chart[1]}"
alt="Chart of the zero fraction of every layer. {_text(depth_trend(points))}">
</section>"""


def _table(layers: Sequence[PageLayer]) -> str:
    rows = []
    for n, layer in enumerate(layers):
        blank = "" if layer.blank is None else str(layer.blank)
        zero = layer.zero_fraction
        rows.append(
            f'<tr><th scope="row"><a href="#layer-{n}">{_text(layer.name)}</a></th>'
            f'<td><div class="zero"><span class="bar"><i style="width:{zero * 100:.1f}%"></i></span>'
            f"<span>{percent(zero)}</span></div></td><td>{blank}</td>"
            f'<td class="kind">{_text(layer.kind)}</td><td>{_shape(layer.shape)}</td>'
            + "".join(f"<td>{number(v)}</td>" for v in (layer.low, layer.high, layer.mean, layer.std))
            + "</tr>"
        )
    return f"""<section id="layers">
<h2>Layers</h2>
<div class="wide"><table>
<thead><tr><th scope="col">layer</th>
<th scope="col" title="share of the values that are exactly 0">zeros</th>
<th scope="col" title="channels whose map is constant on this picture">constant</th>
<th scope="col" class="kind">kind</th><th scope="col">shape</th>
<th scope="col">min</th><th scope="col">max</th><th scope="col">mean</th><th scope="col">std</th></tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody></table></div>
</section>"""


def _sheets(layers: Sequence[PageLayer]) -> str:
    out = []
    for n, layer in enumerate(layers):
        if layer.grid is None:
            sheet = "<p>No sheet was drawn for this layer.</p>"
        else:
            width, height = layer.grid_size
            sheet = (
                f'<a class="wide" href="{_url(layer.grid)}"><img loading="lazy" src="{_url(layer.grid)}" '
                f'width="{width}" height="{height}" alt="Every channel of {_text(layer.name)}"></a>'
            )
        out.append(
            f'<section class="sheet" id="layer-{n}"><h3>{_text(layer.name)} '
            f"<small>{_text(layer.kind)} · {_shape(layer.shape)}</small> "
            f'<a class="up" href="#layers">to the table</a></h3>{sheet}</section>'
        )
    return "\n".join(out)


def _foot(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{_text(key)}</dt><dd>{_text(value)}</dd>" for key, value in facts.items())
    return f"<footer><dl>{rows}</dl></footer>\n</body>\n</html>\n"


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(str(size) for size in shape)


_STYLE = """
:root { --paper: #fff; --ink: #1b1b1f; --muted: #62626b; --rule: #dcdce2; --accent: #44399a; --soft: #ecebf5; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16161a; --ink: #ececf1; --muted: #a2a2ad; --rule: #37373f; --accent: #a49af0; --soft: #2a2938; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0 auto; max-width: 1240px; padding: 24px 20px 60px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 1.8em 0 .5em; }
h3 { font-size: 1rem; margin: 0 0 .6em; overflow-wrap: anywhere; }
small, .lead, figcaption, footer { color: var(--muted); font-weight: 400; }
a { color: var(--accent); }
img { max-width: 100%; height: auto; display: block; border-radius: 4px; background: #fff; }
figure { margin: 0; }
figcaption { font-size: .875rem; margin-top: 6px; overflow-wrap: anywhere; }
.top { display: grid; grid-template-columns: minmax(0, 420px) minmax(0, 1fr); gap: 8px 36px; margin-top: 20px; }
.top h2 { margin-top: 0; }
.picture { width: 100%; max-height: 420px; object-fit: contain; object-position: left top; background: none; }
.guesses { list-style: none; padding: 0; margin: 0; max-width: 460px; }
.guesses li { display: grid; grid-template-columns: 1fr auto; gap: 2px 12px; margin-bottom: 14px; }
.guesses .label { overflow-wrap: anywhere; }
.guesses .value { font-variant-numeric: tabular-nums; }
.guesses .bar { grid-column: 1 / -1; }
.bar { display: block; height: 8px; border-radius: 4px; background: var(--soft); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--accent); }
.wide { display: block; overflow-x: auto; }
.depth { margin-top: 32px; }
.narrow { display: none; }
.chart { max-width: none; width: 100%; min-width: 820px; }
table { border-collapse: collapse; font-size: .875rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
th:first-child, .kind { text-align: left; }
thead th { color: var(--muted); font-weight: 500; }
tbody th { font-weight: 400; }
.zero { display: flex; align-items: center; justify-content: flex-end; gap: 8px; }
.zero .bar { width: 90px; flex: none; }
.zero span:last-child { min-width: 3.6em; }
.sheet { border-top: 1px solid var(--rule); margin-top: 28px; padding-top: 18px; scroll-margin-top: 8px; }
/* On a small screen a sheet scrolls, as the chart does, before its tiles get too small to see. */
.sheet img { max-width: max(100%, 820px); }
.sheet .up { font-size: .8125rem; font-weight: 400; margin-left: .6em; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 24px; margin-top: 20px; }
.cards a { display: block; color: var(--ink); text-decoration: none; overflow-wrap: anywhere; }
.cards a:hover b { color: var(--accent); text-decoration: underline; }
.cards img { width: 100%; height: 180px; object-fit: contain; object-position: left bottom; background: none; }
.cards b, .cards small { display: block; font-size: .875rem; }
footer { border-top: 1px solid var(--rule); margin-top: 40px; padding-top: 16px; font-size: .8125rem; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 16px; margin: 0; }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 700px) {
  body { padding: 16px 14px 40px; }
  .top { grid-template-columns: minmax(0, 1fr); gap: 20px; }
  .narrow { display: block; margin: 28px 0 -16px; }
  .zero .bar { display: none; }
  tbody th { white-space: normal; overflow-wrap: anywhere; min-width: 9em; }
}
@media print { .sheet { break-inside: avoid; } }
"""
