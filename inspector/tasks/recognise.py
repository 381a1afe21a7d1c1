"""Which head a file has: by what it says, by what other exporters say, by its outputs."""

from __future__ import annotations

from dataclasses import replace

from inspector.errors import UsageError, nearest
from inspector.graph import Graph
from inspector.metadata import TASKS, Metadata
from inspector.tasks.classify import Classifier, find_classifier
from inspector.tasks.decoder import Decoder
from inspector.tasks.seen import Hints, Seen


def recognise(
    graph: Graph, document: Metadata, hints: Hints, size: tuple[int, int] | None, assumed: list[str]
) -> tuple[Classifier | None, Decoder | None]:
    """Find what the outputs of a graph mean.

    Args:
        graph: The graph.
        document: Our own metadata, which is always right.
        hints: What other exporters say.
        size: (H, W) of the input, where it is known.
        assumed: Gets a line where the head was recognised by anything else than our own metadata.

    Returns:
        The classifier or the decoder; both None where the head is not known.
    """
    task = document.task or hints.task
    if document.head is None and (task == "classify" or (document.output is not None and document.task is None)):
        # Our own metadata names an output for the scores of classes alone.
        classifier = find_classifier(graph, document, assumed)
        if classifier is not None or task == "classify":
            return classifier, None
    seen = see(graph, document, hints, size)
    if document.head is not None or task is not None:
        found = _find_said(seen, document, task)
        if found is not None:
            if document.head is None:
                assumed.append(_say(found, hints.who if document.task is None else ""))
            return None, found
        what = f"head {document.head!r}" if document.head else f"task {task!r}"
        assumed.append(f"the outputs do not look like the {what} that the metadata names: taken as they are")
        return None, None
    found = _first(seen, over_classifier=True)
    if found is None:
        classifier = find_classifier(graph, document, assumed)
        if classifier is not None:
            return classifier, None
        found = _first(seen, over_classifier=False)
    if found is not None:
        assumed.append(_say(found))
    return None, found


def check_head(graph: Graph, document: Metadata, hints: Hints, size: tuple[int, int] | None) -> Decoder:
    """Check the task and the head that somebody says of a file that is no classifier.

    Returns:
        The decoder.

    Raises:
        UsageError: There is no such task or head, they do not go together, or the outputs are not those of the head.
    """
    from inspector.tasks.decoders import DECODERS

    if document.task is not None and document.task not in TASKS:
        raise UsageError(f"there is no task {document.task!r}", f"known: {', '.join(TASKS)}")
    if document.head is not None and document.head not in DECODERS:
        near = ", ".join(nearest(document.head, DECODERS))
        raise UsageError(
            f"there is no head {document.head!r}; nearest: {near}", f"known: {', '.join(sorted(DECODERS))}"
        )
    if document.task == "classify" and document.head is not None:
        raise UsageError("a classifier has no head", "leave out --head")
    seen = see(graph, document, hints, size)
    found = _find_said(seen, document, document.task)
    if found is None:
        outputs = "; ".join(map(str, seen.outputs[:4]))
        what = f"head {document.head!r}" if document.head else f"task {document.task!r}"
        looks = f"it has {DECODERS[document.head].looks}" if document.head else "say which head it is with --head"
        raise UsageError(f"the outputs of {graph.path} are not those of {what}: {outputs}", looks)
    if document.task is not None and found.task != document.task:
        raise UsageError(f"head {found.head!r} is for the task {found.task!r}, not {document.task!r}")
    return found


def see(graph: Graph, document: Metadata, hints: Hints, size: tuple[int, int] | None) -> Seen:
    """What is known of a file, without the outputs that are layers."""
    layers = {entry.tensor for entry in document.layers}
    names = tuple(name for name in graph.outputs if name in graph.producer_of and name not in layers)
    labels = len(document.labels) if document.labels else None
    return Seen(graph, size, labels, hints, names=names)


def _find_said(seen: Seen, document: Metadata, task: str | None) -> Decoder | None:
    """The decoder that metadata names, by head or by task."""
    from inspector.tasks.decoders import DECODERS

    if document.head is not None:
        known = DECODERS.get(document.head)
        return known.match(replace(seen, said=True)) if known is not None else None
    for strict in (True, False):
        # What is said of the task leaves less to be told by shapes.
        looked = seen if strict else replace(seen, said=True)
        for one in DECODERS.values():
            found = one.match(looked)
            if found is not None and found.task == task:
                return found
    return None


def _first(seen: Seen, over_classifier: bool) -> Decoder | None:
    from inspector.tasks.decoders import DECODERS  # two dozen modules, which a file that says it is a classifier spares

    for one in DECODERS.values():
        if one.over_classifier == over_classifier and (found := one.match(seen)) is not None:
            return found
    return None


def _say(found: Decoder, who: str = "") -> str:
    by = f"{who}'s metadata and " if who else ""
    return f"the outputs are those of {found.family} (by {by}{found.why}; annotate --head says otherwise)"
