"""Whether the weights are in the file, or safely beside it."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing


@check(
    title="External data is safe",
    limits={"allowed": Limit(True, "whether weights may lie in files beside the model")},
    remedy="Save the model as one file: `onnx.save(onnx.load(FILE), OTHER)`.",
)
def external_data(subject: Subject, limits: Limits) -> Verdict:
    """Weights outside the file lie in its folder: no path or link out of it, no hard link, nothing missing.

    A file that breaks this is not opened at all, which `opens` reports.
    """
    own = subject.model.path.resolve().name
    files = sorted(
        {
            entry.value
            for tensor in subject.graph.proto.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location" and entry.value != own
        }
    )
    if not files:
        return Verdict("all weights are in the file", 0)
    message = f"weights are in {listing(files)}, beside the model, and can be read"
    if limits["allowed"]:
        return Verdict(message, len(files))
    return Verdict(
        f"{message}, but the policy wants one file",
        len(files),
        0,
        findings=tuple(Finding(f"weights are in {name}", key=name) for name in files),
    )
