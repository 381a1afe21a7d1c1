"""Whether a picture's answer depends on what else is in its batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from inspector.agreement import LIMIT_DB, signal_to_noise
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.picture_count import find_counting
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, Verdict, Where, at_least
from inspector.auditing.subject import Subject
from inspector.errors import NotComputable, listing


@check(
    title="A batch of N equals N batches of one",
    limits={
        "min_db": Limit(60, "smallest signal-to-noise ratio of the scores", unit="dB"),
        "size": Limit(3, "pictures in the batch", kind="whole", low=2, high=1024),
    },
    needs=("batches", "classification"),
    remedy="Begin with the layer that is named: a reshape with a fixed batch, or a norm over it, mixes the pictures.",
)
def batches(subject: Subject, limits: Limits) -> Verdict:
    """The scores of pictures run together equal those of each run alone, whatever their number.

    Some are run. For all other numbers of pictures, no value may be computed from how many there are: shapes and
    repetitions follow the number, and a node that asks for it besides is named.
    """
    model = subject.model
    size = max(2, int(limits["size"] or 3))
    tensors = list(subject.tensors(size))
    if len(tensors) < 2 or len({tensor.shape for _, tensor in tensors}) > 1:
        tensors = [(name, model.tensor(picture)) for name, picture in subject.basic_pictures().items()]
    limit = limits["min_db"]
    try:
        together = model.scores(np.concatenate([tensor for _, tensor in tensors]))
    except NotComputable as error:
        message = f"{len(tensors)} pictures together do not get an answer each: {error.message}"
        return Verdict(message, None, limit, findings=(Finding(message, None, limit),), unit="dB")
    worst, where = LIMIT_DB, Where()
    for (name, tensor), row in zip(tensors, together, strict=True):
        found = signal_to_noise(model.scores(tensor)[0], row)
        if found < worst:
            worst, where = found, Where(None, None, name)
    if limit is not None and worst < limit:
        where = Where(_first_layer(subject, tensors[0][1], tensors[1][1], limit), None, where.image)
    message = f"{len(tensors)} pictures together and alone agree to {worst:.0f} dB"
    message += f"; the first layer that differs is {where.layer}" if where.layer else ""
    counting = tuple(
        Finding(
            f"{node.op_type} {node.name or node.output[0]!r} computes with the number of pictures",
            key=node.name or node.output[0],
        )
        for node in find_counting(subject)
    )
    verdict = at_least(worst, limit, message, where=where, unit="dB")
    if not counting or limit is None:
        return verdict
    message += f"; {listing([finding.message for finding in counting], 2)}"
    return replace(verdict, message=message, findings=(*verdict.findings, *counting)[:MAX_FINDINGS])


def _first_layer(
    subject: Subject, first: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
    second: np.ndarray[tuple[int, ...], np.dtype[np.float32]], limit: float,
) -> str | None:  # fmt: skip
    alone, _ = subject.model.layer_values(first)
    both, _ = subject.model.layer_values(np.concatenate([first, second]))
    differ = (
        name for name in alone
        if alone[name][0].shape != both[name][0].shape or signal_to_noise(alone[name][0], both[name][0]) < limit
    )  # fmt: skip
    return next(differ, None)
