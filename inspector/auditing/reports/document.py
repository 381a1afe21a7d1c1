"""The audit as the keys of a JSON document."""

from __future__ import annotations

from typing import Any

from inspector.auditing.result import Audit, CheckResult, Where


def make_document(audit: Audit) -> dict[str, Any]:
    """`passed`, `checks` and what goes with them.

    `id`, `status`, `severity`, `value`, `limit`, `message` and `where` of each check are always there.
    """
    return {
        "passed": audit.passed,
        "verdict": audit.verdict,
        "policy": audit.policy,
        "pictures": audit.pictures,
        "seed": audit.seed,
        "seconds": round(audit.seconds, 3),
        "notes": list(audit.notes),
        "checks": [_check(check) for check in audit.checks],
    }


def _check(check: CheckResult) -> dict[str, Any]:
    return {
        "id": check.id,
        "family": check.family,
        "title": check.title,
        "status": check.status,
        "severity": check.severity,
        "counts": check.counts,
        "value": check.value,
        "limit": check.limit,
        "unit": check.unit,
        "message": check.message,
        "where": describe_where(check.where),
        "findings": [
            {"message": f.message, "value": f.value, "limit": f.limit, "where": describe_where(f.where)}
            for f in check.findings
        ],
        "details": dict(check.details),
        "seconds": round(check.seconds, 3),
    }


def describe_where(where: Where) -> dict[str, Any]:
    """`layer`, `channel`, `image`, each of them or null."""
    return {"layer": where.layer, "channel": where.channel, "image": where.image}
