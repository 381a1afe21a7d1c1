"""Whether every picture of the set could be opened."""

from __future__ import annotations

from inspector.auditing.limits import Limit, Limits
from inspector.auditing.probes.reader import Reader
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict, Where, at_most
from inspector.auditing.subject import Subject


@check(
    title="All pictures can be read",
    limits={"max": Limit(0, "largest share of the pictures that may be unreadable", low=0, high=1)},
    probes=(Reader,),
    remedy="Repair or remove the files that are listed.",
)
def pictures_readable(subject: Subject, limits: Limits, reader: Reader) -> Verdict:
    """A picture that cannot be read is one that nothing was checked on."""
    scan = subject.pictures.scan
    bad = subject.unreadable if scan is None else scan.skipped
    count = len(subject.pictures) if scan is None else scan.plan.total
    share = len(bad) / count
    findings = [Finding(f"{path}: {why}", where=Where(image=path)) for path, why in bad.items()]
    message = f"{len(bad)} of {count} pictures{' of the scan' if scan is not None else ''} cannot be read"
    return at_most(share, limits["max"], message, findings=findings, where=findings[0].where if findings else Where())
