"""The audit as SARIF 2.1.0, which GitHub shows under code scanning.

Specification: https://docs.oasis-open.org/sarif/sarif/v2.1.0/. GitHub's limits: 10 MB, 5,000 results shown,
1,024 characters in a description, locations inside the repository with a line; see its page "SARIF support for code
scanning".
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from inspector.auditing.catalogue import find_checks
from inspector.auditing.registry import Check
from inspector.auditing.result import Audit, CheckResult, Finding, Where
from inspector.errors import one_line
from inspector.text import finite, relative, without_surrogates
from inspector.version import __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MAX_RESULTS = 5000
MAX_TEXT = 1000
MAX_BYTES = 10_000_000
_PER_CHECK = 100


def format_sarif(audit: Audit) -> str:
    """One result for each finding.

    Checks that broke are notifications of the invocation, and results where they count as failures. Rules have stable
    ids, results stable fingerprints: check, layer, channel, picture and key, and a number where several are the same in
    all of these.
    """
    table = find_checks()
    used = audit.checks
    rules = [_rule(check, table.get(check.id)) for check in used]
    places = {check.id: i for i, check in enumerate(used)}
    # A path may hold bytes that are no UTF-8.
    uri = quote(relative(audit.path), safe="/._-~", errors="replace")
    seen: Counter[str] = Counter()
    results = [_result(audit, check, finding, places[check.id], uri, seen) for check, finding in _findings(audit)]
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "inspector",
                "semanticVersion": __version__,
                "version": __version__,
                "rules": rules,
            }
        },
        "automationDetails": {"id": f"inspector-audit/{one_line(audit.path.name, 200)}/"},
        "artifacts": [{"location": {"uri": uri}, **({"hashes": {"sha-256": audit.sha256}} if audit.sha256 else {})}],
        "invocations": [
            {
                "executionSuccessful": not any(check.status == "error" for check in audit.checks),
                "toolExecutionNotifications": [
                    {
                        "level": "error" if check.status == "error" else "note",
                        "message": {"text": one_line(f"{check.id}: {check.message}", MAX_TEXT)},
                        "associatedRule": {"id": check.id, "index": places[check.id]},
                    }
                    for check in audit.checks
                    if check.status in ("error", "skipped")
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": results[:MAX_RESULTS],
        "properties": {
            "passed": audit.passed,
            "verdict": one_line(audit.verdict, MAX_TEXT),
            "pictures": audit.pictures,
            "seed": audit.seed,
        },
    }
    text = _dumps(run)
    while len(text) > MAX_BYTES and run["results"]:
        run["results"] = run["results"][: len(run["results"]) // 2]
        text = _dumps(run)
    return text


def _dumps(run: dict[str, Any]) -> str:
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1, allow_nan=False) + "\n"


def _findings(audit: Audit) -> Iterator[tuple[CheckResult, Finding]]:
    """What is to be shown, failures before warnings."""
    for wanted in ("fail", "warn"):
        for check in audit.checks:
            if check.counts != wanted:
                continue
            found = check.findings or (Finding(check.message, check.value, check.limit, check.where),)
            yield from ((check, finding) for finding in found[:_PER_CHECK])
    if not audit.passed and not any(check.counts in ("fail", "warn") for check in audit.checks) and audit.checks:
        yield audit.checks[0], Finding(audit.verdict)


def _rule(result: CheckResult, check: Check | None) -> dict[str, Any]:
    level = "error" if result.severity == "error" else "warning"
    return {
        "id": result.id,
        "name": "".join(word.capitalize() for word in result.id.split("-")),
        "shortDescription": {"text": one_line(result.title, MAX_TEXT)},
        "fullDescription": {"text": one_line(check.help if check else result.title, MAX_TEXT)},
        "help": {"text": one_line(check.help if check else result.title, MAX_TEXT)},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["inspector", one_line(result.family, 100)], "problem.severity": level},
    }


def _result(
    audit: Audit, check: CheckResult, finding: Finding, rule: int, uri: str, seen: Counter[str]
) -> dict[str, Any]:
    key = f"{check.id}|{finding.where.layer}|{finding.where.channel}|{finding.where.image}"
    if finding.where == Where():
        key += f"|{audit.path.name}"
    if finding.key:
        key += f"|{finding.key}"
    mark = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]
    seen[mark] += 1
    number = seen[mark]
    location: dict[str, Any] = {
        # A model has no lines; GitHub wants one.
        "physicalLocation": {"artifactLocation": {"uri": uri, "index": 0}, "region": {"startLine": 1}}
    }
    if finding.where.layer:
        location["logicalLocations"] = [
            {
                "name": one_line(finding.where.layer, 200),
                "kind": "member",
                "fullyQualifiedName": one_line(str(finding.where), 300),
            }
        ]
    properties = {
        key: value
        for key, value in (
            ("value", _finite(finding.value)),
            ("limit", _finite(finding.limit)),
            ("layer", _clean(finding.where.layer)),
            ("channel", finding.where.channel),
            ("image", _clean(finding.where.image)),
        )
        if value is not None
    }
    return {
        "ruleId": check.id,
        "ruleIndex": rule,
        "level": "error" if check.counts == "fail" else "warning",
        "message": {"text": one_line(finding.message, MAX_TEXT) or check.id},
        "locations": [location],
        "partialFingerprints": {
            "primaryLocationLineHash": f"{mark}:{number}",
            "inspector/v1": mark if number == 1 else f"{mark}:{number}",
        },
        "properties": properties,
    }


def _clean(text: str | None) -> str | None:
    return None if text is None else without_surrogates(text)


def _finite(value: float | None) -> float | None:
    return None if value is None else finite(value)
