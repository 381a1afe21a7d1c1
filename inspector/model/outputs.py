"""The output that a user says holds the scores of the classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from inspector.errors import MetadataError, UsageError, nearest, wrong_type
from inspector.layers import infer_shapes
from inspector.model.model import Model
from inspector.tasks.classify import count_classes, find_classifier

M = TypeVar("M", bound=Model)


def take_output(opened: M, name: str, activation: str | None, relabelled: bool) -> M:
    """The model with its classes read from another output.

    Args:
        opened: The model as its file has it.
        name: An output of the graph, or any tensor or layer that holds the scores.
        activation: What makes probabilities of them, where that is told too.
        relabelled: Whether labels are given as well, so that those in the file need not fit.

    Raises:
        UsageError: There is no such output.
        MetadataError: It fits no classes, or other classes than the labels in the file.
    """
    if not isinstance(name, str):
        raise wrong_type("output", name, "give the name of an output of the graph")
    graph = opened.graph
    tensor = next((layer.tensor for layer in opened.layers if layer.name == name), name)
    if tensor not in graph.producer_of:
        near = nearest(name, [*graph.outputs, *graph.producer_of])
        raise UsageError(f"{opened.path} has no output {name!r}; nearest: {', '.join(near)}")
    # What was said of the scores holds for the output that they were of.
    same = opened.metadata.output == tensor
    document = opened.metadata.with_(output=tensor, activation=opened.metadata.activation if same else None)
    found = find_classifier(graph, document if activation is None else document.with_(activation=activation), [])
    shape = infer_shapes(graph).get(tensor)
    # Rows of boxes may be made of a vector, which the classifier's search would step back to.
    if found is None or (shape is not None and sum(size != 1 for size in shape[1:]) > 1):
        if count_classes(shape) is not None:
            raise MetadataError(
                f"output {name!r} is a vector of unit length, or has as many rows as things are found: no classes",
                "if it is scores all the same, give --activation too",
            )
        sizes = None if shape is None else ", ".join("?" if size is None else str(size) for size in shape)
        shown = "unknown shape" if sizes is None else f"shape ({sizes})"
        raise MetadataError(f"output {name!r} of {shown} fits no classes", "scores are of shape (N, K)")
    labels, count = opened.metadata.labels, found.classes
    if labels and not relabelled and count not in (None, len(labels)) and (count, len(labels)) != (1, 2):
        raise MetadataError(f"{len(labels)} labels in {opened.path} for {count} classes of {name!r}", "give --labels")
    document = document.with_(task=None, head=None)
    return replace(opened, metadata=document, classifier=found, decoder=None)
