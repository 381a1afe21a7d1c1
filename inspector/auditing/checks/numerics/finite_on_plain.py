"""Whether every layer gives numbers on pictures without content."""

from __future__ import annotations

import numpy as np

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where
from inspector.auditing.subject import Subject


@check(
    title="No NaN or infinity on plain pictures",
    remedy="Look at the layer that is named: a division by a deviation of zero, a logarithm of zero, or an overflow.",
)
def finite_on_plain(subject: Subject, limits: Limits) -> Verdict:
    """Neither a layer nor the scores have a value that is NaN or infinite on pictures without content.

    These are black, white, the saturated colours, gradients, checkerboards and noise.
    """
    model = subject.model
    if not model.layers:
        raise NotChecked("the model has no layers")
    findings: list[Finding] = []
    pictures = subject.plain_pictures()
    for name, picture in pictures.items():
        values, scores = model.layer_values(model.tensor(picture), scores=True)
        before = len(findings)
        for layer, value in values.items():
            # Minimum and maximum carry NaN and infinity on, at a fraction of the cost of looking at every element.
            if not value.size or (np.isfinite(value.min()) and np.isfinite(value.max())):
                continue
            bad = ~np.isfinite(value[0]).reshape(len(value[0]), -1).all(axis=1)
            where = Where(layer, int(bad.argmax()), name)
            message = f"layer {layer}: {int(bad.sum())} channels are not finite on {name}"
            findings.append(Finding(message, int(bad.sum()), 0, where))
        if len(findings) == before and scores is not None and not np.isfinite(scores).all():
            bad = ~np.isfinite(scores[0])
            where = Where("scores", int(bad.argmax()), name)
            findings.append(Finding(f"{int(bad.sum())} scores are not finite on {name}", int(bad.sum()), 0, where))
    if findings:
        message = f"NaN or infinity in {len(findings)} places, first in {findings[0].where.layer}"
        return Verdict(message, len(findings), 0, findings[0].where, tuple(findings[:100]))
    return Verdict(f"all {len(model.layers)} layers are finite on {len(pictures)} plain pictures", 0, 0)
