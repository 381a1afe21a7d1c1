"""From the path of an .onnx file to a model that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from inspector.errors import ModelError, NotComputable, listing
from inspector.graph import (
    Graph,
    detach,
    find_foreign_blocks,
    find_training_nodes,
    free_picture,
    has_blocks,
    read_graph,
    read_shape,
)
from inspector.layers import find_layers
from inspector.metadata import Metadata, read_metadata
from inspector.model.assume import assume_preprocess, find_image_input
from inspector.model.attached import Attached, choose_sound
from inspector.model.foreign import FROM_ENTRIES, assume_size, complete, read_foreign, settle
from inspector.model.inputs import NO_INPUTS, add_stored, fill_others, take_picture
from inspector.model.model import Model
from inspector.runtime import Sessions, ignore, measure_block, shorten_provider
from inspector.runtime.providers import check_threads
from inspector.tasks.decoder import BoxDecoder, MapDecoder
from inspector.tasks.recognise import recognise
from inspector.tasks.seen import NO_HINTS

M = TypeVar("M", bound=Model)
_SMALLEST = 128
"""Sides in pixels below which no detector finds anything."""


@overload
def open_model(
    path: str | PathLike[str],
    *,
    provider: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    allow_links: Sequence[str | PathLike[str]] = (),
    inputs: Mapping[str, Any] = NO_INPUTS,
    warn: Callable[[str], None] | None = None,
) -> Model: ...


@overload
def open_model(
    path: str | PathLike[str],
    *,
    provider: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    allow_links: Sequence[str | PathLike[str]] = (),
    inputs: Mapping[str, Any] = NO_INPUTS,
    warn: Callable[[str], None] | None = None,
    cls: type[M],
) -> M: ...


# Long: a third is the description of its parameters.
def open_model(
    path: str | PathLike[str],
    *,
    provider: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    allow_links: Sequence[str | PathLike[str]] = (),
    inputs: Mapping[str, Any] = NO_INPUTS,
    warn: Callable[[str], None] | None = None,
    cls: type[Model] = Model,
) -> Model:
    """Open an .onnx file from any exporter. No session is made before something is run.

    Args:
        path: The file.
        provider: auto, cpu, cuda, ...; see :func:`inspector.runtime.choose_providers`.
        threads: Threads for onnxruntime, 1 to 1024; None takes all cores that this process may use.
        metadata: False ignores the metadata document that the file carries.
        allow_links: Folders that links to external data may lead into; see :func:`inspector.graph.read_graph`.
        inputs: Values of the inputs that are no picture, by name; see :func:`inspector.graph.shape_value`. They win
            over those that the file's metadata holds.
        warn: Gets a line where something is noteworthy but not wrong.
        cls: The class of the result, :class:`Model` or a subclass of it.

    Returns:
        The opened model.

    Raises:
        ModelError: It is not a model, damaged, unsafe, or does not take one picture.
        MetadataError: The metadata document in the file cannot be read.
        UsageError: The number of threads is out of range, or `inputs` do not fit.
    """
    if threads is not None:
        check_threads("threads", threads)
    provider = shorten_provider(provider)
    graph = read_graph(path, allow_links)
    document = read_metadata(graph.metadata) if metadata else Metadata()
    inputs, stored = add_stored(graph, document.inputs, inputs)
    graph = take_picture(graph, inputs)
    # What was attached is no answer of the network, and no layer of it: everything looks at the network alone.
    whole, graph = graph, detach(graph, [entry.name for entry in document.attached])
    attached, left_out = choose_sound(document.attached, whole)
    image_input = find_image_input(graph)
    ranks = [None if (shape := read_shape(value)) is None else len(shape) for value in graph.proto.graph.output]
    foreign = read_foreign(graph.metadata, ranks, image_input.size) if metadata else None
    assumed: list[str] = []
    if foreign is not None:
        if document.preprocess is None:
            foreign = settle(foreign, graph, image_input, assumed)
        document = complete(document, foreign, image_input.size)
    size = image_input.size or (document.preprocess.size if document.preprocess is not None else None)
    hints = foreign.hints if foreign is not None else NO_HINTS
    meant: list[str] = []
    classifier, decoder = recognise(graph, document, hints, size, meant)
    if isinstance(decoder, BoxDecoder) and decoder.frees_size and size is not None and min(size) < _SMALLEST:
        if document.preprocess is None:
            assumed.append(f"the declared size {size[0]}x{size[1]} is a leftover of the export: any size will do")
        open_axes = (0, 1, 2) if image_input.layout == "NHWC" else (0, 2, 3)
        whole, graph = free_picture(whole, open_axes), free_picture(graph, open_axes)
        image_input = find_image_input(graph)
    if foreign is not None and foreign.stated is not None and foreign.preprocess and document.preprocess is None:
        usual = decoder.habit.preprocess.size if decoder is not None and decoder.habit is not None else None
        document = complete(document, foreign, assume_size(image_input, usual, assumed))
    preprocess = assume_preprocess(graph, document, image_input, assumed, decoder.habit if decoder else None)
    whole = fill_others(whole, inputs, preprocess, [])
    many, graph = len(graph.inputs), fill_others(graph, inputs, preprocess, assumed)
    if many > 1:
        # Shapes may depend on what fills the other inputs, and what fills those on how the head takes its pictures.
        meant.clear()
        classifier, decoder = recognise(graph, document, hints, preprocess.size, meant)
    assumed += meant
    if isinstance(decoder, MapDecoder) and decoder.foreground and document.labels and len(document.labels) == 1:
        document = document.with_(labels=(decoder.names[0], *document.labels))
    if document.labels:
        classes = classifier.classes if classifier is not None and classifier.classes != 1 else None
        if (
            foreign is not None
            and foreign.who == FROM_ENTRIES
            and document.labels == foreign.labels
            and decoder is not None
        ):
            classes = decoder.classes
        if classes not in (None, len(document.labels)):
            assumed.append(f"labels ignored: {len(document.labels)} of them for {classes} classes")
            document = document.with_(labels=None)
    block = measure_block() if has_blocks(graph) else None
    if warn is not None:
        for line in (*stored, *left_out):
            warn(line)
        _warn_of_training(graph, warn)
        _warn_of_blocks(graph, block, warn)
    sessions = Sessions(whole, provider, threads, warn or ignore)
    return cls(
        graph=graph,
        metadata=document.with_(attached=()),
        layers=find_layers(graph, document.layers, preprocess.size, block),
        input=image_input,
        preprocess=preprocess,
        classifier=classifier,
        decoder=decoder,
        assumed=tuple(assumed),
        sessions=Sessions(graph, provider, threads, warn or ignore),
        provider=provider,
        threads=threads,
        warn=warn or ignore,
        reads_metadata=metadata,
        reopen=open_again,
        attached=Attached(attached, whole, sessions) if attached else None,
    )


def drop_false_classes(model: M) -> M:
    """Run a black picture, and forget what the file declares as scores of classes where the run shows other rows.

    For commands that go on without classes: a detector's boxes and a text's steps are often declared with open sizes.

    Returns:
        The model, or a copy without a classifier that uses the same sessions.
    """
    if model.classifier is None:
        return model
    try:
        model.scores(model.tensor(np.zeros((32, 32, 3), np.uint8)))
    except NotComputable as error:
        model.warn(f"no predictions: {error.message}")
        return replace(model, classifier=None)
    except ModelError:  # what fails to run is told by what runs it
        pass
    return model


def _warn_of_training(graph: Graph, warn: Callable[[str], None]) -> None:
    """Say it where norms take the statistics of each batch, or values are dropped at random."""
    nodes = find_training_nodes(graph)
    if not nodes:
        return
    first, many = nodes[0].name or nodes[0].output[0], f" and {len(nodes) - 1} others" if len(nodes) > 1 else ""
    does = "takes the statistics of each batch, so the answers are not those of the trained network"
    if nodes[0].op_type == "Dropout":
        does = "drops values at random wherever the runtime does not take it out"
    warn(
        f"{graph.path} was exported in training mode: {nodes[0].op_type} {first!r}{many} {does}; export it again "
        "after model.eval()"
    )


def _warn_of_blocks(graph: Graph, block: int | None, warn: Callable[[str], None]) -> None:
    """Say it where layers lie in blocks that this processor does not make, and are left out."""
    left = find_foreign_blocks(graph, block) if has_blocks(graph) else []
    if left:
        warn(
            f"{graph.path}: onnxruntime laid the channels of {listing([repr(name) for name in left])} in blocks for "
            "another kind of processor: these layers are left out, and what the file computes here is not what it was "
            "made for; use the file that it was made from"
        )


def open_again(cls: type[Model], path: Path, resolved: Path, digest: str, options: Mapping[str, Any]) -> Model:
    """Open the file of a model again.

    Args:
        cls: The class of the model.
        path: The file, as it was given.
        resolved: Where it was then.
        digest: Its digest then.
        options: What it was opened with.

    Raises:
        ModelError: The file is not there, or has changed since.
    """
    # A relative path means another file where the working folder has changed.
    opened = open_model(path if path.resolve() == resolved else resolved, cls=cls, **options)
    if opened.digest != digest:
        raise ModelError(
            f"{opened.path} has changed since the model was copied: its SHA-256 is {opened.digest[:12]}..., "
            f"it was {digest[:12]}...",
            "open the file again with open_model",
        )
    return opened
