"""What a notebook shows of a result: pieces of HTML and PNG, made when they are shown.

A class shows itself by a method `_repr_html_` or `_repr_png_`, which hands its plain values to a function of this file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2.environment import TemplateModule
    from PIL.Image import Image

MOST_PICTURES = 8
"""Pictures that one result puts into a notebook; a notebook keeps them all in its file."""


def show_table(headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> str:
    """A table.

    Args:
        headers: The words above the columns.
        rows: A value for each column; numbers are aligned to the right.
        caption: A line above the table.

    Returns:
        HTML.
    """
    return _render("table", headers=headers, rows=rows, caption=caption)


def show_bars(rows: Sequence[tuple[str, float | None]], caption: str = "") -> str:
    """Shares as bars.

    Args:
        rows: A label and its share in [0, 1] each; None or NaN where there is no number.
        caption: A line above the bars.

    Returns:
        HTML.
    """
    return _render("bars", rows=[(label, _share(value)) for label, value in rows], caption=caption)


def show_verdict(passed: bool, sentence: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A verdict and the reasons for it.

    Args:
        passed: Whether it is good.
        sentence: The verdict in words.
        rows: What was checked: `status`, `id` and `message` each.

    Returns:
        HTML.
    """
    return _render("verdict", passed=passed, sentence=sentence, rows=rows)


def show_pictures(pictures: Sequence[tuple[str, Path | bytes]], caption: str = "") -> str:
    """Pictures with a line below each.

    Args:
        pictures: A line, and a PNG as the path of its file or as its bytes. Of more than MOST_PICTURES some are shown,
            evenly spread.
        caption: A line above them.

    Returns:
        HTML with the pictures inside. A file that is gone by now is named instead.
    """
    step = max(1, -(-len(pictures) // MOST_PICTURES))
    shown = [(line, _data_url(png), png) for line, png in pictures[::step]]
    left_out = len(pictures) - len(shown)
    return _render("pictures", pictures=shown, caption=caption, left_out=left_out)


def to_png(picture: Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def read_png(path: Path | None) -> bytes | None:
    """The bytes of a PNG that a result wrote; None where there is none or it is gone."""
    try:
        return path.read_bytes() if path is not None else None
    except OSError:
        return None


def _data_url(png: Path | bytes) -> str:
    data = png if isinstance(png, bytes) else read_png(png)
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if data is not None else ""


def _share(value: float | None) -> float | None:
    return min(max(value, 0.0), 1.0) if value is not None and value == value else None


def _render(macro: str, **values: Any) -> str:
    return str(getattr(_macros(), macro)(**values)).strip()


@lru_cache(maxsize=1)
def _macros() -> TemplateModule:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = Path(__file__).with_suffix(".html.j2").read_text("utf-8")
    return environment.from_string(text).module
