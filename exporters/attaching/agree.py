"""Whether attached outputs say what the library computes itself, and the network's own outputs what they said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.attaching.workbench import AttachedOutput
from inspector.agreement import Agreement
from inspector.cam.attached import HALF_ROUNDING, Claim, check_claims
from inspector.errors import NotComputable
from inspector.metadata import AttachedEntry
from inspector.model import Model

Array = NDArray[Any]
UNTOUCHED = 1e-4
"""Largest difference of the network's own outputs, as a share: a runtime may join other nodes than before."""


def make_noise(model: Model) -> list[Array]:
    """Pictures for a comparison, uint8 (H, W, 3): noise of three sizes, the same every time."""
    height, width = model.preprocess.size or (224, 224)
    rng = np.random.default_rng(0)
    made = []
    for cells in (4, 9, 20):
        coarse = rng.integers(0, 256, (cells, cells, 3), np.uint8)
        rows, columns = (np.arange(side) * cells // side for side in (height, width))
        made.append(coarse[rows][:, columns])
    return made


def compare_outputs(
    source: Model, made: Model, outputs: Sequence[AttachedOutput], pictures: Sequence[Any]
) -> list[Agreement]:
    """A row for each output of the file: the network's own against the source, the attached against the library.

    Args:
        source: The model as it was.
        made: The file with attached outputs.
        outputs: These.
        pictures: What `open_image` takes.
    """
    assert made.attached is not None
    least = HALF_ROUNDING if source.graph.half_precision else 0.0
    tensors = [source.tensor(picture) for picture in pictures]
    own = [name for name in source.graph.outputs if name in source.graph.producer_of]
    names = [*own, *(one.name for one in outputs)]
    runs = [made.attached.run(made.input.name, tensor, names, made.input.batch) for tensor in tensors]
    before = [source.run(tensor, own) for tensor in tensors]
    rows = [
        find_worst_claim(
            name, [Claim(a[name], run[name]) for a, run in zip(before, runs, strict=True)], max(UNTOUCHED, least)
        )
        for name in own
    ]
    for one in outputs:
        claims: list[Claim] = []
        for tensor, run in zip(tensors[: one.pictures], runs, strict=False):
            if one.expect is not None:
                claims.append(one.expect(tensor, run[one.name][:1]))
            claims += check_claims(made, one.entry, tensor, run[one.name])
        if claims:
            rows.append(find_worst_claim(one.name, claims, max(one.tolerance, least)))
    return rows


def find_worst_claim(name: str, claims: Sequence[Claim], tolerance: float) -> Agreement:
    """The row of the picture that differs most, those first that differ by more than is allowed."""
    return max((claim.compare(name, tolerance) for claim in claims), key=lambda row: (not row.ok, row.relative))


def check_rows(rows: Sequence[Agreement], source: Model, outputs: Sequence[AttachedOutput]) -> None:
    """Raise NotComputable where an output is further from what it should be than is allowed, with why if that is known.

    Args:
        rows: What was compared.
        source: The model as it was.
        outputs: What was attached to it.
    """
    bad = [row for row in rows if not row.ok]
    if bad:
        worst = max(bad, key=lambda row: row.relative)
        raise NotComputable(
            f"the attached file differs at {worst.layer!r} by {worst.max_abs:.3g} of {worst.scale:.3g}"
            + next((_say_why(source, one.entry) for one in outputs if one.name == worst.layer), ""),
            "nothing was written",
        )


def _say_why(source: Model, entry: AttachedEntry) -> str:
    """What is known of why a map differs, as the end of a sentence."""
    if source.graph.half_precision and entry.meaning == "saliency":
        return ": in half precision the file and numpy take other sides of a bend, or other places of a maximum"
    if "boxes" in entry.settings:
        return (
            ": the file takes the largest score before it becomes a probability, and the detector another box, as "
            "where many scores round to the same number (int8) or a box is left out"
        )
    if entry.settings.get("method") != "gradcam++" or "layer" not in entry.settings:
        return ""
    layer = source.layer(entry.settings["layer"])
    for picture in make_noise(source):
        maps = layer.to_maps(source.layer_values(source.tensor(picture), [layer])[0][layer.name])
        if (maps.reshape(*maps.shape[:2], -1).sum(axis=2) < 0).any():
            return (
                f": gradcam++ divides by 2 G^2 + S G^3, which passes through 0 where a channel has a negative sum "
                f"S, as at {layer.name}, so that rounding decides the map; gradcam and layercam do not"
            )
    return ""
