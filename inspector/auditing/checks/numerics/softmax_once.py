"""Whether probabilities are turned into probabilities again."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.graph import is_standard
from inspector.layers.layout import infer_shapes
from inspector.tasks.values import find_values


@check(
    title="Scores pass through one softmax",
    needs=("classification",),
    remedy="Export the network without the softmax that was added, or write `inspector annotate --activation none`.",
)
def softmax_once(subject: Subject, limits: Limits) -> Verdict:
    """A softmax of probabilities is nearly flat: no answer reaches 1 / (1 + (K - 1) / e) any more."""
    graph, classifier = subject.graph, subject.model.classifier
    assert classifier is not None
    shapes = infer_shapes(graph)
    softmaxes = [node for node in graph.nodes if node.op_type == "Softmax" and is_standard(node)]
    twice = [node for node in softmaxes if find_values(graph, node.input[0], shapes).add_up_to_one]
    findings = [
        Finding(f"the softmax {node.name or node.output[0]!r} is taken of probabilities", key=node.output[0])
        for node in twice
    ]
    asked = classifier.activation == "softmax" and not classifier.in_graph
    if asked and softmaxes and find_values(graph, classifier.scores, shapes).add_up_to_one:
        message = f"the metadata asks for a softmax of {classifier.scores!r}, which holds probabilities already"
        findings.append(Finding(message, key=classifier.scores))
    if findings:
        return Verdict(findings[0].message, len(findings), 0, findings=tuple(findings))
    return Verdict("no softmax is taken of probabilities", 0, 0)
