"""Whether the file says how it is to be used."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, NotChecked, Verdict
from inspector.auditing.subject import Subject
from inspector.errors import listing
from inspector.metadata import read_metadata


@check(
    title="The file says how it is to be used",
    severity="warning",
    limits={
        "preprocess": Limit(True, "whether it must say how a picture is prepared"),
        "labels": Limit(True, "whether it must name its classes"),
        "layers": Limit(False, "whether it must name its layers"),
    },
    remedy="Write what is missing with `inspector annotate --preprocess FILE --labels FILE`.",
)
def metadata_present(subject: Subject, limits: Limits) -> Verdict:
    """Without a preprocess and labels in the file, whoever runs it has to guess them."""
    document = read_metadata(subject.graph.metadata)
    there = {
        "preprocess": document.preprocess is not None,
        "labels": document.labels is not None or subject.model.classifier is None,
        "layers": bool(document.layers),
    }
    wanted = [name for name in there if limits[name]]
    if not wanted:
        raise NotChecked("the policy wants nothing in the metadata", applies=False)
    missing = [name for name in wanted if not there[name]]
    if not missing:
        return Verdict(f"the metadata has {listing(wanted)}", 0, 0)
    message = f"the metadata lacks {listing(missing)}; `inspector annotate` writes it"
    if subject.model.assumed:
        message += f"; assumed: {'; '.join(subject.model.assumed)}"
    findings = tuple(Finding(f"the metadata lacks {name}", key=name) for name in missing)
    return Verdict(message, len(missing), 0, findings=findings, details={"assumed": list(subject.model.assumed)})
