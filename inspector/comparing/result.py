"""What a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inspector.comparing.matching import MatchKind
from inspector.text import to_plain


@dataclass(frozen=True)
class LayerDifference:
    """How far one pair of layers is apart.

    Attributes:
        layer: Name of A's layer.
        b_layer: Name of B's.
        tensor: A's tensor.
        b_tensor: B's tensor.
        kind: The kind of A's layer.
        matched: What told that the two are one.
        a_shape: Of A's values on the last picture, channels first.
        b_shape: Of B's.
        sqnr_db: 10 log10(sum a^2 / sum (a - b)^2) over the pictures, in [-100, 100].
        max_abs: Largest difference.
        worst_channel: The channel with the lowest ratio, of those with at least 1 % of the layer's mean power.
        worst_channel_db: Its ratio.
        cka: Linear CKA over the pictures, in [0, 1]; None for fewer than three.
        own_db: The ratio where B's layer is computed from A's values before it; None where that cannot be run.
        began: The share of the drift that began here and not before, in [0, 1]; None as above.
        excess: How many times the own error is what rounding explains, in the channel where it is most.
        parted: Whether that is more than once.
        channels_db: float64 (C,), the ratio of each channel.
        note: Why nothing could be measured; else empty.
    """

    layer: str
    b_layer: str
    tensor: str
    b_tensor: str
    kind: str
    matched: MatchKind
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    sqnr_db: float
    max_abs: float
    worst_channel: int
    worst_channel_db: float
    cka: float | None
    own_db: float | None
    began: float | None
    excess: float | None
    parted: bool
    channels_db: NDArray[np.float64] = field(repr=False, compare=False)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The row of a JSON document."""
        names = (
            "layer", "b_layer", "tensor", "b_tensor", "kind", "matched", "a_shape", "b_shape", "sqnr_db", "max_abs",
            "worst_channel", "worst_channel_db", "cka", "own_db", "began", "excess", "parted", "note",
        )  # fmt: skip
        row: dict[str, Any] = to_plain({name: getattr(self, name) for name in names})
        return row


@dataclass(frozen=True)
class FlippedPicture:
    """A picture that the two do not answer alike.

    Attributes:
        path: The picture.
        a: What A says, in words.
        b: What B says.
        a_class: A's top class; None where the answers are no classes.
        b_class: B's.
    """

    path: str
    a: str = ""
    b: str = ""
    a_class: int | None = None
    b_class: int | None = None


@dataclass(frozen=True)
class AnswerDifference:
    """How far the answers of two networks agree.

    Attributes:
        agreement: Share of the pictures with one top class, of boxes that are matched, or of pixels with one class;
            None where there are no answers to compare.
        flipped: The pictures that changed.
    """

    agreement: float | None = None
    flipped: tuple[FlippedPicture, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The part of a JSON document."""
        return {
            "agreement": self.agreement,
            "flipped": [x.path for x in self.flipped],
            "changes": [{"path": x.path, "a": x.a, "b": x.b} for x in self.flipped],
        }


@dataclass(frozen=True)
class ModelDifference:
    """Where two networks part.

    Attributes:
        a_name: What A is called.
        b_name: What B is called.
        parted: The first layer whose own error is more than rounding explains; None without one.
        layers: Every pair of layers, in the order of A.
        only_a: Layers of A without a counterpart.
        only_b: Layers of B without one.
        answers: How far the answers agree.
        pictures: How many pictures were compared.
        notes: What was found besides, in sentences.
    """

    a_name: str
    b_name: str
    parted: LayerDifference | None
    layers: tuple[LayerDifference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    answers: AnswerDifference
    pictures: int
    notes: tuple[str, ...] = ()

    @property
    def lowest(self) -> LayerDifference | None:
        """The layer with the lowest ratio; None where no layer was matched."""
        return min(self.layers, key=lambda x: x.sqnr_db) if self.layers else None

    def is_below(self, limit: float) -> bool:
        """Whether a layer is below `limit` dB, or none could be compared."""
        return self.lowest is None or self.lowest.sqnr_db < limit

    def to_json(self) -> dict[str, Any]:
        """The part of a JSON document."""
        parted = None
        if self.parted is not None:
            parted = {
                "layer": self.parted.layer,
                "tensor": self.parted.tensor,
                "b_layer": self.parted.b_layer,
                "b_tensor": self.parted.b_tensor,
            }
        return {
            "a": self.a_name,
            "b": self.b_name,
            "parted": parted,
            "layers": [x.to_json() for x in self.layers],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "answers": self.answers.to_json(),
            "pictures": self.pictures,
            "notes": list(self.notes),
        }


def find_parted(layers: Sequence[LayerDifference]) -> LayerDifference | None:
    """The first layer that parted."""
    return next((x for x in layers if x.parted), None)
