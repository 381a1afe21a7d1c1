"""From the path of an .onnx file to a model that answers."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

from inspector.errors import UsageError
from inspector.graph import read_graph
from inspector.layers import find_layers
from inspector.metadata import Metadata, read_metadata
from inspector.model.assume import assume_preprocess, find_image_input
from inspector.model.model import Model
from inspector.runtime import Sessions
from inspector.tasks.classify import find_classifier


def open_model(
    path: str | PathLike[str],
    *,
    provider: str = "auto",
    threads: int | None = None,
    metadata: bool = True,
    warn: Callable[[str], None] | None = None,
) -> Model:
    """Open an .onnx file from any exporter.

    provider: auto, cpu, cuda, ... threads: for onnxruntime; None takes all cores this process may use.
    metadata: False ignores the metadata document that the file carries. warn: gets a line where something is
    noteworthy but not wrong. No session is made before something is run.
    Raises ModelError (not a model, damaged, unsafe, not one picture as input), MetadataError, UsageError.
    """
    if threads is not None and not 1 <= threads <= 1024:
        raise UsageError(f"threads {threads} is not between 1 and 1024")
    graph = read_graph(path)
    document = read_metadata(graph.metadata) if metadata else Metadata()
    image_input = find_image_input(graph)
    assumed: list[str] = []
    preprocess = assume_preprocess(graph, document, image_input, assumed)
    classifier = find_classifier(graph, document, assumed)
    if classifier is not None and document.labels and classifier.classes not in (None, len(document.labels), 1):
        assumed.append(f"labels ignored: {len(document.labels)} of them for {classifier.classes} classes")
        document = document.with_(labels=None)
    sessions = Sessions(graph, provider, threads, warn or (lambda line: None))
    return Model(
        graph=graph,
        metadata=document,
        layers=find_layers(graph, document.layers),
        input=image_input,
        preprocess=preprocess,
        classifier=classifier,
        assumed=tuple(assumed),
        sessions=sessions,
    )
