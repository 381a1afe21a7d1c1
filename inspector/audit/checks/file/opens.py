"""Whether the file can be opened at all."""

from __future__ import annotations

from inspector.audit.result import Verdict
from inspector.audit.subject import Subject
from inspector.audit.table import Limits, check


@check("opens", family="file", title="The file opens")
def opens(subject: Subject, limits: Limits) -> Verdict:
    """The file is an ONNX model that is whole, safe to open, and takes one picture."""
    nodes, layers = len(subject.graph.nodes), len(subject.model.layers)
    return Verdict(f"{subject.model.path.name} opens: {nodes} nodes, {layers} layers")
