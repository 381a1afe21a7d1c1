"""Whether the file keeps to operators that every runtime has."""

from __future__ import annotations

from collections import Counter

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject


@check(
    title="No operators of custom domains",
    severity="warning",
    limits={"allowed": Limit([], 'domains that are allowed, such as ["com.microsoft"]')},
    remedy="Export without the operators that are listed, or allow their domain where every runtime of yours has it.",
)
def custom_domains(subject: Subject, limits: Limits) -> Verdict:
    """Operators outside the ONNX domains run only where the runtime that has them runs."""
    known = {"", "ai.onnx", "ai.onnx.ml", *map(str, limits["allowed"])}
    found = Counter(f"{node.domain}:{node.op_type}" for node in subject.graph.nodes if node.domain not in known)
    findings = tuple(Finding(f"{count} nodes are {name}", count, 0, key=name) for name, count in found.items())
    count = sum(found.values())
    message = f"{count} nodes are of custom domains" if count else "no node is of a custom domain"
    return Verdict(message, count, 0, findings=findings)
