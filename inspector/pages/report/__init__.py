"""The page of `inspector report`: a template, a style sheet and a script, put into one file."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from inspector.files import write_text
from inspector.render.colormap import color_table

COLORMAPS = ("viridis", "magma", "inferno", "grey", "diverging")


def write_page(
    path: Path, document: Mapping[str, Any], sprites: Sequence[Sequence[str]], channels: Sequence[str]
) -> Path:
    """Write the page to `path`.

    document: what :func:`inspector.pages.report.collect.write_report` collected.
    sprites: for each picture the layers' PNGs as base64.
    channels: for each picture the numbers of all channels as base64.
    Raises OutputError when the file cannot be written.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    environment.filters["number"] = lambda value: f"{value:,}"
    assets = resources.files(__package__)
    tables = {name: base64.b64encode(color_table(name).tobytes()).decode() for name in COLORMAPS}
    text = environment.from_string(assets.joinpath("page.html.j2").read_text("utf-8")).render(
        document=document,
        data=_script({**document, "colormaps": tables}),
        sprites=sprites,
        channels=channels,
        style=assets.joinpath("page.css").read_text("utf-8"),
        script=assets.joinpath("page.js").read_text("utf-8"),
    )
    # Lone surrogates, which file names may hold, have no place in UTF-8.
    return write_text(path, text.encode("utf-8", "replace").decode("utf-8"))


def _script(document: Mapping[str, Any]) -> str:
    """JSON that may stand in a script element: nothing in it ends the element or begins a comment."""
    text = json.dumps(_finite(document), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have; a broken network makes them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, list | tuple) else value
