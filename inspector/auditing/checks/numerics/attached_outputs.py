"""Whether attached outputs still say what they claim."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject
from inspector.cam.attached import HALF_ROUNDING, check_claims
from inspector.errors import listing

_GRADIENTS = 16
"""Gradients of the whole network that are computed for a file; of a mean over more of them none is."""


@check(
    title="Attached outputs agree with what they claim",
    limits={"max": Limit(1e-3, "largest difference, as a share of the output's largest value", low=0)},
    remedy="Attach the outputs again (inspector attach): the network was changed after they were made.",
)
def attached_outputs(subject: Subject, limits: Limits) -> Verdict:
    """What `inspector attach` added is computed anew: maps, probabilities, unknown, its threshold, the gradient."""
    model = subject.model
    if model.attached is None:
        raise NotChecked("the file has no attached outputs")
    findings, compared = [], dict.fromkeys((entry.name for entry in model.attached.entries), 0)
    worst, where = 0.0, Where()
    limit = limits["max"]
    if limit is not None and model.graph.half_precision:
        limit = max(limit, HALF_ROUNDING)
    names = [entry.name for entry in model.attached.entries]
    for number, (shown, tensor) in enumerate(subject.tensors(3)):
        values = model.attached.run(model.input.name, tensor, names, model.input.batch)
        for entry in model.attached.entries:
            said = values[entry.name]
            gradients = int(entry.settings.get("steps", 0)) if entry.meaning == "saliency" else 0
            claims = check_claims(model, entry, tensor, said) if gradients <= (0 if number else _GRADIENTS) else []
            rows = [(claim.compare(entry.name).relative, claim.what) for claim in claims]
            relative, what = max(rows, default=(0.0, ""))
            if not np.isfinite(said).all() or (entry.meaning == "unknown" and not ((said >= 0) & (said <= 1)).all()):
                relative = float("inf")
            compared[entry.name] += len(rows)
            if relative > worst:
                worst, where = relative, Where(None, None, shown)
            if limit is not None and relative > limit:
                text = f"the output {entry.name!r} differs by {relative:.1e} of its scale" + f": {what}" * bool(what)
                findings.append(Finding(text, relative, limit, Where(None, None, shown)))
    anew, others = ([name for name in names if bool(compared[name]) == there] for there in (True, False))
    message = f"{listing(anew)}: the same when computed anew, to {worst:.1e} of the scale"
    if others:
        message = f"{message}; " * bool(anew) + f"{listing(others)}: finite, and not computed anew"
    if findings:
        return Verdict(findings[0].message, worst, limit, where, tuple(findings[:100]))
    return at_most(worst, limit, message, where=where)
