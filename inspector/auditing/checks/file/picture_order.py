"""Whether the graph itself brings the picture's rows, columns or channels into disorder."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.places import find_moved
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing


@check(
    title="The picture's rows, columns and channels keep their order",
    remedy="Look at the node that is named: it puts rows, columns or channels into an order that no picture has.",
)
def picture_order(subject: Subject, limits: Limits) -> Verdict:
    """Where the network begins to compute, neighbours are what they were: nothing was moved among them.

    What only moves the picture's elements is run by itself, up to the first node that mixes them. Parts that are cut
    out, every second row, patches, mirrored margins and flipped copies are no disorder.
    """
    moved = [found for found in find_moved(subject) if found.order == "mixed"]
    if not moved:
        return Verdict("rows, columns and channels of the picture keep their order", 0, 0)
    findings = tuple(
        Finding(f"{found.name} puts {found.kind} of the picture in the order {found.shown}", key=found.key + found.kind)
        for found in moved
    )
    return Verdict(listing([found.message for found in findings]), len(findings), 0, findings=findings)
