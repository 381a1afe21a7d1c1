"""Whether the file can be opened at all."""

from __future__ import annotations

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Verdict
from inspector.auditing.subject import Subject


@check(title="The file opens", remedy="The message says what is wrong; export the model again.")
def opens(subject: Subject, limits: Limits) -> Verdict:
    """The file is an ONNX model that is whole, safe to open, and takes one picture."""
    nodes, layers = len(subject.graph.nodes), len(subject.model.layers)
    return Verdict(f"{subject.model.path.name} opens: {nodes} nodes, {layers} layers")
