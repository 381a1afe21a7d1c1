"""Pages from templates: one base for all of them, escaping by default, whole in one file."""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from inspector.files import write_text
from inspector.provenance import Provenance
from inspector.render.text import format_percent, format_value
from inspector.text import without_surrogates

if TYPE_CHECKING:
    import jinja2


def write_page(path: Path, template: str, provenance: Provenance, **values: Any) -> Path:
    """Write a page that opens from a file and loads nothing from elsewhere.

    Args:
        path: Where to.
        template: Name of a file in ``templates/``, without its ending.
        provenance: What made the page; it stands in the page's head.
        values: What the template asks for. Texts are escaped.

    Raises:
        OutputError: The file cannot be written.
    """
    text = load_template(template).render(provenance=provenance, **values)
    return write_text(path, without_surrogates(text) + "\n")


@lru_cache(maxsize=8)
def load_template(name: str) -> jinja2.Template:
    """A template of ``templates/`` by its name without the ending, made ready once."""
    return _environment().get_template(f"{name}.html.j2")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("inspector.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "number": format_value,
        "percent": format_percent,
        "share": _share,
        "address": _address,
        "grouped": lambda value: f"{value:,}",
    }
    environment.globals["asset"] = read_asset
    return environment


def read_asset(name: str) -> str:
    """A style sheet or script of ``templates/``, as it is."""
    return (resources.files(__package__) / "templates" / name).read_text("utf-8")


def _share(probability: float) -> float:
    """A probability that a bar can show: within [0, 1], and 0 for NaN and the infinities."""
    return min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0


def _address(name: str) -> str:
    """A file's name, relative to the page, as an address."""
    return quote(name, safe="/", errors="replace")
