"""The audit as JUnit XML, which every CI shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from inspector.auditing.reports.words import format_number
from inspector.auditing.result import Audit, CheckResult

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped."""


def format_junit(audit: Audit) -> str:
    """One test suite for each family and one test case for each check.

    A check that counts as failed is a <failure>, one that broke an <error>, one that did not run <skipped>; a warning
    passes, with its findings in <system-out>.
    """
    families = list(dict.fromkeys(check.family for check in audit.checks))
    root = ElementTree.Element("testsuites", {"name": f"inspector audit {_clean(audit.path.name)}"})
    for family in families:
        checks = [check for check in audit.checks if check.family == family]
        suite = ElementTree.SubElement(root, "testsuite", {"name": f"inspector.{_clean(family)}"})
        for check in checks:
            _case(suite, check)
        _count(suite, [suite], sum(check.seconds for check in checks))
    if not audit.passed and not any(check.counts == "fail" for check in audit.checks):
        # Nothing that ran failed, and the audit failed all the same: it must show.
        suite = ElementTree.SubElement(root, "testsuite", {"name": "inspector.verdict"})
        case = ElementTree.SubElement(suite, "testcase", {"classname": "inspector", "name": "verdict", "time": "0"})
        ElementTree.SubElement(case, "failure", {"message": _clean(audit.verdict), "type": "verdict"})
        _count(suite, [suite], 0)
    _count(root, list(root), audit.seconds)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, check: CheckResult) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        {
            "classname": f"inspector.{_clean(check.family)}",
            "name": _clean(check.id),
            "time": f"{check.seconds:.3f}",
        },
    )
    message = _clean(check.message)
    text = _clean("\n".join([check.title, *_facts(check), *(f.message for f in check.findings)]))
    if check.status == "error":
        tag = "error" if check.counts == "fail" else "skipped"
        node = ElementTree.SubElement(case, tag, {"message": message, "type": check.id})
    elif check.counts == "fail":
        node = ElementTree.SubElement(case, "failure", {"message": message, "type": check.id})
    elif check.status == "skipped":
        node = ElementTree.SubElement(case, "skipped", {"message": message})
    else:
        node = ElementTree.SubElement(case, "system-out")
        text = f"{message}\n{text}"
    node.text = text


def _facts(check: CheckResult) -> list[str]:
    if check.value is None:
        return []
    limit = f", limit {format_number(check.limit, check.unit)}" if check.limit is not None else ""
    where = f", at {check.where}" if str(check.where) else ""
    return [f"value {format_number(check.value, check.unit)}{limit}{where}"]


def _count(node: ElementTree.Element, suites: list[ElementTree.Element], seconds: float) -> None:
    cases = [case for suite in suites for case in suite.iter("testcase")]
    node.set("tests", str(len(cases)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        node.set(key, str(sum(case.find(tag) is not None for case in cases)))
    node.set("time", f"{seconds:.3f}")


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("�", text)
