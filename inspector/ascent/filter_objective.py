"""What is asked of each channel of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inspector.errors import UsageError
from inspector.image import ImageSource, digest_image
from inspector.layers import Layer


@dataclass(frozen=True)
class FilterObjective:
    """What is asked of each channel of a layer.

    Args:
        unit: Take the unit in the middle of the map instead of the mean of the whole map.
        negative: Make as little of it as possible instead of as much.
        variants: Number of pictures for each channel, pushed apart from one another.
        start: A picture to start from instead of noise.
        keep: (layer, weight): what of the starting picture must stay the same.
    """

    unit: bool = False
    negative: bool = False
    variants: int = 1
    start: ImageSource | None = None
    keep: tuple[Layer, float] | None = None

    def __post_init__(self) -> None:
        if self.variants < 1:
            raise UsageError("a batch and the pictures of a channel must be 1 or more")

    @property
    def method(self) -> str:
        """What the search is called."""
        return f"gradient {'descent' if self.negative else 'ascent'}"

    @property
    def start_digest(self) -> str:
        """SHA-256 of the picture to start from; empty where there is none."""
        return digest_image(self.start) if self.start is not None else ""

    def settings(self) -> dict[str, str]:
        """What the record of a picture says of it, beside the method and the picture to start from."""
        settings = {"objective": "unit in the middle" if self.unit else "channel mean"}
        return settings | ({"kept": f"{self.keep[0].name}:{self.keep[1]:g}"} if self.keep else {})

    def to_json(self) -> dict[str, Any]:
        """As JSON, with the digest of the picture to start from."""
        return {
            "unit": self.unit,
            "negative": self.negative,
            "variants": self.variants,
            "start": self.start_digest or None,
            "keep": [self.keep[0].name, self.keep[1]] if self.keep else None,
        }

    def sentence(self) -> str:
        """What the pictures show and how they were made, for people."""
        what = "what silences" if self.negative else "what excites"
        whom = "the unit in the middle of each channel" if self.unit else "each channel"
        start = "from noise" if self.start is None else "from a picture"
        kept = f", staying the same to {self.keep[0].name} (weight {self.keep[1]:g})" if self.keep else ""
        return f"{what} {whom} most: {self.method} {start}{kept}"
