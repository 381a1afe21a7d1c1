"""What a snapshot keeps of a model besides its answers to the pictures."""

from __future__ import annotations

from typing import Any

from inspector.auditing.checks.cost.memory import measure_peak
from inspector.auditing.checks.cost.multiply_adds import count_arithmetic
from inspector.auditing.checks.cost.parameters import count_parameters
from inspector.auditing.checks.file.size import count_bytes
from inspector.auditing.interface import count_operators, describe_interface
from inspector.auditing.result import NotChecked
from inspector.auditing.subject import Subject, score_plain_pictures


def collect_traits(subject: Subject) -> dict[str, Any]:
    """The fields of a snapshot that need no picture of anybody's: costs, interface, answers to plain pictures."""
    model = subject.model
    return {
        "costs": _measure_costs(subject),
        "interface": describe_interface(model.graph),
        "operators": count_operators(model.graph),
        "plain": score_plain_pictures(model, subject.fixed_pictures()) if model.classifier is not None else {},
    }


def _measure_costs(subject: Subject) -> dict[str, float]:
    counts: dict[str, Any] = {
        "multiply_adds": count_arithmetic, "parameters": count_parameters, "bytes": count_bytes,
    }  # fmt: skip
    # A measured peak is another one each time, so it is kept only where somebody compares it.
    memory = subject.policy.rules["memory"]
    if memory.on and memory.limits["max_ratio"] is not None:
        counts["peak_mb"] = measure_peak
    found = {}
    for name, count in counts.items():
        try:
            found[name] = float(count(subject.model))
        except NotChecked:
            continue
    return found
