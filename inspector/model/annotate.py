"""Writing the metadata document into a copy of any .onnx file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inspector.errors import MetadataError, ModelError, NotComputable, UsageError, listing
from inspector.files import atomic_path
from inspector.graph import copy_with_metadata
from inspector.image import NAMED, Preprocess
from inspector.layers import Layer
from inspector.metadata import ACTIVATIONS, KEY, LayerEntry, parse_labels
from inspector.model import Model, open_model
from inspector.tasks.classify import ends_of

MAX_SIDE_FILE = 16 * 1024 * 1024


def annotate_model(
    model: str | os.PathLike[str] | Model,
    target: str | os.PathLike[str],
    *,
    preprocess: str | Preprocess | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    cam_layer: str | None = None,
    size: str | tuple[int, int] | None = None,
    activation: str | None = None,
    provider: str = "auto",
    threads: int | None = None,
    warn: Callable[[str], None] | None = None,
) -> Model:
    """Write a copy of a model with its metadata completed, and open it.

    preprocess: a name, a JSON file or a Preprocess. labels: a file or the names themselves. size: (H, W) or "HxW".
    activation: softmax, sigmoid or none, what turns the scores into probabilities where the graph does not do it.
    What is not given is kept from the file's metadata, or written as it was assumed. Graph and weights are copied
    byte for byte. provider, threads, warn: as for open_model. Raises MetadataError, ModelError, LayerNotFound,
    NotComputable (a `cam_layer` without maps), UsageError or OutputError, and writes nothing then.
    """
    options: dict[str, Any] = {"provider": provider, "threads": threads, "warn": warn}
    opened = model if isinstance(model, Model) else _open(model, options)
    document = opened.metadata
    chosen = _preprocess(preprocess, opened) if preprocess is not None else opened.preprocess
    if size is not None:
        chosen = chosen.with_size(_size(size, opened))
    if chosen.channels != opened.input.channels:
        raise MetadataError(
            f"the preprocess makes {chosen.channels} channels, the input of {opened.path} has {opened.input.channels}"
        )
    names = document.labels
    if labels is not None:
        names = _labels(labels)
        if opened.classes and opened.classes != len(names) and not (opened.classes == 1 and len(names) == 2):
            raise MetadataError(f"{len(names)} labels for {opened.classes} classes of {opened.path}")
    complete = replace(
        document,
        preprocess=chosen,
        labels=names,
        layers=tuple(_entry(layer) for layer in opened.layers),
        cam_layer=_cam_layer(opened, cam_layer) if cam_layer else document.cam_layer,
        output=document.output or _output(opened),
        activation=document.activation or (opened.classifier.activation if opened.classifier else None),
    )
    if activation is not None:
        if activation not in ACTIVATIONS:
            raise UsageError(f"there is no activation {activation!r}", f"known: {', '.join(ACTIVATIONS)}")
        complete = replace(complete, activation=activation)
    _refuse_stranded_data(opened, Path(target))
    with atomic_path(target) as temporary:
        copy_with_metadata(opened.graph, temporary, {KEY: complete.dumps()})
    written: Model = open_model(target, **options)
    return written


def _open(path: str | os.PathLike[str], options: Mapping[str, Any]) -> Model:
    opened: Model
    try:
        opened = open_model(path, **options)
    except MetadataError:
        # A document that cannot be read is what this is called for.
        opened = open_model(path, metadata=False, **options)
    return opened


def _cam_layer(opened: Model, name: str) -> str:
    layer = opened.layer(name)
    if layer.shape is not None and not (len(layer.shape) == 4 and layer.spatial):
        known = [x.name for x in reversed(opened.layers) if x.shape is not None and len(x.shape) == 4 and x.spatial]
        raise NotComputable(
            f"layer {layer.name!r} has no maps that a class activation map could weigh",
            f"layers with maps: {listing(known)}",
        )
    return layer.name


def _entry(layer: Layer) -> LayerEntry:
    return LayerEntry(layer.name, layer.tensor, layer.kind, layer.aliases)


def _output(opened: Model) -> str | None:
    """The graph output that the classification was read from, so that it need not be looked for again."""
    if opened.classifier is None:
        return None
    return next(iter(ends_of(opened.graph, opened.classifier.scores)), None)


def _refuse_stranded_data(opened: Model, target: Path) -> None:
    own = opened.path.resolve().name
    outside = {
        entry.value
        for tensor in opened.graph.proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location" and entry.value != own
    }
    if outside and target.resolve().parent != opened.path.resolve().parent:
        raise ModelError(
            f"{opened.path} keeps weights in {', '.join(sorted(outside)[:3])}",
            f"write the copy beside it, in {opened.path.parent}",
        )


def _preprocess(given: str | Preprocess, opened: Model) -> Preprocess:
    if isinstance(given, Preprocess):
        return given
    if given in NAMED:
        named = Preprocess.named(given, opened.preprocess.size, opened.input.channels, opened.input.layout)
        return replace(named, dtype=opened.input.dtype)
    if not Path(given).exists():
        raise MetadataError(f"there is no preprocess {given!r}", f"known: {', '.join(NAMED)}, or a JSON file")
    try:
        document = json.loads(_read(given))
    except ValueError as error:
        raise MetadataError(f"{given} is not JSON: {error}") from None
    inner = document.get("preprocess", document) if isinstance(document, dict) else document
    base = {"layout": opened.input.layout, "dtype": opened.input.dtype, "size": opened.preprocess.size}
    return Preprocess.from_json({**base, **inner} if isinstance(inner, dict) else inner)


def _labels(given: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str | os.PathLike):
        return parse_labels(_read(given))
    return tuple(map(str, given))


def _read(path: str | os.PathLike[str]) -> str:
    file = Path(path)
    try:
        if file.stat().st_size > MAX_SIDE_FILE:
            raise MetadataError(f"{file} is larger than 16 MB")
        return file.read_text("utf-8")
    except OSError as error:
        raise MetadataError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise MetadataError(f"{file} is not UTF-8 text") from None


def _size(given: str | tuple[int, int], opened: Model) -> tuple[int, int]:
    if isinstance(given, str):
        match = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", given.strip())
        if not match:
            raise UsageError(f"size {given!r} is not like 224 or 224x320 (height x width)")
        given = (int(match[1]), int(match[2] or match[1]))
    if opened.input.size and opened.input.size != given:
        fixed = "x".join(map(str, opened.input.size))
        raise UsageError(f"the graph of {opened.path} fixes its input size to {fixed}")
    return given
