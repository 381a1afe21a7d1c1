"""What is refused before anything is exported."""

from __future__ import annotations

from collections.abc import Sequence

from exporters.exporting.checks import ExportError
from exporters.sources.needs import nn, torch
from inspector.errors import UsageError, listing
from inspector.image import Preprocess
from inspector.metadata import ACTIVATIONS

OPSETS = range(18, 24)
"""Operator sets that torch's exporter writes itself; below 18 it would have to convert back, and mostly cannot."""
DEFAULT_OPSET = 20
MAX_BYTES = 2**31 - 2**24
"""A protobuf message ends at 2 GiB; some room is left for the structure."""


def check_request(module: nn.Module, opset: int, preprocess: Preprocess, activation: str | None) -> None:
    """Check what was asked for.

    Raises:
        UsageError: The operator set, the size or the activation is wrong.
        ExportError: The weights are on another device, of another type, or too large for one file.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise UsageError(f"there is no activation {activation!r}", f"known: {', '.join(ACTIVATIONS)}")
    if opset not in OPSETS:
        raise UsageError(f"opset {opset} cannot be written", f"choose {OPSETS[0]} to {OPSETS[-1]}")
    if preprocess.size is None:
        raise UsageError("the export needs the size of the input", "give --size, or a preprocess with a size")
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    if elsewhere := [name for name, value in tensors.items() if value.device.type != "cpu"]:
        raise ExportError(f"{listing(elsewhere)} are not on the CPU", "call .cpu() on the network first")
    if odd := [n for n, v in tensors.items() if v.is_floating_point() and v.dtype != torch.float32]:
        raise ExportError(
            f"{listing(odd)} are not float32", "call .float() first; `inspector quantize` makes float16 and int8 files"
        )
    size = sum(value.nbytes for value in tensors.values())
    if size > MAX_BYTES:
        raise ExportError(
            f"the weights have {size / 1e9:.1f} GB, and one .onnx file ends at 2 GB", "export a smaller network"
        )


def check_labels(labels: Sequence[str] | None, scores: torch.Tensor) -> None:
    """Check that there is one label for each of the scores (N, K).

    Raises:
        UsageError: There are more or fewer.
    """
    classes = scores.shape[1] if scores.ndim == 2 else None
    if labels is not None and classes != len(labels):
        raise UsageError(
            f"the network gives {classes or tuple(scores.shape[1:])} scores and there are {len(labels)} labels",
            "give one label for each score",
        )
