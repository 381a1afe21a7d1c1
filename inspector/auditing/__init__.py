"""Is the model fit to ship? Checks by name, demands by policy, one result, five reports.

A check is a function in a file of its own (:mod:`inspector.auditing.checks`), registered by its id. What has to see
pictures is a probe (:mod:`inspector.auditing.probes`): every picture is run once, all probes watch it go by, and only
sums are kept.
"""

from __future__ import annotations

from inspector.auditing.catalogue import find_checks
from inspector.auditing.limits import Limit, Limits
from inspector.auditing.policy import FILE, Policy, PolicyError
from inspector.auditing.policy_reader import find_policy, load_policy, make_default_policy
from inspector.auditing.policy_template import format_template
from inspector.auditing.probes import Probe
from inspector.auditing.registry import check
from inspector.auditing.result import (
    Audit,
    CheckResult,
    Finding,
    NotChecked,
    Verdict,
    Where,
    at_least,
    at_most,
)
from inspector.auditing.run import audit_model
from inspector.auditing.snapshot import Snapshot, SnapshotError, load_snapshot, save_snapshot
from inspector.auditing.subject import Subject

__all__ = [
    "FILE",
    "Audit",
    "CheckResult",
    "Finding",
    "Limit",
    "Limits",
    "NotChecked",
    "Policy",
    "PolicyError",
    "Probe",
    "Snapshot",
    "SnapshotError",
    "Subject",
    "Verdict",
    "Where",
    "at_least",
    "at_most",
    "audit_model",
    "check",
    "find_checks",
    "find_policy",
    "format_template",
    "load_policy",
    "load_snapshot",
    "make_default_policy",
    "save_snapshot",
]
