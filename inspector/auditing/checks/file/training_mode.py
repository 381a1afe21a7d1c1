"""Whether the network was exported in evaluation mode."""

from __future__ import annotations

from onnx import NodeProto

from inspector.auditing.graph_queries import find_layer_after
from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import MAX_FINDINGS, Finding, Verdict, Where
from inspector.auditing.subject import Subject
from inspector.graph import attributes, normalises_by_batch, operator_of


@check(
    title="Nothing is left of the training",
    remedy="Call `model.eval()` before the export, and export with `training=TrainingMode.EVAL`.",
)
def training_mode(subject: Subject, limits: Limits) -> Verdict:
    """No dropout at work, no batch norm on batch statistics, no random numbers, no operators of training."""
    graph = subject.graph
    needed, _ = graph.needed(graph.outputs)
    findings = []
    for i in sorted(needed):
        node = graph.nodes[i]
        if why := _leftover(subject, node):
            layer = find_layer_after(subject, i)
            at = f" before layer {layer}" if layer else ""
            findings.append(Finding(f"{node.op_type} {node.name!r}{at} {why}", where=Where(layer), key=node.name))
    if not findings:
        return Verdict(f"none of {len(needed)} nodes is in training mode", 0, 0)
    message = (
        f"{len(findings)} nodes are in training mode, so the answers are not those of the trained network: "
        "export it again after model.eval()"
    )
    return Verdict(message, len(findings), 0, findings[0].where, tuple(findings[:MAX_FINDINGS]))


def _leftover(subject: Subject, node: NodeProto) -> str:
    """What a node does that belongs to training; empty when nothing."""
    given = attributes(node)
    if node.domain.startswith("ai.onnx.preview.training") or node.op_type == "Gradient":
        return "is an operator of training"
    if node.op_type == "BatchNormalization":
        if subject.graph.opset >= 7 and normalises_by_batch(node, subject.graph.opset):
            return "normalises by the batch it is given"
        if subject.graph.opset < 14 and sum(map(bool, node.output)) > 1:
            return "updates its statistics"
        return "normalises by the batch it is given" if normalises_by_batch(node, subject.graph.opset) else ""
    if node.op_type == "Dropout":
        if subject.graph.opset < 7:
            return "" if given.get("is_test", 0) else "drops values at random"
        if len(node.input) > 2 and node.input[2]:
            return "drops values at random" if _may_be_true(subject, node.input[2]) else ""
        return ""
    return "draws random numbers" if operator_of(node).random else ""


def _may_be_true(subject: Subject, name: str) -> bool:
    if name not in subject.graph.initializers:
        return True  # computed, or given from outside
    return bool(subject.graph.weight(name).any())
