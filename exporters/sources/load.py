"""A torch network by name, of one of the kinds in :mod:`exporters.sources.kinds`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from exporters.forms import FALLBACK, list_forms, list_source_forms
from exporters.sources.network import Source, SourceRequest
from exporters.sources.weights import load_state, read_state, record_file
from inspector.errors import UsageError
from inspector.image import Preprocess
from inspector.model.options import read_labels, read_preprocess


# Long: a third is the description of its parameters.
def load_source(
    spec: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    pretrained: bool = False,
    preprocess: Preprocess | str | os.PathLike[str] | None = None,
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    classes: int | None = None,
) -> Source:
    """Make the network that `spec` names, with its preprocess and labels.

    Args:
        spec: ``torchvision:NAME[.WEIGHTS]``, ``timm:NAME[.TAG]`` or ``package.module:factory``.
        weights: A safetensors file or a saved state dict. Without it and without `pretrained` the weights are random.
        pretrained: Whether the library's own weights are downloaded.
        preprocess: Instead of the library's own; also one of the names (imagenet, unit, ...) or a JSON file.
        labels: Class names, or a file of them.
        size: (H, W) of the input in pixels.
        classes: K of the head that is built; None for the number of labels, else the library's.

    Raises:
        UsageError: The arguments do not go together, or a file of labels or a preprocess cannot be read.
        SourceError: The network cannot be made.
        WeightsError: The weights cannot be read or do not fit.
        MetadataError: The labels or the preprocess are wrong.
        MissingExtra: The library is not installed.
    """
    if weights is not None and pretrained:
        raise UsageError("both a file of weights and pretrained weights were asked for", "give one of them")
    names = read_labels(labels) if labels is not None else None
    if names is not None and classes is not None and len(names) != classes:
        raise UsageError(f"{classes} classes were asked for and {len(names)} labels given", "give as many labels")
    wanted = classes if classes is not None else len(names) if names is not None else None
    kind, request = _read_spec(spec)
    if pretrained and not kind.LIBRARY:
        raise UsageError(f"there are no pretrained weights for {spec!r}", "load them in the factory, or give --weights")
    state = read_state(weights) if weights is not None else None
    file = record_file(weights) if weights is not None else {}
    asked = replace(request, state=state, pretrained=pretrained, classes=wanted, sha256=file.get("sha256", ""))
    source: Source = kind.load(asked)
    notes = list(source.notes)
    provenance = {"spec": spec, **source.provenance}
    if state is not None and weights is not None:
        load_state(source.module, state, Path(weights).name)
        provenance["weights"] = file
    elif not pretrained and kind.LIBRARY:
        provenance["weights"] = "random"
        notes.append("no weights were given: they are random")
    chosen = read_preprocess(preprocess, source.preprocess) if preprocess is not None else source.preprocess
    chosen = chosen.with_size(size or chosen.size or source.preprocess.size)
    if preprocess is None and not kind.LIBRARY:
        at = " at 224x224" if size is None else ""
        notes.append(f"no preprocess was given: imagenet{at} is assumed")
    return replace(
        source,
        name=spec,
        preprocess=chosen,
        labels=names if names is not None else source.labels,
        provenance=provenance,
        notes=tuple(notes),
    )


def _read_spec(spec: str) -> tuple[Any, SourceRequest]:
    """The module of the kind that `spec` belongs to, and what it is asked for."""
    hint = f"SOURCE is {list_forms(' or ')}"
    if spec.lower().endswith(".onnx"):
        raise UsageError(f"{spec} is a model already; an export starts from a torch network", hint)
    before, _, name = spec.partition(":")
    if not before or not name:
        raise UsageError(f"{spec!r} names no network", hint)
    kind = before if before in list_source_forms() else FALLBACK
    return import_module(f"exporters.sources.kinds.{kind}"), SourceRequest(before, name)
