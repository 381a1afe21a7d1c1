"""Whether what the metadata says fits the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, NotChecked, Verdict, Where
from inspector.auditing.subject import Subject
from inspector.errors import InspectorError, listing
from inspector.image import Preprocess
from inspector.layers import find_layer
from inspector.metadata import KEY, Metadata, read_metadata


@check(
    title="The metadata fits the graph",
    remedy="Write the metadata again with `inspector annotate`, from what the graph really has.",
)
def metadata_consistent(subject: Subject, limits: Limits) -> Verdict:
    """Labels, layers, sizes and names in the metadata are those of the graph, and the preprocess makes sense."""
    if KEY not in subject.graph.metadata:
        raise NotChecked("the file carries no metadata of ours")
    document = read_metadata(subject.graph.metadata)
    findings = [*_labels(subject, document), *_tensors(subject, document), *_input(subject, document)]
    if findings:
        message = f"the metadata does not fit the graph: {listing([f.message for f in findings], 2)}"
        return Verdict(message, len(findings), 0, findings[0].where, tuple(findings[:MAX_FINDINGS]))
    return Verdict(f"{len(document.layers)} layers, {len(document.labels or ())} labels and the preprocess fit", 0, 0)


def _labels(subject: Subject, document: Metadata) -> Iterator[Finding]:
    if document.labels is None:
        return
    classes, names = subject.model.classes, document.labels
    if classes is not None and len(names) != classes and not (classes == 1 and len(names) == 2):
        yield Finding(f"{len(names)} labels for {classes} classes", len(names), classes, key="labels")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        yield Finding(f"{len(twice)} labels are there more than once: {listing([repr(t) for t in twice])}", key="twice")
    if blank := sum(not name.strip() for name in names):
        yield Finding(f"{blank} labels are empty", key="empty")


def _tensors(subject: Subject, document: Metadata) -> Iterator[Finding]:
    made = subject.graph.producer_of
    for entry in document.layers:
        if entry.tensor not in made:
            yield Finding(
                f"layer {entry.name} names tensor {entry.tensor!r}, which is not there", where=Where(entry.name)
            )
    for name, count in Counter(entry.name for entry in document.layers).items():
        if count > 1:
            yield Finding(f"{count} layers are called {name}", where=Where(name))
    if document.output is not None and document.output not in made:
        yield Finding(f"the output {document.output!r} is not there", key="output")
    if document.cam_layer is not None:
        try:
            find_layer(subject.model.layers, document.cam_layer)
        except InspectorError as error:
            yield Finding(f"cam_layer: {error.message}", key="cam_layer")


def _input(subject: Subject, document: Metadata) -> Iterator[Finding]:
    preprocess, given = document.preprocess, subject.model.input
    if preprocess is None:
        return
    if given.size and preprocess.size and preprocess.size != given.size:
        yield Finding(f"the preprocess makes {_by(preprocess.size)}, the input takes {_by(given.size)}", key="size")
    if preprocess.layout != given.layout:
        yield Finding(f"the preprocess makes {preprocess.layout}, the input takes {given.layout}", key="layout")
    if preprocess.dtype != given.dtype:
        yield Finding(f"the preprocess makes {preprocess.dtype}, the input takes {given.dtype}", key="dtype")
    yield from _sense(preprocess)


def _sense(preprocess: Preprocess) -> Iterator[Finding]:
    """Numbers that belong to another convention: a mean for 0..255 with pixels scaled to 0..1, or the reverse."""
    top = 255 * preprocess.scale
    if any(not -0.01 * top <= m <= 1.01 * top for m in preprocess.mean):
        yield Finding(f"mean {_numbers(preprocess.mean)} lies outside of the pixels, which are scaled to 0 to {top:g}")
    if top > 2 and any(0 < m < 1 for m in preprocess.mean) and max(preprocess.std) < 1:
        yield Finding(
            f"mean {_numbers(preprocess.mean)} and std {_numbers(preprocess.std)} are for pixels from 0 to 1, "
            f"but they are scaled to 0 to {top:g}"
        )


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values) + ")"
