"""Writing the metadata document into a copy of any .onnx file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from inspector.errors import MetadataError, ModelError, NotComputable, UsageError, listing
from inspector.files import atomic_path
from inspector.graph import copy_with_metadata
from inspector.guard import check_outputs
from inspector.image import NAMED, Preprocess
from inspector.layers import Layer
from inspector.metadata import ACTIVATIONS, KEY, LayerEntry, Metadata, Task
from inspector.model import Model, open_model
from inspector.model.assume import assume_preprocess
from inspector.model.inputs import list_given
from inspector.model.options import read_labels, read_preprocess
from inspector.model.outputs import take_output
from inspector.tasks.classify import find_ends
from inspector.tasks.recognise import check_head
from inspector.tasks.seen import NO_HINTS

M = TypeVar("M", bound=Model)


# Wide: the options of `inspector annotate`.
# Long: half of it explains them.
def annotate_model(
    model: str | os.PathLike[str] | M,
    target: str | os.PathLike[str],
    *,
    preprocess: str | os.PathLike[str] | Preprocess | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    cam_layer: str | None = None,
    size: str | tuple[int, int] | None = None,
    activation: str | None = None,
    output: str | None = None,
    task: str | None = None,
    head: str | None = None,
) -> M | Model:
    """Write a copy of a model with its metadata completed, and open it. Graph and weights are copied byte for byte.

    What is not given is kept from the file's metadata, or written as it was assumed. Values of second inputs that the
    model was opened with are written too.

    Args:
        model: The path of a file, or a model that is open; its provider, threads and `warn` are those of the result.
        target: The file to write.
        preprocess: A name, a JSON file or a Preprocess; see :func:`inspector.model.options.read_preprocess`.
        labels: A file, or the names themselves; see :func:`inspector.model.options.read_labels`.
        cam_layer: Name of the layer that class activation maps look at.
        size: (H, W) or "HxW" of the input, for a graph that leaves it open.
        activation: What turns the scores into probabilities where the graph does not: softmax, sigmoid or none.
        output: The output, or any tensor or layer, that holds the scores of the classes.
        task: What the outputs mean: classify, detect, segment, pose, embed or picture.
        head: The head that the outputs are those of; see :data:`inspector.tasks.decoders.DECODERS`.

    Returns:
        The copy, opened, of the same class as `model`.

    Raises:
        MetadataError: A preprocess or labels that cannot be read, or do not fit the model, or an output of no classes.
        ModelError: The file is no model, or keeps weights in other files that the copy would not find.
        LayerNotFound: There is no layer `cam_layer`.
        NotComputable: The layer `cam_layer` has no maps.
        UsageError: A size, an activation or an output that cannot be, or a task or head that the outputs are not of.
        OutputError: The copy cannot be written. Nothing is written in any of these cases.
    """
    opened: Model = model if isinstance(model, Model) else open_to_annotate(model)
    side = [x for x in (preprocess, labels) if isinstance(x, str | os.PathLike) and os.path.exists(x)]  # noqa: PTH110
    check_outputs({"-o": target}, {"the model itself": opened.graph.files, "a file that it is made from": side})
    if output is not None:
        opened = take_output(opened, output, activation, labels is not None)
    names = read_labels(labels) if labels is not None else opened.metadata.labels
    said = _say_head(opened, names, task, head)
    chosen = read_preprocess(preprocess, _base(opened)) if preprocess is not None else said.preprocess
    if said.head is not None and preprocess in NAMED:
        # A name is about values: how the picture gets its size, the head knows.
        usual = said.preprocess
        chosen = replace(chosen, resize=usual.resize, fill=usual.fill, place=usual.place, filter=usual.filter)
    if size is not None:
        chosen = chosen.with_size(_size(size, opened))
    _check_fit(opened, chosen, said.classes, names if labels is not None else None)
    complete = complete_metadata(opened, chosen, names)
    if (said.task, said.head) != (complete.task, complete.head):
        # The scores of a classifier, which it is not, are no longer said.
        scores = (complete.output, complete.activation) if said.task == "classify" else (None, None)
        complete = replace(complete, task=said.task, head=said.head, output=scores[0], activation=scores[1])
    if cam_layer:
        complete = replace(complete, cam_layer=_cam_layer(opened, cam_layer))
    if activation is not None:
        if activation not in ACTIVATIONS:
            raise UsageError(f"there is no activation {activation!r}", f"known: {', '.join(ACTIVATIONS)}")
        complete = replace(complete, activation=activation)
    _refuse_stranded_data(opened, Path(target))
    with atomic_path(target) as temporary:
        copy_with_metadata(opened.graph, temporary, {KEY: complete.dumps()})
    return open_model(
        target,
        provider=opened.provider,
        threads=opened.threads,
        **opened.graph.opening,
        warn=opened.warn,
        cls=type(opened),
    )


def open_to_annotate(path: str | os.PathLike[str], cls: type[Model] = Model, **options: Any) -> Model:
    """As :func:`inspector.model.open_model`, but a metadata document that cannot be read counts as absent."""
    try:
        return open_model(path, cls=cls, **options)
    except MetadataError:
        # Such a document is what annotate is called for.
        return open_model(path, metadata=False, cls=cls, **options)


@dataclass(frozen=True)
class _Said:
    """What is known of a model when its task and head are said: they, the classes, and how pictures are taken."""

    task: Task | None
    head: str | None
    classes: int | None
    preprocess: Preprocess


def _say_head(opened: Model, labels: tuple[str, ...] | None, task: str | None, head: str | None) -> _Said:
    """What a model is with this task and head; as it is where neither is given. Raises UsageError."""
    known = opened.metadata
    if task is None and head is None and (opened.decoder is None or labels == known.labels):
        return _Said(known.task or (opened.decoder.task if opened.decoder else None), _head(opened), opened.classes,
                     opened.preprocess)  # fmt: skip
    if task == "classify" and head is None:
        return _Said("classify", None, opened.classes, opened.preprocess)
    wanted = (task, head) if task or head else (known.task, known.head or _head(opened))
    said = replace(known, labels=labels, task=cast("Task | None", wanted[0]), head=wanted[1])
    found = check_head(opened.graph, said, NO_HINTS, opened.preprocess.size)
    preprocess = opened.preprocess
    if known.preprocess is None:
        # It was assumed, and another head takes its pictures in another way.
        preprocess = assume_preprocess(opened.graph, known, opened.input, [], found.habit)
    return _Said(found.task, found.head, found.classes, preprocess)


def _head(opened: Model) -> str | None:
    return opened.metadata.head or (opened.decoder.head if opened.decoder else None)


def _check_fit(opened: Model, preprocess: Preprocess, classes: int | None, labels: tuple[str, ...] | None) -> None:
    if preprocess.channels != opened.input.channels:
        channels = opened.input.channels
        raise MetadataError(
            f"the preprocess makes {preprocess.channels} channels, the input of {opened.path} has {channels}"
        )
    # One score may stand for two classes.
    if labels is None or not classes or (classes, len(labels)) in ((1, 2), (2, 1)):
        return
    if classes != len(labels):
        raise MetadataError(f"{len(labels)} labels for {classes} classes of {opened.path}")


def complete_metadata(opened: Model, preprocess: Preprocess, labels: tuple[str, ...] | None) -> Metadata:
    """The metadata of a model with everything that is known or was assumed about it written out."""
    document = opened.metadata
    return replace(
        document,
        preprocess=preprocess,
        labels=labels,
        layers=tuple(_entry(layer) for layer in opened.layers),
        output=document.output or _output(opened),
        activation=document.activation or (opened.classifier.activation if opened.classifier else None),
        task=document.task or (opened.decoder.task if opened.decoder else None),
        head=_head(opened),
        inputs=list_given(opened.graph),
        attached=opened.attached.entries if opened.attached is not None else (),
    )


def _base(opened: Model) -> Preprocess:
    """What a preprocess has where nothing is said: the size, the layout, the type and the channels of the input."""
    given = opened.input
    return Preprocess.named("raw", opened.preprocess.size, given.channels, given.layout).with_dtype(given.dtype)


def _cam_layer(opened: Model, name: str) -> str:
    layer = opened.layer(name)
    if layer.shape is not None and not _has_maps(layer):
        known = [x.name for x in reversed(opened.layers) if _has_maps(x)]
        raise NotComputable(
            f"layer {layer.name!r} has no maps that a class activation map could weigh",
            f"layers with maps: {listing(known)}",
        )
    return layer.name


def _has_maps(layer: Layer) -> bool:
    """Whether its rows and columns lie over the picture: attention of tokens to tokens only looks like it."""
    return layer.shape is not None and len(layer.shape) == 4 and layer.spatial and layer.places


def _entry(layer: Layer) -> LayerEntry:
    return LayerEntry(layer.name, layer.tensor, layer.kind, layer.aliases)


def _output(opened: Model) -> str | None:
    """The graph output that the classification was read from, so that it need not be looked for again."""
    if opened.classifier is None:
        return None
    return next(iter(find_ends(opened.graph, opened.classifier.scores)), None)


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
