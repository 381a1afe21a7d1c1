"""What the page takes from outputs that `inspector attach` added, in place of what it would make itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspector.cam import finds_boxes
from inspector.model import Model
from inspector.model.attached import Attached

SALIENCY = "saliency"
"""What the gradient of the top score is called among the methods."""


def describe_attached(model: Model, attached: Attached, methods: Sequence[str], layer: str | None) -> dict[str, Any]:
    """Describe the attached outputs of a file for the page, which runs them with the network.

    Args:
        model: The model.
        attached: Its attached outputs.
        methods: Methods that the page can make itself.
        layer: The layer that these look at; None where there is none.

    Returns:
        ``probability``: the tensor, or None; ``unknown``: tensor and threshold, or None; ``maps``: for each method
        the tensor with the map of the likeliest class or the best box, that with the maps of all classes, the layer,
        and whether the page makes those that the file does not have.
    """
    probability, unknown = attached.find("probability"), attached.find("unknown")
    first, every, saliency = attached.find("cam"), attached.find("cam_classes"), attached.find("saliency")
    classes = model.classifier is not None
    maps: list[dict[str, Any]] = []
    if first is not None and (classes or finds_boxes(model)):
        method, at = str(first.settings["method"]), str(first.settings.get("layer", ""))
        own = method in methods and at == layer
        name = f"{method} at {at}" if method in methods and not own else method
        maps.append({
            "method": name, "kind": method, "best": first.name, "every": every.name if every is not None else None,
            "layer": at, "rest": own,
        })  # fmt: skip
    if saliency is not None and classes:
        maps.append({
            "method": SALIENCY, "kind": str(saliency.settings["kind"]), "best": saliency.name, "every": None,
            "layer": "", "rest": False,
        })  # fmt: skip
    return {
        "probability": probability.name if probability is not None and classes else None,
        "unknown": {"tensor": unknown.name, "threshold": float(unknown.settings["threshold"])}
        if unknown is not None and classes
        else None,
        "maps": maps,
    }


def name_used(about: dict[str, Any]) -> list[str]:
    """The names of the outputs that a description holds."""
    maps = [name for one in about["maps"] for name in (one["best"], one["every"]) if name]
    found = [about["probability"], about["unknown"] and about["unknown"]["tensor"], *maps]
    return [name for name in found if name]
