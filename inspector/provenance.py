"""What made a file: one record, written into every picture, page and document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from inspector.records import record
from inspector.text import to_plain
from inspector.version import __version__

TOOL = "inspector"


@record
class Provenance:
    """What made a picture, a page or a document. The same values and versions make the same file again.

    Args:
        model: SHA-256 of the model, its graph and its weights, as hex digits; empty where it is not known.
        image: SHA-256 of the picture that was looked at, as hex digits; empty where there was none.
        layer: Name of the layer that is shown; empty where it is none or all of them.
        method: How it was made: the name of a class activation map, "gradient ascent", ...
        seed: Seed of the random numbers; None where there are none.
        settings: Whatever else changes the result, by the name of the option.
        version: Version of this tool.

    Example:
        >>> made = Provenance(model="abc", method="gradcam", settings={"class": "tabby"})
        >>> made.png_info()["Class"]
        'tabby'
    """

    model: str = ""
    image: str = ""
    layer: str = ""
    method: str = ""
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__

    def with_(self, **changes: Any) -> Provenance:
        """A copy with some fields replaced; `settings` are added to those that there are."""
        added = changes.pop("settings", {})
        return replace(self, settings={**self.settings, **added}, **changes)

    def png_info(self) -> dict[str, str]:
        """Keyword and text of each chunk of a PNG file: what is empty is left out, settings follow the fixed keys."""
        info = {"Software": f"{TOOL} {self.version}", "Model": self.model, "Image": self.image}
        info |= {"Layer": self.layer, "Method": self.method, "Seed": "" if self.seed is None else str(self.seed)}
        info |= {key.replace("_", " ").capitalize(): _as_text(value) for key, value in self.settings.items()}
        return {key: text for key, text in info.items() if text}

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object; every key is always there."""
        return {
            "tool": TOOL,
            "version": self.version,
            "model": self.model or None,
            "image": self.image or None,
            "layer": self.layer or None,
            "method": self.method or None,
            "seed": self.seed,
            "settings": to_plain(self.settings),
        }


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    # repr keeps every digit of a number, so that it can be read back.
    return repr(value) if isinstance(value, float) else str(value)
