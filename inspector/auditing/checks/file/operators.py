"""Whether every operator exists in the operator set that the file names."""

from __future__ import annotations

from collections import Counter

from inspector.auditing.graph_queries import find_layer_after
from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict, Where
from inspector.auditing.subject import Subject
from inspector.errors import listing

_SPECIFIED = ("", "ai.onnx", "ai.onnx.ml")


@check(
    title="All operators are known", remedy="Export again with an operator set that has them, or with a newer exporter."
)
def operators(subject: Subject, limits: Limits) -> Verdict:
    """Every operator of an ONNX domain exists in the version that the file names, and none is deprecated there."""
    import onnx

    versions = {o.domain: o.version for o in subject.graph.proto.opset_import}
    checked = 0
    unknown: Counter[str] = Counter()
    findings: list[Finding] = []
    for i, node in enumerate(subject.graph.nodes):
        if node.domain not in _SPECIFIED:
            continue
        checked += 1
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = versions.get(node.domain, versions.get(domain, 0)) or subject.graph.opset
        try:
            schema = onnx.defs.get_schema(node.op_type, version, domain)
            why = "is deprecated" if schema.deprecated else ""
        except onnx.defs.SchemaError:
            why = "does not exist"
        if not why:
            continue
        unknown[node.op_type] += 1
        if unknown[node.op_type] == 1:
            message = f"the operator {node.op_type} {why} in version {version} of {domain or 'ai.onnx'}"
            findings.append(Finding(message, where=Where(find_layer_after(subject, i)), key=node.op_type))
    if not checked:
        raise NotChecked("the file has no operators of an ONNX domain")
    if findings:
        total = sum(unknown.values())
        message = f"{total} of {checked} nodes have operators that are not known: {listing(list(unknown))}"
        return Verdict(message, total, 0, findings=tuple(findings))
    kinds = len({node.op_type for node in subject.graph.nodes})
    return Verdict(f"all {checked} nodes, {kinds} kinds, are known", 0, 0)
