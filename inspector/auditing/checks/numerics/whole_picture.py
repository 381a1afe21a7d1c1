"""Whether every part of the picture counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing

_PARTS = 4
"""Parts along each side of the picture."""


@check(
    title="Every part of the picture counts",
    needs=("classification",),
    remedy="Look at the nodes that read the picture: a slice, a padding or a resize leaves out what is named.",
)
def whole_picture(subject: Subject, limits: Limits) -> Verdict:
    """The scores change when a sixteenth of a picture is made into something else, wherever that is.

    It is tried on noise, and where that changes nothing on a gradient and on grey: no number at all may change.
    """
    height, width = subject.picture_size()
    parts = [min(_PARTS, side) for side in (height, width)]
    rows, columns = (np.linspace(0, side, n + 1).astype(int) for side, n in zip((height, width), parts, strict=True))
    random, fixed = subject.random(11), subject.fixed_pictures()
    other = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    bases = [subject.plain_pictures()["noise"], fixed["colour gradient"], fixed["grey"]]
    waiting = [(y, x) for y in range(parts[0]) for x in range(parts[1])]
    for base in bases:
        before = _score(subject, base)
        still = []
        for y, x in waiting:
            changed = base.copy()
            part = (slice(rows[y], rows[y + 1]), slice(columns[x], columns[x + 1]))
            changed[part] = other[part]
            if np.array_equal(before, _score(subject, changed), equal_nan=True):
                still.append((y, x))
        waiting = still
        if not waiting:
            break
    count = parts[0] * parts[1]
    if not waiting:
        return Verdict(f"the scores depend on each of {count} parts of the picture", 0, 0)
    findings = tuple(
        Finding(
            f"no score depends on rows {rows[y]} to {rows[y + 1] - 1}, columns {columns[x]} to {columns[x + 1] - 1}",
            key=f"{y}, {x}",
        )
        for y, x in waiting
    )
    message = (
        f"{len(waiting)} of {count} parts of the picture do not count: {listing([x.message for x in findings], 2)}"
    )
    return Verdict(message, len(waiting), 0, findings=findings)


def _score(subject: Subject, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = subject.model.scores(subject.model.tensor(picture))[0]
    return scores
