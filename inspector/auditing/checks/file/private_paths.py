"""Whether the file tells where it was made."""

from __future__ import annotations

import re
from collections.abc import Iterator

from inspector.auditing.limits import Limits
from inspector.auditing.registry import check
from inspector.auditing.result import Finding, Verdict
from inspector.auditing.subject import Subject

_PATH = re.compile(r"""(?:/home/|/Users/|/root/|/mnt/|/tmp/|[A-Za-z]:\\+Users\\)[^\s"':,;]{1,120}""")


@check(
    title="The file does not tell where it was made",
    severity="warning",
    remedy="Export with `inspector export`, which leaves no path, or clear `doc_string` and `metadata_props`.",
)
def private_paths(subject: Subject, limits: Limits) -> Verdict:
    """No path of the exporting machine is left in metadata and comments; torch's exporter writes its stack there."""
    found: dict[str, int] = {}
    for text in _texts(subject):
        for match in _PATH.findall(text):
            found[match] = found.get(match, 0) + 1
    if not found:
        return Verdict("no path of the exporting machine is in the file", 0, 0)
    count = sum(found.values())
    message = f"{count} paths of the exporting machine are in the file, such as {next(iter(found))}"
    return Verdict(message, count, 0, findings=(Finding(message, count, 0),))


def _texts(subject: Subject) -> Iterator[str]:
    proto = subject.graph.proto
    yield proto.doc_string
    yield proto.graph.doc_string
    yield from (entry.value for entry in proto.metadata_props)
    for node in subject.graph.nodes:
        yield node.doc_string
        yield from (entry.value for entry in node.metadata_props)
