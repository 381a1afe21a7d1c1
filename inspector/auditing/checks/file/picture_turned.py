"""Whether the graph itself mirrors or turns the picture, or reverses its channels."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.places import Moved, find_moved
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing


@check(
    title="The graph does not turn the picture",
    severity="warning",
    remedy="Run pictures whose class you know: if they are not recognised, take the node out, or annotate the order of "
    "the channels that the graph expects (inspector annotate --preprocess).",
)
def picture_turned(subject: Subject, limits: Limits) -> Verdict:
    """The graph neither mirrors the picture, nor sets it on its side, nor reverses its channels.

    A network may have been made with such a node on purpose, so this is a warning: the order of the channels is said
    twice then, by the preprocessing and by the graph. Where the picture itself stands beside its mirrored copy there
    is no finding.
    """
    findings = tuple(
        Finding(_tell(subject, found), key=found.key + found.kind)
        for found in find_moved(subject)
        if found.order != "mixed"
    )
    if not findings:
        return Verdict("the picture reaches the network as it is given", 0, 0)
    return Verdict(listing([found.message for found in findings]), len(findings), 0, findings=findings)


def _tell(subject: Subject, found: Moved) -> str:
    if found.order == "kept":
        return f"{found.name} sets the picture on its side: rows become columns"
    if found.kind != "channels":
        return f"{found.name} mirrors the picture: its {found.kind} come in the order {found.shown}"
    given = subject.model.preprocess.colour
    return f"{found.name} reverses the channels: preprocessing gives {given}, and the network sees {given[::-1]}"
