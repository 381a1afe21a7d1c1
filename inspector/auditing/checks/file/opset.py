"""Whether the operator set is one that runtimes know."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject


@check(
    title="The operator set is known",
    limits={
        "min": Limit(7, "oldest operator set", kind="whole", low=0, optional=True),
        "max": Limit(None, "newest operator set; none: the newest that the installed onnx knows", kind="whole", low=1),
    },
    remedy="Export again with `--opset N`, or convert the file with `onnx.version_converter`.",
)
def opset(subject: Subject, limits: Limits) -> Verdict:
    """The version of the default operator set is between the oldest and the newest that is known."""
    import onnx

    found = subject.graph.opset
    newest = limits["max"] if limits["max"] is not None else onnx.defs.onnx_opset_version()
    low = limits["min"] or 0
    if low <= found <= newest:
        return Verdict(f"operator set {found} is known", found, newest)
    bound = low if found < low else newest
    message = f"operator set {found} is {'older' if found < low else 'newer'} than {bound:g}"
    return Verdict(message, found, bound, findings=(Finding(message, found, bound),))
