"""Whether the torch twin computes what the runtime computes."""

from __future__ import annotations

import numpy as np

from inspector.agreement import HALF_TOLERANCE, TOLERANCE
from inspector.auditing.graph_queries import is_half_precision
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="The torch twin agrees with the runtime",
    limits={
        "max": Limit(TOLERANCE, "largest difference in a layer, as a share of its largest value", low=0),
        "max_half": Limit(
            HALF_TOLERANCE,
            "largest difference for a network in half precision, which the twin computes in single",
            low=0,
        ),
    },
    needs=("torch",),
    remedy="Report the operator before the layer that is named; until then take maps of methods that need no gradient.",
)
def twin(subject: Subject, limits: Limits) -> Verdict:
    """Needs torch. Gradients (Grad-CAM, filters) come from the twin: they are the model's only where it agrees."""
    from inspector.twin import TwinMismatch, TwinUnsupported, build_twin, verify_twin

    graph, model = subject.graph, subject.model
    names = {layer.tensor: layer.name for layer in model.layers}
    outputs = list(names) + ([model.classifier.scores] if model.classifier else [])
    if not outputs:
        raise NotChecked("the model has no layers")
    try:
        built = build_twin(graph, outputs=list(dict.fromkeys(outputs)))
    except TwinUnsupported as error:
        raise NotChecked(error.message) from None
    name, tensor = next(subject.tensors(1))
    if model.input.batch:  # a graph that was traced with several pictures takes as many
        tensor = np.repeat(tensor, model.input.batch, axis=0)
    tolerance = limits["max_half" if is_half_precision(graph) else "max"]
    try:
        agreements = verify_twin(
            built, graph, {model.input.name: tensor}, tolerance=float("inf") if tolerance is None else tolerance
        )
    except TwinMismatch as error:
        agreements = list(error.agreements)
        findings = [
            Finding(
                f"the twin differs in {names.get(a.layer, a.layer)} by {a.relative:.1e} of its scale", a.relative,
                tolerance, Where(names.get(a.layer, a.layer), None, name),
            )
            for a in agreements if not a.ok
        ] or [Finding(error.message)]  # fmt: skip
        return Verdict(error.message, findings[0].value, tolerance, findings[0].where, tuple(findings[:100]))
    # verify_twin lets integers differ by a step: the last bit of a float decides between two of them. What is tiny for
    # its operands may differ by their rounding.
    stepped = [a for a in agreements if tolerance is not None and a.relative > tolerance]
    compared = [a for a in agreements if a not in stepped]
    if not compared:
        raise NotChecked("every tensor is an integer")
    worst = max(compared, key=lambda a: a.relative)
    where = Where(names.get(worst.layer, worst.layer), None, name)
    message = f"the twin agrees in {len(agreements)} tensors, at worst to {worst.relative:.1e} of the scale"
    message += f"; {len(stepped)} by one step of integers, or one rounding of float32" if stepped else ""
    return at_most(worst.relative, tolerance, message, where=where)
