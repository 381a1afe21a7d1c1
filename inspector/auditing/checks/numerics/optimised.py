"""Whether the runtime's optimisations leave the values as they are."""

from __future__ import annotations

from dataclasses import replace

from inspector.agreement import LIMIT_DB, is_rounding, signal_to_noise
from inspector.auditing.graph_queries import is_half_precision, is_quantized
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_least
from inspector.auditing.subject import Subject
from inspector.runtime import Sessions
from inspector.tasks.rounding import find_operand_scales


@check(
    title="Optimised and plain runtime agree",
    limits={
        "min_db": Limit(60, "smallest signal-to-noise ratio of a layer", unit="dB"),
        "min_db_quantised": Limit(
            15, "smallest ratio for a network with integer arithmetic, where kernels round differently", unit="dB"
        ),
        "min_db_half": Limit(40, "smallest ratio for a network in half precision", unit="dB"),
        "pictures": Limit(2, "pictures compared", kind="whole", low=1),
    },
    remedy="Report the layer to onnxruntime, and run with its optimisations turned off until it is repaired.",
)
def optimised(subject: Subject, limits: Limits) -> Verdict:
    """Every layer and the scores agree between onnxruntime with all its optimisations and with none."""
    model = subject.model
    if not model.layers:
        raise NotChecked("the model has no layers")
    sessions = Sessions(model.graph, model.provider, model.threads, model.warn, level="disabled")
    plain = replace(model, sessions=sessions)
    worst, where = LIMIT_DB, Where()
    findings: list[Finding] = []
    limit = limits[_name_limit(subject)]
    scales = _find_scales(subject)
    for name, tensor in subject.tensors(int(limits["pictures"] or 1)):
        before, scores_before = plain.layer_values(tensor, scores=True)
        after, _ = model.layer_values(tensor)
        pairs = [(layer, before[layer], after[layer]) for layer in before]
        if scores_before is not None:
            # By itself: with no layer exposed the runtime fuses most.
            pairs.append(("scores", scores_before, model.scores(tensor)))
        for layer, first, second in pairs:
            found = signal_to_noise(first, second)
            if limit is not None and found < limit and is_rounding(first, second, scales.get(layer, 0.0)):
                continue
            here = Where(layer, None, name)
            if found < worst:
                worst, where = found, here
            if limit is not None and found < limit:
                message = f"{layer} differs on {name}: {found:.0f} dB, where {limit:g} dB are asked"
                findings.append(Finding(message, found, limit, here))
    message = f"optimised and plain runtime agree to {worst:.0f} dB" + (
        f", least in {where.layer}" if where.layer else ""
    )
    return at_least(worst, limit, message, where=where, findings=findings, unit="dB")


def _find_scales(subject: Subject) -> dict[str, float]:
    """The scale at which the values of each layer are rounded, as far as it is proven."""
    found = find_operand_scales(subject.graph, [layer.tensor for layer in subject.model.layers])
    return {layer.name: found[layer.tensor] for layer in subject.model.layers}


def _name_limit(subject: Subject) -> str:
    """The setting that holds for the arithmetic of the model."""
    if is_quantized(subject.graph):
        return "min_db_quantised"
    return "min_db_half" if is_half_precision(subject.graph) else "min_db"
