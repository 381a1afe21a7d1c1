"""Policies for tests, in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspector.auditing import Policy, find_checks
from inspector.auditing.policy_reader import parse_policy

OTHER_TASKS = {id for id, check in find_checks().items() if not {"detection", "segmentation"}.isdisjoint(check.needs)}
"""The checks that mean nothing for a classifier."""


def policy(*chosen: str, **document: Any) -> Policy:
    """The built-in policy with only the checks of these families or ids; none means all.

    document: keys of the policy document; its `checks` are laid over that choice.
    """
    checks: dict[str, dict[str, Any]] = {}
    for id, check in find_checks().items():
        if chosen and id not in chosen and check.family not in chosen:
            checks[id] = {"on": False}
    for id, settings in document.pop("checks", {}).items():
        checks.setdefault(id, {}).update(settings)
    return parse_policy({**document, "checks": checks}, Path(), "test")
